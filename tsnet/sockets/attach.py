"""A node's pipes as sockets: where the descriptors of this room meet the pipes of the node's thread."""

from __future__ import annotations

import socket

from tsnet.edge.pipes.listening import ListenPipe
from tsnet.edge.pipes.packets import PacketPipe
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.run.handle import Handle
from tsnet.sockets.bridge import bridge
from tsnet.sockets.datagrams import datagram_socket
from tsnet.sockets.listening import listening


def stream_socket(handle: Handle, pipe: Pipe) -> socket.socket:
    """A connected socket in place of the pipe."""
    return bridge(handle.unbuffered(pipe), handle.reactor)


def listening_socket(handle: Handle, pipe: ListenPipe) -> socket.socket:
    """A listening socket in place of the pipe; closing it frees the port."""
    outer, backlog = listening((pipe.addresses[0], pipe.port), handle.reactor, pipe.close)

    def hand_over() -> None:
        if pipe.closed:
            backlog.close()
            while waiting:
                waiting.pop().abort()
            return
        while not waiting or backlog.offer(handle.unbuffered(waiting[0]), hand_over):
            if waiting:
                waiting.pop()
            accepted = pipe.accept_nowait()
            if accepted is None:
                return
            waiting.append(accepted)

    def start() -> None:
        pipe.direct = hand_over
        hand_over()

    waiting: list[Pipe] = []
    handle.host.call(start)
    return outer


def packet_socket(handle: Handle, pipe: PacketPipe) -> socket.socket:
    """A datagram socket in place of the pipe."""
    return datagram_socket(pipe, handle.reactor)
