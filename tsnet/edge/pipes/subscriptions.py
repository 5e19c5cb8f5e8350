"""Events on their way to an application: a bounded queue, filled by the node's thread, emptied by any other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

LIMIT = 1024


class Subscription:
    """When nobody reads, the oldest give way, and `missed` counts them."""

    def __init__(self) -> None:
        self.missed = 0
        self.ended = False
        self._queue: deque[Any] = deque()
        self._wake: Callable[[], None] | None = None

    def put(self, event: object) -> None:
        if len(self._queue) >= LIMIT:
            self._queue.popleft()
            self.missed += 1
        self._queue.append(event)
        self._notify()

    def end(self) -> None:
        self.ended = True
        self._notify()

    def take(self) -> Any | None:
        """The oldest event, or None when there is none."""
        try:
            return self._queue.popleft()
        except IndexError:
            return None

    def when_ready(self, wake: Callable[[], None]) -> bool:
        """Call `wake` once there is an event or the end; returns False if there already is."""
        self._wake = wake
        if self._queue or self.ended:
            self._wake = None
            return False
        return True

    def close(self) -> None:
        """Nobody reads any more."""
        self._queue.clear()
        self.end()

    def _notify(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()
