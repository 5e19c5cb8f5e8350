"""A result that the node's thread sets once. Blocking code, asyncio and trio can all wait for it.

    node's thread   resolve(value) | fail(error)
    any thread      begin · result() begins and blocks · add_done_callback · cancel
    any async task  await wait(operation), which begins it: asyncio or trio, cancellation-safe

An operation does nothing until somebody begins it or waits for it. Whoever waits cancels it when an interrupt (Ctrl-C)
comes, so that nothing that has begun is left without an owner. Cancelling calls `on_cancel`, which undoes what was
begun. A value that comes all the same, or had come, is given to `on_waste`.

Not here: who makes operations, and who ends those whose thread has died (`edge.run.host`).
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from tsnet.edge.io.log import log
from tsnet.errors import Error, NotUp, again

T = TypeVar("T")


class Operation(Generic[T]):
    """One result to come. `resolve` and `fail` have no effect if one of them, or `cancel`, came first.

    start: called when the operation begins. on_over: called once, when the operation was cancelled, or is done and
    everybody was told. on_waste: takes a value that nobody will see.
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
        self.done: bool = False
        self.cancelled: bool = False
        self.on_cancel: Callable[[], None] | None = None
        self.on_over: Callable[[Operation[Any]], object] | None = None
        self.on_waste: Callable[[T], object] | None = on_waste
        self._start = start
        self._value: T | None = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    # --- who finishes it ------------------------------------------------------------------------------------

    def resolve(self, value: T) -> bool:
        """Set the value. Returns whether anybody may see it; if not, `on_waste` was called with it."""
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
                self.on_cancel = None  # it refers to this operation, which must be freed when nobody holds it
        self._tell()  # also when it is not the first: an earlier call may have failed here
        return is_first

    def _tell(self) -> None:
        """Call those who wait. An exception of one does not keep the others waiting."""
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
            except BaseException as error:  # it ends the thread, once the others were called
                ended = error
        if ended is not None:
            raise ended

    # --- who waits ------------------------------------------------------------------------------------------

    def begin(self) -> Operation[T]:
        """Begin, unless that has happened. `result` and `wait(operation)` do it themselves."""
        start, self._start = self._start, None
        if start is not None:
            start(self)
        return self

    def cancel(self) -> None:
        """Give the result up, even one that has come. Safe from any thread. Only the first call has an effect."""
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
        """Call back once, in the thread that finishes the operation, or at once if it is done. Not after `cancel`."""
        with self._lock:
            if not self.done:
                self._callbacks.append(callback)
                return
        callback()

    def remove_done_callback(self, callback: Callable[[], object]) -> None:
        """Forget a callback of somebody who gave up waiting, so that waits that are repeated leave nothing behind."""
        with self._lock, contextlib.suppress(ValueError):  # it is being called just now
            self._callbacks.remove(callback)

    def outcome(self) -> T:
        """The value; raises the error if it failed. Only once `done`."""
        if self._error is not None:
            raise again(self._error)
        return self._value  # type: ignore[return-value]  # done without an error: the value is there

    def result(self) -> T:
        """Begin, block until done, and return the value or raise the error. An interrupt (Ctrl-C) cancels.

        There is no timeout here: whoever made the operation bounds its time.
        """
        try:
            self.begin()
            self.wait()
            return self.outcome()
        except BaseException:
            self.cancel()
            raise

    def wait(self, timeout: float | None = None) -> bool:
        """Block until done, at most `timeout` seconds. Returns whether it is done.

        It waits for a bare lock: an interrupt in `threading.Event.wait` may raise "release unlocked lock" instead.
        """
        finished = threading.Lock()
        finished.acquire()
        self.add_done_callback(finished.release)
        if timeout is None:
            return finished.acquire()
        if finished.acquire(timeout=min(timeout, threading.TIMEOUT_MAX)):
            return True
        self.remove_done_callback(finished.release)
        return False


def resolved(value: T) -> Operation[T]:
    """An operation that is done."""
    operation: Operation[T] = Operation()
    operation.resolve(value)
    return operation


def failed(error: Error | None) -> Operation[Any]:
    """An operation of a node that was closed, if there is no other error."""
    operation: Operation[Any] = Operation()
    operation.fail(error or NotUp("the node was closed"))
    return operation


async def wait(operation: Operation[T]) -> T:
    """Begin the operation and await it, in asyncio or trio. Cancelling the task cancels the operation."""
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
    """The typed part of `anyio.Event` that is needed here. `anyio` is imported only when an event is made."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        import anyio

        self._event = anyio.Event()

    async def wait(self) -> None:
        await self._event.wait()

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
    """Whether the running loop is trio's. Does not import trio.

    Another thread may be importing it just now, so that a module is there and its functions are not. Who runs in trio
    has imported all of it.
    """
    is_running = getattr(sys.modules.get("trio.lowlevel"), "in_trio_run", None)
    return is_running is not None and bool(is_running())


def scheduler() -> Callable[[Callable[[], object]], None]:
    """A function by which any thread runs another one in the caller's loop. If the loop has ended, it does nothing."""
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
