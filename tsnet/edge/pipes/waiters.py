"""How the two sides of a pipe call each other: requests from the application's, wakes from the node's.

    application's side (any thread)              node's side (the node's thread)
    _request()           ── schedule ──────►     service(), in the next turn, once for any number of requests
    when_readable(wake)  ◄── wake_reader() ──    once, for whoever waits
    when_writable(wake)  ◄── wake_writer() ──

A waiter leaves its wake first and looks again after that, so that no news falls in between; at worst it is woken for
nothing. Each wake may be called from either side.

Not here: what is queued between the two (`pipes`, `packets`, `listening`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol

from netstack.stack import Endpoint
from tsnet.errors import Error

Wake = Callable[[], None]


class Serviced(Protocol):
    """What belongs to an endpoint of the stack: a pipe, a listener, a dial under way."""

    __slots__ = ()

    @abstractmethod
    def service(self, now: float) -> None:
        """Something has happened to the endpoint, or its application wants something."""

    @abstractmethod
    def end(self, now: float) -> None:
        """The node closes: finish in order, if that can be."""

    @abstractmethod
    def fail(self, error: Error) -> None:
        """The node is gone."""

    @abstractmethod
    def orphan(self, error: Error) -> None:
        """This is a forked child, and the node is the parent's. Wake nobody: they are the parent's too."""


class Runner(Protocol):
    """What a pipe needs of the node's thread."""

    def schedule(self, pipe: Serviced) -> None:
        """Call `pipe.service` in the next turn; from any thread."""
        ...

    def forget(self, endpoint: Endpoint) -> None:
        """The endpoint has nothing more to say to its pipe."""
        ...


class Turn(Protocol):
    """What a pipe in the node's own thread needs of it: the time of this turn, and another turn soon."""

    def now(self) -> float: ...

    def mark(self) -> None: ...


class Requests(Serviced):
    """What an application holds and the node's thread services.

    scheduled: a request is under way; `service` takes it back. direct: a bridge to call in each service, or None.
    """

    __slots__ = ("__weakref__", "_runner", "direct", "scheduled")

    def __init__(self, runner: Runner) -> None:
        self.scheduled = False
        self.direct: Callable[[], None] | None = None
        self._runner = runner

    def _request(self) -> None:
        if not self.scheduled:
            self.scheduled = True
            self._runner.schedule(self)


class Waiters(Requests):
    """One reader and one writer at a time; the last to wait is the one that is woken."""

    __slots__ = ("_read_wake", "_write_wake")

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner)
        self._read_wake: Wake | None = None
        self._write_wake: Wake | None = None

    # --- the application's side -----------------------------------------------------------------------------

    @property
    @abstractmethod
    def has_news(self) -> bool:
        """Whether a reader would be told something now."""

    @property
    @abstractmethod
    def has_room(self) -> bool:
        """Whether a writer could go on now, or would be told why not."""

    def when_readable(self, wake: Wake) -> bool:
        """Call `wake` once there may be news; returns False, and does not call, if there are some already."""
        self._read_wake = wake
        if self.has_news:
            self._read_wake = None
            return False
        return True

    def when_writable(self, wake: Wake) -> bool:
        """Call `wake` once half the room is free; returns False, and does not call, if there is some now."""
        self._write_wake = wake
        if self.has_room:
            self._write_wake = None
            return False
        return True

    # --- the node's side ------------------------------------------------------------------------------------

    @property
    def writer_waits(self) -> bool:
        return self._write_wake is not None

    def wake_reader(self) -> None:
        wake, self._read_wake = self._read_wake, None
        if wake is not None:
            wake()

    def wake_writer(self) -> None:
        wake, self._write_wake = self._write_wake, None
        if wake is not None:
            wake()

    def wake_all(self) -> None:
        self.wake_reader()
        self.wake_writer()

    def orphan(self, error: Error) -> None:
        """In a forked child: as `fail`, but nobody is woken."""
        self._read_wake = self._write_wake = None
        self.direct = None
        self.fail(error)
