"""A node's pipes as sockets: this joins the descriptors of this room to the pipes of the node's thread.

Each function takes the pipe over. A function that fails or is interrupted ends the pipe, because nobody else would.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Hashable
from itertools import chain

from tsnet.edge.io.descriptors import BUDGET, RETRY, Lease, is_out, told_when_out
from tsnet.edge.io.reactor import Timer
from tsnet.edge.pipes.listening import ListenPipe
from tsnet.edge.pipes.packets import PacketPipe
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.run.handle import Handle
from tsnet.sockets.backlog import Backlog
from tsnet.sockets.bridge import bridge
from tsnet.sockets.datagrams import datagram_socket
from tsnet.sockets.listening import listening
from tsnet.sockets.pairs import closed_on_error

PER_CONNECTION = 2
"""Descriptors of an accepted connection: the node's end of the pair, and the application's."""

MOST_IN_SOCKET = 32
"""Connections that wait in the socket's own queue, a quarter of the backlog at most: there they have their descriptors,
and nobody can be let past."""


def stream_socket(handle: Handle, pipe: Pipe) -> socket.socket:
    """A connected socket in place of the pipe."""
    try:
        with told_when_out("the socket of a connection"):
            return bridge(handle.unbuffered(pipe), handle.reactor)
    except BaseException:
        pipe.abort()
        raise


def listening_socket(handle: Handle, pipe: ListenPipe) -> socket.socket:
    """A listening socket in place of the pipe. The port is free again when its `close` returns."""
    try:
        with told_when_out("a listening socket"):
            local, part = (pipe.addresses[0], pipe.port), pipe.share_backlog(MOST_IN_SOCKET)
            outer, backlog = listening(local, handle.reactor, pipe.close, part, most=part)
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
        with told_when_out("a datagram socket"):
            return datagram_socket(pipe, handle.reactor)
    except BaseException:
        pipe.close()
        raise


class Reception:
    """Hands the connections of a listening pipe on to its socket, as long as there is room.

    A connection takes two descriptors, which count for its peer until its bridge has ended. One for which there are
    none keeps its place in the pipe's backlog; those of other peers go before it. Peers take turns.
    """

    def __init__(self, handle: Handle, pipe: ListenPipe, backlog: Backlog) -> None:
        self._handle, self._pipe, self._backlog = handle, pipe, backlog
        self._waiting: dict[Hashable, deque[Pipe]] = {}
        self._timer: Timer | None = None

    def step(self) -> None:
        """Hand on what there is room for. Called in each service of the pipe, when there is room, and at the end."""
        if self._pipe.closed:
            self._end()
            return
        while (accepted := self._pipe.withhold()) is not None:
            self._waiting.setdefault(accepted.peer, deque()).append(accepted)
        while self._step_once():
            """Until there is no room, or nobody waits."""

    def _step_once(self) -> bool:
        """Hand on one connection of each peer that may have one; returns whether it was worth it."""
        worth = False
        for peer, waiting in tuple(self._waiting.items()):
            lease = BUDGET.borrow(peer, PER_CONNECTION)
            if lease is None:
                self._wait_for_descriptors()
                continue
            if not self._hand_on(waiting[0], lease):
                return False
            worth = True
            waiting.popleft()
            del self._waiting[peer]
            if waiting:
                self._waiting[peer] = waiting  # behind the others: there may be room for one connection at a time
        return worth

    def _hand_on(self, pipe: Pipe, lease: Lease) -> bool:
        node_end = self._handle.unbuffered(pipe)
        node_end.on_closed = lease.give_back
        try:
            if self._backlog.offer(node_end, self.step):
                self._pipe.hand_on(pipe)
                return True
        except OSError as error:
            if not is_out(error):
                raise
            BUDGET.say_out()
            self._wait_for_descriptors()
        lease.give_back(used=False)
        return False

    def _wait_for_descriptors(self) -> None:
        BUDGET.when_free(self._wake)
        if self._timer is None:
            reactor = self._handle.reactor
            self._timer = reactor.call_at(reactor.clock() + RETRY, self._time_is_up)

    def _wake(self) -> None:
        """In whichever thread gives a descriptor back."""
        self._handle.reactor.call_soon(self.step)

    def _time_is_up(self) -> None:
        self._timer = None
        self.step()

    def _end(self) -> None:
        self._pipe.direct = None
        BUDGET.forget(self._wake)
        if self._timer is not None:
            self._timer.cancel()
        self._backlog.close()
        waiting, self._waiting = self._waiting, {}
        for pipe in chain.from_iterable(waiting.values()):
            pipe.abort()
