"""Between an application and a TCP listener: a bounded queue of accepted pipes.

The queue is as long as the backlog. More connections wait in netstack's own backlog. When that is full, too, netstack
completes no handshake, and the peer tries again.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from netstack import TcpConnection, TcpListener
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.pipes.waiters import Requests, Runner, Wake, WakeQueue, completed
from tsnet.errors import Error, NotUp


class Adopter(Runner, Protocol):
    """What a listening pipe needs of the node's thread."""

    def adopt(self, connection: TcpConnection) -> Pipe: ...


class ListenPipe(Requests):
    """A TCP port of the node, as its application holds it. Any number of tasks and threads may wait for connections.

    closed: no more connections come. error: the reason, if the node ended it.
    """

    __slots__ = (
        "_acceptors",
        "_backlog",
        "_is_full",
        "_queue",
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
        self._is_full = False
        self._queue: deque[Pipe] = deque()
        self._acceptors = WakeQueue()

    # --- the application's side -----------------------------------------------------------------------------

    def accept_nowait(self) -> Pipe | None:
        """The oldest connection that waits, or None."""
        try:
            return self._queue.popleft()
        except IndexError:
            return None
        finally:
            if self._is_full:
                self._request()

    def when_acceptable(self, wake: Wake) -> bool:
        """Call `wake` when there may be a connection or the end. If there is one now, return False and do not call."""
        return self._acceptors.enter(wake, self._has_news)

    def forget(self, wake: Wake) -> None:
        """Forget a waiter that was cancelled. If it had been woken already, the next one is woken instead."""
        self._acceptors.leave(wake, self._has_news)

    def _has_news(self) -> bool:
        return bool(self._queue) or self.closed

    @completed
    def close(self) -> None:
        """Free the port. Connections that nobody accepted are reset.

        A `listen` on the same port that comes after this call finds it free.
        """
        self.closed = True
        self._request()

    # --- the node's side ------------------------------------------------------------------------------------

    def service(self, now: float) -> None:
        self.scheduled = False
        if self.closed:
            self._shut(now)
            return
        while self._has_room():
            connection = self.listener.accept()
            if connection is None:
                break
            self._queue.append(self._runner.adopt(connection))
            self._acceptors.wake_one()
        if self.direct is not None:
            self.direct()

    def _has_room(self) -> bool:
        """Whether the queue has room. If not, the next `accept_nowait` sees `_is_full` and requests a service.

        The queue is looked at again after the flag is set, so that no request is missed in between.
        """
        self._is_full = len(self._queue) >= self._backlog
        if self._is_full and len(self._queue) < self._backlog:
            self._is_full = False
        return not self._is_full

    def _shut(self, now: float) -> None:
        self.closed = True
        self._runner.forget(self.listener)
        self.listener.close(now)
        while self._queue:
            self._queue.popleft().abort()
        self._wake_all()

    def end(self, now: float) -> None:
        """The node closes: free the port, and wake those who wait."""
        self.error = NotUp("the node is closing")
        self._shut(now)

    def fail(self, error: Error) -> None:
        """The node is gone: wake those who wait for a connection, so that they find the error."""
        self.error = error
        self.closed = True
        self._wake_all()

    def orphan(self, error: Error) -> None:
        """Do as `fail`, in a forked child, but wake nobody."""
        self._acceptors.clear()
        self.direct = None
        self.fail(error)

    def _wake_all(self) -> None:
        self._acceptors.wake_all()
        if self.direct is not None:
            self.direct()
