"""Between an application and a TCP listener: a bounded queue of accepted pipes.

The queue is as long as the backlog; what does not fit waits in netstack's own backlog, whose cap turns SYNs away.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Protocol

from netstack import TcpConnection, TcpListener
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.pipes.waiters import Requests, Runner, Wake
from tsnet.errors import Error, NotUp


class Adopter(Runner, Protocol):
    """What a listening pipe needs of the node's thread."""

    def adopt(self, connection: TcpConnection) -> Pipe: ...


class ListenPipe(Requests):
    __slots__ = (
        "_backlog",
        "_queue",
        "_wakes",
        "addresses",
        "closed",
        "error",
        "listener",
        "port",
    )

    _runner: Adopter

    def __init__(self, listener: TcpListener, acceptor: Adopter, addresses: tuple[str, ...], backlog: int) -> None:
        super().__init__(acceptor)
        self.listener = listener
        self.port: int = listener.port
        self.addresses = addresses
        self.closed = False
        self.error: Error | None = None
        self._backlog = backlog
        self._queue: deque[Pipe] = deque()
        self._wakes: deque[Wake] = deque()

    # --- the application's side -----------------------------------------------------------------------------

    def accept_nowait(self) -> Pipe | None:
        """The oldest connection that waits, or None."""
        try:
            pipe = self._queue.popleft()
        except IndexError:
            return None
        if len(self._queue) == self._backlog - 1:
            self._request()
        return pipe

    def when_acceptable(self, wake: Wake) -> bool:
        """As `Pipe.when_readable`; several tasks may wait, each wake is for one of them."""
        self._wakes.append(wake)
        if self._queue or self.closed:
            with contextlib.suppress(ValueError):  # woken meanwhile: "ready" says the same
                self._wakes.remove(wake)
            return False
        return True

    def forget(self, wake: Wake) -> None:
        """A waiter was cancelled. If it had been woken already, the next one is woken instead."""
        try:
            self._wakes.remove(wake)
        except ValueError:
            if self._queue:
                self._wake_one()

    def close(self) -> None:
        """Free the port; connections that nobody accepted are reset."""
        self.closed = True
        self._request()

    # --- the node's side ------------------------------------------------------------------------------------

    def service(self, now: float) -> None:
        self.scheduled = False
        if self.closed:
            self._shut(now)
            return
        while len(self._queue) < self._backlog:
            connection = self.listener.accept()
            if connection is None:
                break
            self._queue.append(self._runner.adopt(connection))
            self._wake_one()
        if self.direct is not None:
            self.direct()

    def _shut(self, now: float) -> None:
        self.closed = True
        self._runner.forget(self.listener)
        self.listener.close(now)
        while self._queue:
            self._queue.popleft().abort()
        self._wake_all()

    def end(self, now: float) -> None:
        """The node closes."""
        self.error = NotUp("the node is closing")
        self._shut(now)

    def fail(self, error: Error) -> None:
        """The node goes away: whoever waits in accept is told so."""
        self.error = error
        self.closed = True
        self._wake_all()

    def orphan(self, error: Error) -> None:
        """In a forked child: as `fail`, but nobody is woken."""
        self._wakes.clear()
        self.direct = None
        self.fail(error)

    def _wake_all(self) -> None:
        while self._wakes:
            self._wake_one()
        if self.direct is not None:
            self.direct()

    def _wake_one(self) -> None:
        with contextlib.suppress(IndexError):  # forgotten by its waiter a moment ago
            self._wakes.popleft()()
