"""What the node's thread will finish: a value or an error, once, for waiters of any colour.

    node's thread   resolve(value) | fail(error)
    any thread      result() blocks · add_done_callback · cancel
    any async task  await wait(operation): asyncio or trio, cancellation-safe

A cancelled wait cancels the operation: `on_cancel` undoes what was begun. A value that comes too late, that its waiter
never took because it was cancelled a moment before, or that nobody is left to take (an interrupt fell between the call
and its wait) is given to `on_waste`: nothing that was opened is lost.

Not here: who makes operations, and ends those whose thread has died (`edge.run.host`).
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from tsnet.edge.io.log import log

T = TypeVar("T")


class Operation(Generic[T]):
    """One result to come. Whoever comes second, `resolve` or `fail` or `cancel`, has no effect."""

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_error",
        "_lock",
        "_taken",
        "_value",
        "cancelled",
        "done",
        "on_cancel",
        "on_waste",
    )

    def __init__(self, on_waste: Callable[[T], object] | None = None) -> None:
        self.done = False
        self.cancelled = False
        self.on_cancel: Callable[[], None] | None = None
        self.on_waste = on_waste
        self._taken = False
        self._value: T | None = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def resolve(self, value: T) -> bool:
        """Returns whether anybody may see the value; if not, it has gone to `on_waste`."""
        if self._finish(value, None):
            return True
        if self.on_waste is not None:
            self.on_waste(value)
        return False

    def fail(self, error: BaseException) -> bool:
        return self._finish(None, error)

    def cancel(self) -> None:
        """Give the result up, even one that has come. Safe from any thread; the first call counts."""
        with self._lock:
            if self.cancelled:
                return
            self.cancelled = True
            came = self.done and self._error is None
            undo = self.on_cancel
        if came:
            self._waste()
        elif undo is not None:
            undo()

    def _waste(self) -> None:
        """Nobody wants the value that has come."""
        if self.on_waste is not None and not self._taken:
            self.on_waste(self.outcome())

    def __del__(self) -> None:
        if self.done and self._error is None and not self.cancelled:
            self._waste()

    def _finish(self, value: T | None, error: BaseException | None) -> bool:
        with self._lock:
            if self.done or self.cancelled:
                return False
            self._value, self._error, self.done = value, error, True
            self.on_cancel = None  # it holds this operation, which must go when nobody is left
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception:  # the others wait, too
                log.exception("a waiter cannot be told; please report it")
        return True

    def add_done_callback(self, callback: Callable[[], None]) -> None:
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
        self._taken = True
        return self._value  # type: ignore[return-value]  # done without an error: the value is there

    def result(self) -> T:
        """Block until done. The operation bounds its own time; an interrupt (Ctrl-C) cancels it."""
        try:
            self.wait()
        except BaseException:
            self.cancel()
            raise
        return self.outcome()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until done or until the time is up; returns whether it is done."""
        finished = threading.Event()
        self.add_done_callback(finished.set)
        return finished.wait(timeout)


async def wait(operation: Operation[T]) -> T:
    """Await the operation from asyncio or trio; cancellation cancels it."""
    if not operation.done:
        event, wake = async_event()
        operation.add_done_callback(wake)
        try:
            await event.wait()
        except BaseException:
            operation.cancel()
            raise
    return operation.outcome()


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
