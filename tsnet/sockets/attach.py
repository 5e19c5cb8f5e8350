"""A node's pipes as sockets: this joins the descriptors of this room to the pipes of the node's thread.

Each function takes the pipe over. A function that fails or is interrupted ends the pipe, because nobody else would.
"""

from __future__ import annotations

import contextlib
import socket

from tsnet.edge.pipes.listening import ListenPipe
from tsnet.edge.pipes.packets import PacketPipe
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.run.handle import Handle
from tsnet.sockets.bridge import bridge
from tsnet.sockets.datagrams import datagram_socket
from tsnet.sockets.listening import Backlog, listening
from tsnet.sockets.pairs import closed_on_error


def stream_socket(handle: Handle, pipe: Pipe) -> socket.socket:
    """A connected socket in place of the pipe."""
    try:
        return bridge(handle.unbuffered(pipe), handle.reactor)
    except BaseException:
        pipe.abort()
        raise


def listening_socket(handle: Handle, pipe: ListenPipe) -> socket.socket:
    """A listening socket in place of the pipe. The port is free again when its `close` returns."""
    try:
        outer, backlog = listening((pipe.addresses[0], pipe.port), handle.reactor, pipe.close)
        with closed_on_error(outer):
            reception = Reception(handle, pipe, backlog)
            pipe.direct = reception.step
            if pipe.closed:
                reception.step()  # the node has ended meanwhile, and may not call it any more
            else:
                handle.host.call(reception.step)
        return outer
    except BaseException:
        pipe.close()
        raise


def packet_socket(handle: Handle, pipe: PacketPipe) -> socket.socket:
    """A datagram socket in place of the pipe. The port is free again when its `close` returns."""
    try:
        return datagram_socket(pipe, handle.reactor)
    except BaseException:
        pipe.close()
        raise


class Reception:
    """Hands the connections of a listening pipe on to its socket, as long as there is room."""

    def __init__(self, handle: Handle, pipe: ListenPipe, backlog: Backlog) -> None:
        self._handle, self._pipe, self._backlog = handle, pipe, backlog
        self._waiting: list[Pipe] = []  # the accepted connection for which there was no room, if any

    def step(self) -> None:
        """Hand on what there is room for. Called in each service of the pipe, when there is room, and at the end."""
        pipe, waiting = self._pipe, self._waiting
        if pipe.closed:
            self._end()
            return
        while not waiting or self._backlog.offer(self._handle.unbuffered(waiting[0]), self.step):
            for connection in waiting:
                pipe.hand_on(connection)
            waiting.clear()
            accepted = pipe.withhold()
            if accepted is None:
                return
            waiting.append(accepted)

    def _end(self) -> None:
        self._pipe.direct = None
        self._backlog.close()
        with contextlib.suppress(IndexError):
            self._waiting.pop().abort()
