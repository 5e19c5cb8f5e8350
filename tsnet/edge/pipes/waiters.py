"""How the two sides of a pipe call each other: requests from the application's side, wakes from the node's.

    application's side (any thread)              node's side (the node's thread)
    _request()           ── schedule ──────►     service(), in the next turn, once for any number of requests
    when_readable(wake)  ◄── reader.wake() ──    once, for the waiter
    when_writable(wake)  ◄── writer.wake() ──

A waiter first leaves its wake and then looks for news, so that no news is missed in between; at worst it is woken for
nothing. Either side may call a wake.

An application's call may be interrupted anywhere (Ctrl-C raises KeyboardInterrupt in the main thread). A request or a
wake that was begun is then made once more before the interrupt goes on. Twice does no harm; a lost one would leave
somebody waiting. So a wake must work although an earlier call of it was interrupted. `threading.Event.set` does not: an
interrupt in it can leave its lock locked, and the next call would wait for that lock for ever.

Not here: what is queued between the two sides (`pipes`, `packets`, `listening`).
"""

from __future__ import annotations

import contextlib
import functools
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from tsnet.errors import Error

if TYPE_CHECKING:
    from netstack.stack import Endpoint

S = TypeVar("S")
Wake = Callable[[], None]


def completed(method: Callable[[S], None]) -> Callable[[S], None]:
    """Make an interrupted call run once more before the interrupt goes on. For methods that may run twice."""

    @functools.wraps(method)
    def run(self: S) -> None:
        try:
            method(self)
        except BaseException:
            method(self)
            raise

    return run


class Serviced(Protocol):
    """The edge's counterpart of an endpoint of the stack: a pipe, a listener, a dial under way."""

    __slots__ = ()

    @abstractmethod
    def service(self, now: float) -> None:
        """Something has happened to the endpoint, or its application wants something."""

    @abstractmethod
    def end(self, now: float) -> None:
        """The node closes: finish in order if possible."""

    @abstractmethod
    def fail(self, error: Error) -> None:
        """The node is gone. Called in the node's thread, or in any other one once that thread is dead."""

    @abstractmethod
    def orphan(self, error: Error) -> None:
        """This is a forked child, and the node is the parent's. Wake nobody: the waiters are the parent's, too."""


class Runner(Protocol):
    """What a pipe needs of the node's thread."""

    def schedule(self, pipe: Serviced) -> None:
        """Call `pipe.service` in the next turn; from any thread."""
        ...

    def forget(self, endpoint: Endpoint) -> None:
        """The endpoint has nothing more to say to its pipe."""
        ...


class Turn(Protocol):
    """What a pipe in the node's own thread needs of it. `now`: the time of this turn. `mark`: ask for another soon."""

    def now(self) -> float: ...

    def mark(self) -> None: ...


class Requests(Serviced):
    """An object that an application holds and the node's thread services.

    scheduled: a request is under way; `service` resets it.
    direct: the step of a bridge to a descriptor, or None. Each service calls it, and so does `fail`, in any thread.
    """

    __slots__ = ("__weakref__", "_runner", "direct", "scheduled")

    def __init__(self, runner: Runner) -> None:
        self.scheduled: bool = False
        self.direct: Callable[[], None] | None = None
        self._runner = runner

    def _request(self) -> None:
        if not self.scheduled:
            try:
                self.scheduled = True
                self._runner.schedule(self)
            except BaseException:  # if the flag were set and nothing scheduled, no later request would be heard
                self._runner.schedule(self)
                raise


class WakeQueue:
    """Any number of waiters. Each piece of news is for one of them: `wake_one` wakes the one that waited longest."""

    __slots__ = ("_wakes",)

    def __init__(self) -> None:
        self._wakes: deque[Wake] = deque()

    def enter(self, wake: Wake, has_news: Callable[[], object]) -> bool:
        """Call `wake` when there may be news. If there are some now, return False and do not call."""
        try:
            self._wakes.append(wake)
            if not has_news():
                return True
            with contextlib.suppress(ValueError):  # the waiter was woken meanwhile: that does no harm
                self._wakes.remove(wake)
            return False
        except BaseException:
            self.leave(wake, has_news)
            raise

    def leave(self, wake: Wake, has_news: Callable[[], object]) -> None:
        """Forget a waiter that gave up. If it had been woken already, the next one is woken instead."""
        try:
            with contextlib.suppress(ValueError):
                self._wakes.remove(wake)
                return
            if has_news():
                self.wake_one()
        except BaseException:
            self.wake_all()
            raise

    def wake_one(self) -> None:
        """Wake the first waiter. It is called before it is taken out, so that an interrupt in between loses nobody."""
        while self._wakes:
            try:
                wake = self._wakes[0]
            except IndexError:  # another thread has just taken the last one out
                return
            wake()
            with contextlib.suppress(ValueError):  # another thread has woken this waiter for other news: try the next
                self._wakes.remove(wake)
                return

    def wake_all(self) -> None:
        while self._wakes:
            self.wake_one()

    def clear(self) -> None:
        """Forget every waiter, and call none."""
        self._wakes.clear()


class WakeSlot:
    """One waiter at a time: waiter, what wakes it. If two wait, the one that came last is woken."""

    __slots__ = ("waiter",)

    def __init__(self) -> None:
        self.waiter: Wake | None = None

    def wake(self) -> None:
        """Wake the waiter, if there is one, and forget it."""
        wake = None
        try:
            wake, self.waiter = self.waiter, None
            if wake is not None:
                wake()
        except BaseException:
            if wake is not None:
                wake()
            raise


class Waiters(Requests):
    """A pipe's one reader and one writer."""

    __slots__ = ("reader", "writer")

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner)
        self.reader: WakeSlot = WakeSlot()
        self.writer: WakeSlot = WakeSlot()

    # --- the application's side -----------------------------------------------------------------------------

    @property
    @abstractmethod
    def has_news(self) -> bool:
        """Whether a reader would get data, the end or an error now."""

    @property
    @abstractmethod
    def has_room(self) -> bool:
        """Whether a writer could go on now, or would get an error."""

    def when_readable(self, wake: Wake) -> bool:
        """Call `wake` when there may be news. If there are some now, return False and do not call."""
        self.reader.waiter = wake
        if self.has_news:
            self.reader.waiter = None
            return False
        return True

    def when_writable(self, wake: Wake) -> bool:
        """Call `wake` when half the room is free. If there is room now, return False and do not call."""
        self.writer.waiter = wake
        if self.has_room:
            self.writer.waiter = None
            return False
        return True

    # --- the node's side ------------------------------------------------------------------------------------

    def wake_all(self) -> None:
        self.reader.wake()
        self.writer.wake()

    def orphan(self, error: Error) -> None:
        """Do as `fail`, in a forked child, but wake nobody."""
        self.reader.waiter = self.writer.waiter = None
        self.direct: Callable[[], None] | None = None
        self.fail(error)
