"""Writing to a store: the node's thread hands values over, and a worker writes them.

    save(key, value, done)   node's thread ─► waits ─► worker: store.write(key, value) ─► node's thread: done(error)

There is one write at a time, and keys are written in the order in which they began to wait. A newer value of a key that
still waits takes the older one's place, and both callers are told when it has been written. So at most one value of
each key waits. MAX_UNANSWERED bounds how many callers wait.

A store that hangs costs a thread and nothing else: the node goes on, and `close` waits no longer than its timeout.
Where no thread can be had, the node's own one writes: the process has too many, or the interpreter is ending, which
from Python 3.12 on allows no new one.

Not here: what depends on a value being saved, and what a failure means (`tsnet.engine`), the stores (`store`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import attrs

from tsnet.edge.io.log import log
from tsnet.edge.io.private import kind_of
from tsnet.edge.io.store import Store
from tsnet.errors import Error, StateError

Done = Callable[[Error | None], None]
MAX_UNANSWERED = 64
"""How many `save` may be without an answer. A node saves a few times an hour, so the store has then hung for long."""


@attrs.define(eq=False)
class _Write:
    """A value that waits, and the callbacks for when it has been written."""

    key: str
    value: bytes = attrs.field(repr=False)
    told: list[Done] = attrs.Factory(list)


class Saver:
    """Writes to one open store, until `close`. All public methods but `close` belong to the node's thread.

    call_soon: runs a function in the node's thread. Every `done` is called that way, never from within `save`.
    in_thread: False writes at once and in the caller's thread, for a virtual world.
    """

    def __init__(
        self, store: Store, call_soon: Callable[[Callable[[], None]], None], *, in_thread: bool = True
    ) -> None:
        self._store = store
        self._call_soon = call_soon
        self._in_thread = in_thread
        self._unanswered = 0
        self._ended = threading.Event()
        self._lock = threading.Lock()  # guards the attributes below, which the worker uses, too
        self._waiting: dict[str, _Write] = {}
        self._worker: threading.Thread | None = None
        self._is_open = True
        self._is_ending = False

    @property
    def is_idle(self) -> bool:
        """Whether every `done` has been called."""
        return self._unanswered == 0

    def save(self, key: str, value: bytes, done: Done) -> None:
        """Write the value soon. `done` is called once, with None or an error, if the node's thread still runs.

        If MAX_UNANSWERED are without an answer, the oldest `done` that waits for this key gets an error, or this one if
        there is none, although the newest value still waits to be written.
        """
        is_full = self._unanswered >= MAX_UNANSWERED
        self._unanswered += 1
        if not self._is_open:
            self._answer([done], StateError(f"{key} is not saved: the node was closed"))
        elif not self._in_thread:
            self._answer([done], self._write(key, value))
        else:
            outdated = self._queue(key, value, done, is_full=is_full)
            if outdated is not None:
                self._answer([outdated], StateError(f"{key} is not saved: its store has not answered for long"))

    def close(self, timeout: float = 0.0) -> bool:
        """Take no more values; from any thread. Those that wait are still written, and then the store is closed.

        Waits at most `timeout` seconds for that, and returns whether it has happened. If `is_idle`, it happens here.
        """
        with self._lock:
            self._is_open = False
        self._end_if_done()
        return self._ended.wait(timeout)

    # --- in the node's thread -------------------------------------------------------------------------------

    def _queue(self, key: str, value: bytes, done: Done, *, is_full: bool) -> Done | None:
        """Returns who is to be told that it has not been saved, if too many wait."""
        with self._lock:
            write = self._waiting.setdefault(key, _Write(key, value))
            write.value = value
            write.told.append(done)
            outdated = write.told.pop(0) if is_full else None
            if self._has_worker():
                return outdated
            worker = self._worker = threading.Thread(target=self._work, name="tsnet-saver", daemon=True)
        try:
            worker.start()
        except (RuntimeError, MemoryError):  # no thread can be had
            with self._lock:
                self._worker = threading.current_thread()
            self._work()
        return outdated

    def _deliver(self, done: Done, error: Error | None) -> None:
        self._unanswered -= 1
        done(error)

    # --- in the worker, or in the node's thread where no worker can start ------------------------------------

    def _work(self) -> None:
        """Write until nothing waits. After a fault of this library every caller gets an error: none waits for ever."""
        write: _Write | None = None
        try:
            write = self._next()
            while write is not None:
                error = self._write(write.key, write.value)
                written, write = write, self._next()  # first, so that no worker is left when the last `done` is called
                self._answer(written.told, error)
        except BaseException as fault:
            log.error("a thread that writes the state has ended, please report it: %s", type(fault).__name__)
            self._give_up(f"its thread has ended: {type(fault).__name__}", write)
            self._end_if_done()

    def _next(self) -> _Write | None:
        with self._lock:
            if self._worker is not threading.current_thread():
                return None  # an interrupt hit `start`, and another worker has taken over
            if self._waiting:
                return self._waiting.pop(next(iter(self._waiting)))
            self._worker = None
        self._end_if_done()
        return None

    # --- in either ------------------------------------------------------------------------------------------

    def _give_up(self, why: str, *more: _Write | None) -> None:
        """Answer everybody who waits with an error: nobody will write the values."""
        with self._lock:
            self._worker = None
            waiting, self._waiting = self._waiting, {}
        for write in (*more, *waiting.values()):
            if write is not None:
                self._answer(write.told, StateError(f"{write.key} is not saved: {why}"))

    def _write(self, key: str, value: bytes) -> Error | None:
        """Write a value. An error loses its traceback, whose frames hold the value: error reporters would show it."""
        try:
            self._store.write(key, value)
        except Error as error:
            return error.with_traceback(None)
        except (Exception, SystemExit) as error:
            reason = kind_of(error) if isinstance(error, Exception) else type(error).__name__
            return StateError(f"{key} is not saved: the {type(self._store).__name__} failed: {reason}")
        return None

    def _answer(self, told: Iterable[Done], error: Error | None) -> None:
        for done in told:
            self._call_soon(lambda done=done: self._deliver(done, error))  # type: ignore[misc]

    def _end_if_done(self) -> None:
        """Close the store once, if `close` was called and no worker is left."""
        with self._lock:
            if self._is_open or self._has_worker() or self._is_ending:
                return
            self._is_ending = True
        try:
            self._store.close()
        except Exception as error:
            log.warning("the %s of this node did not close: %s", type(self._store).__name__, type(error).__name__)
        self._ended.set()

    def _has_worker(self) -> bool:
        return self._worker is not None and self._worker.is_alive()
