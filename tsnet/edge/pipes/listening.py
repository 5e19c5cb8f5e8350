"""Between an application and a TCP listener: a queue of connections that wait for `accept`.

There is one backlog, netstack's: a connection in this queue keeps its place there until the application takes it, so
that the queue needs no bound of its own. Who finds no place waits unanswered, and is answered as soon as there is one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from netstack.limits import SHARE
from tsnet.base.wording import Wording, api
from tsnet.edge.io.log import Seldom, log
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.pipes.waiters import Requests, Runner, Wake, WakeQueue, completed
from tsnet.errors import Error, NotUp

if TYPE_CHECKING:
    from netstack import TcpConnection, TcpListener


class Adopter(Runner, Protocol):
    """What a listening pipe needs of the node's thread."""

    def adopt(self, connection: TcpConnection) -> Pipe: ...


class ListenPipe(Requests):
    """A TCP port of the node, as its application holds it. Any number of tasks and threads may wait for connections.

    closed: no more connections come. error: the reason, if the node ended it. gone: the node has failed.
    """

    __slots__ = (
        "_acceptors",
        "_handed_on",
        "_is_awaited",
        "_queue",
        "_refusals",
        "_withheld",
        "addresses",
        "closed",
        "error",
        "gone",
        "listener",
        "port",
    )

    _runner: Adopter

    def __init__(self, listener: TcpListener, acceptor: Adopter, addresses: tuple[str, ...]) -> None:
        super().__init__(acceptor)
        self.listener: TcpListener = listener
        self.port: int = listener.port
        self.addresses: tuple[str, ...] = addresses
        self.closed: bool = False
        self.gone: bool = False
        self.error: Error | None = None
        self._withheld = 0
        self._is_awaited = False
        self._queue: deque[Pipe] = deque()
        self._handed_on: dict[Pipe, None] = {}
        """Those with a place in the backlog, in the order in which they came into the queue."""
        self._refusals = Seldom(log)
        self._acceptors = WakeQueue()

    # --- the application's side -----------------------------------------------------------------------------

    def accept_nowait(self) -> Pipe | None:
        """The oldest connection that waits, or None."""
        try:
            return self._queue.popleft()
        except IndexError:
            return None
        finally:
            if self._is_awaited:
                self._request()

    def when_acceptable(self, wake: Wake) -> bool:
        """Call `wake` when there may be a connection or the end. If there is one now, return False and do not call."""
        return self._acceptors.enter(wake, self._has_news)

    def forget(self, wake: Wake) -> None:
        """Forget a waiter that was cancelled. If it had been woken already, the next one is woken instead."""
        self._acceptors.leave(wake, self._has_news)

    def wake_all(self) -> None:
        """Let everybody who waits look again: the application has moved the pipe into a socket."""
        self._acceptors.wake_all()

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
        self._free_places()
        while (connection := self.listener.accept(keep_place=True)) is not None:
            pipe = self._runner.adopt(connection)
            self._handed_on[pipe] = None
            self._queue.append(pipe)
            self._acceptors.wake_one()
        self._tell_refusals(now)
        if self.direct is not None:
            self.direct()
        self._is_awaited = bool(self.listener.parked)
        if self._is_awaited:
            self._free_places()  # what was accepted before the flag was set has requested no service

    def share_backlog(self, most: int) -> int:
        """Before a bridge takes over: how many connections may wait behind it. They count in the one backlog."""
        backlog = self.listener.backlog
        part = max(min(backlog // 4, most), 1)
        self.listener.places.total = max(backlog - part, 1)
        return part

    def withhold(self) -> Pipe | None:
        """For a bridge: the oldest connection, or None. It keeps its place until `hand_on`."""
        if not self._queue:
            return None
        self._withheld += 1
        return self._queue.popleft()

    def hand_on(self, pipe: Pipe) -> None:
        """A connection that was withheld is accepted, or lost."""
        self._withheld -= 1
        self._free_place(pipe)

    def _free_place(self, pipe: Pipe) -> None:
        del self._handed_on[pipe]
        self.listener.give_up_place(pipe.connection)

    def _free_places(self) -> None:
        """Free the places of those that were taken out of the queue since the last look: the first of `_handed_on`."""
        while len(self._handed_on) > len(self._queue) + self._withheld:
            self._free_place(next(iter(self._handed_on)))

    def _tell_refusals(self, now: float) -> None:
        refusals = self.listener.take_refusals()
        if refusals is None:
            return
        whose = "it has two thirds of" if refusals.reason == SHARE else "all are taken of"
        said = "port %d: a connection from %s was reset: %s the %d that may be open at once"
        self._refusals.warning(
            now,
            Wording(said, api("max_connections=", before="; see ")),
            self.port,
            refusals.remote,
            whose,
            refusals.limit,
            times=refusals.number,
        )

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
        self.closed = self.gone = True
        self._wake_all()

    def orphan(self, error: Error) -> None:
        """Do as `fail`, in a forked child, but wake nobody."""
        self._acceptors.clear()
        self.direct: Callable[[], None] | None = None
        self.fail(error)

    def _wake_all(self) -> None:
        self._acceptors.wake_all()
        if self.direct is not None:
            self.direct()
