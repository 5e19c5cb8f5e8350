"""What the node's thread will finish: a value or an error, once, for waiters of any colour.

    node's thread   resolve(value) | fail(error)
    any thread      begin · result() begins and blocks · add_done_callback · cancel
    any async task  await wait(operation), which begins it: asyncio or trio, cancellation-safe

An operation does nothing until somebody begins it or waits for it. So there is no moment at which something has begun
and an interrupt (Ctrl-C) would leave nobody who can undo it: whoever waits cancels it then. A cancelled operation calls
`on_cancel`, which undoes what was begun; a value that has come all the same is given to `on_waste`.

Not here: who makes operations, and ends those whose thread has died (`edge.run.host`).
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from tsnet.edge.io.log import log

T = TypeVar("T")


class Operation(Generic[T]):
    """One result to come. Whoever comes second, `resolve` or `fail` or `cancel`, has no effect.

    start: what beginning means. on_over: called once it is done and everybody was told, or was cancelled.
    """

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_error",
        "_lock",
        "_start",
        "_value",
        "cancelled",
        "done",
        "on_cancel",
        "on_over",
        "on_waste",
    )

    def __init__(
        self,
        on_waste: Callable[[T], object] | None = None,
        *,
        start: Callable[[Operation[T]], object] | None = None,
    ) -> None:
        self.done = False
        self.cancelled = False
        self.on_cancel: Callable[[], None] | None = None
        self.on_over: Callable[[Operation[Any]], object] | None = None
        self.on_waste = on_waste
        self._start = start
        self._value: T | None = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    # --- who finishes it ------------------------------------------------------------------------------------

    def resolve(self, value: T) -> bool:
        """Returns whether anybody may see the value; if not, it has gone to `on_waste`."""
        if self._finish(value, None):
            return True
        if self.on_waste is not None:
            self.on_waste(value)
        return False

    def fail(self, error: BaseException) -> bool:
        return self._finish(None, error)

    def _finish(self, value: T | None, error: BaseException | None) -> bool:
        with self._lock:
            is_first = not self.done and not self.cancelled
            if is_first:
                self._value, self._error, self.done = value, error, True
                self.on_cancel = None  # it holds this operation, which must go when nobody is left
        self._tell()  # also when it is not the first: an earlier call may have failed here
        return is_first

    def _tell(self) -> None:
        """Call who waits. What one raises keeps nobody else waiting."""
        ended: BaseException | None = None
        while self._callbacks or self.on_over is not None:
            try:
                if self._callbacks:
                    self._callbacks.pop(0)()
                else:
                    over, self.on_over = self.on_over, None
                    if over is not None:
                        over(self)
            except Exception:
                log.exception("a waiter cannot be told; please report it")
            except BaseException as error:  # it ends the thread, when the others know
                ended = error
        if ended is not None:
            raise ended

    # --- who waits ------------------------------------------------------------------------------------------

    def begin(self) -> Operation[T]:
        """Let it begin, if it has not. Whoever waits need not call this."""
        start, self._start = self._start, None
        if start is not None:
            start(self)
        return self

    def cancel(self) -> None:
        """Give the result up, even one that has come. Safe from any thread; the first call counts."""
        with self._lock:
            if self.cancelled:
                return
            self.cancelled = True
            came = self.done and self._error is None
            undo, self.on_cancel = self.on_cancel, None
            over, self.on_over = self.on_over, None
            self._callbacks = []
        if came:
            if self.on_waste is not None:
                self.on_waste(self.outcome())
        elif undo is not None:
            undo()
        if over is not None:
            over(self)

    def add_done_callback(self, callback: Callable[[], object]) -> None:
        """Called once, in the thread that finishes the operation, or here if that has happened."""
        with self._lock:
            if not self.done:
                self._callbacks.append(callback)
                return
        callback()

    def outcome(self) -> T:
        """The value, or raises the error. Only once `done`."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # done without an error: the value is there

    def result(self) -> T:
        """Begin, and block until done. The operation bounds its own time; an interrupt (Ctrl-C) cancels it."""
        try:
            self.begin()
            self.wait()
            return self.outcome()
        except BaseException:
            self.cancel()
            raise

    def wait(self, timeout: float | None = None) -> bool:
        """Block until done or until the time is up; returns whether it is done.

        By a bare lock: an interrupt inside `threading.Event.wait` may come out as "release unlocked lock".
        """
        finished = threading.Lock()
        finished.acquire()
        self.add_done_callback(finished.release)
        return finished.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))


async def wait(operation: Operation[T]) -> T:
    """Begin the operation and await it, in asyncio or trio; cancellation cancels it."""
    event, wake = async_event()
    try:
        operation.begin()
        if not operation.done:
            operation.add_done_callback(wake)
            await event.wait()
        return operation.outcome()
    except BaseException:
        operation.cancel()
        raise


class AsyncEvent:
    """The little of `anyio.Event` that is needed here, typed."""

    __slots__ = ("_event", "wait")

    def __init__(self) -> None:
        import anyio

        self._event = anyio.Event()
        self.wait = self._event.wait

    def set(self) -> None:
        self._event.set()


def async_event() -> tuple[AsyncEvent, Callable[[], None]]:
    """An event of the running loop, and a function that sets it from any thread, the loop's own included."""
    event = AsyncEvent()
    schedule = scheduler()
    here = threading.get_ident()

    def wake() -> None:
        if threading.get_ident() == here:
            event.set()
        else:
            schedule(event.set)

    return event, wake


def in_trio() -> bool:
    """Whether the running loop is trio's; without importing it."""
    trio = sys.modules.get("trio")
    return trio is not None and trio.lowlevel.in_trio_run()


def scheduler() -> Callable[[Callable[[], object]], None]:
    """How a foreign thread runs a function in the caller's loop. A loop that has ended is no error: nobody waits."""
    if in_trio():
        import trio

        token = trio.lowlevel.current_trio_token()

        def into_trio(function: Callable[[], object]) -> None:
            with contextlib.suppress(trio.RunFinishedError, OSError):  # OSError: it is ending just now
                token.run_sync_soon(function)

        return into_trio
    import asyncio

    loop = asyncio.get_running_loop()

    def into_asyncio(function: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(function)

    return into_asyncio
