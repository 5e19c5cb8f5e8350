"""Who waits on the application's side of a pipe: one reader, one writer, each with a function that wakes it.

    application's side                       node's side
    wait_to_read(wake, ready)  ──────────►   wake_reader()     once, for whoever waits

A waiter leaves its wake first and looks again after that, so that no news falls in between; at worst it is woken for
nothing. Each wake may be called from either side.
"""

from __future__ import annotations

from collections.abc import Callable

Wake = Callable[[], None]


class Waiters:
    """One reader and one writer at a time; the last to wait is the one that is woken."""

    __slots__ = ("_read_wake", "_write_wake")

    def __init__(self) -> None:
        self._read_wake: Wake | None = None
        self._write_wake: Wake | None = None

    @property
    def writer_waits(self) -> bool:
        return self._write_wake is not None

    def wait_to_read(self, wake: Wake, is_ready: Callable[[], bool]) -> bool:
        """Leave a wake; returns False, and takes it back, if there is something to read after all."""
        self._read_wake = wake
        if is_ready():
            self._read_wake = None
            return False
        return True

    def wait_to_write(self, wake: Wake, is_ready: Callable[[], bool]) -> bool:
        """As `wait_to_read`."""
        self._write_wake = wake
        if is_ready():
            self._write_wake = None
            return False
        return True

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

    def forget(self) -> None:
        """In a forked child: those who wait are the parent's."""
        self._read_wake = self._write_wake = None
