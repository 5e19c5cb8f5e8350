"""Events on their way to an application: a bounded queue that a node and its services fill and other threads empty.

A node holds its subscriptions weakly: one that its reader has dropped is freed.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Any

from tsnet.edge.pipes.waiters import Wake, WakeQueue

LIMIT = 1024


class Subscription:
    """A queue of events that any number of readers share: each event goes to one of them, the end to all.

    When the queue is full, the oldest event is dropped, and `missed` counts it.
    """

    def __init__(self) -> None:
        self.missed: int = 0
        self.ended: bool = False
        self._queue: deque[Any] = deque()
        self._readers = WakeQueue()

    # --- the node's side ------------------------------------------------------------------------------------

    def put(self, event: object) -> None:
        """Queue an event. After the end this has no effect."""
        if self.ended:
            return
        if len(self._queue) >= LIMIT:
            with contextlib.suppress(IndexError):  # it was emptied a moment ago
                self._queue.popleft()
                self.missed += 1
        self._queue.append(event)
        self._readers.wake_one()

    def end(self) -> None:
        """No more events come. Those in the queue can still be taken. May be called twice."""
        self.ended = True
        self._readers.wake_all()

    # --- the application's side -----------------------------------------------------------------------------

    def take(self) -> Any | None:
        """The oldest event, or None if there is none."""
        try:
            return self._queue.popleft()
        except IndexError:
            return None

    def when_ready(self, wake: Wake) -> bool:
        """Call `wake` when there is an event or the end. If there is one now, return False and do not call."""
        return self._readers.enter(wake, self._has_news)

    def forget(self, wake: Wake) -> None:
        """Forget a reader that gave up waiting. If it had been woken already, the next one is woken instead."""
        self._readers.leave(wake, self._has_news)

    def close(self) -> None:
        """Drop the events in the queue, and end: readers that wait find the end."""
        self.end()
        self._queue.clear()

    def _has_news(self) -> bool:
        return bool(self._queue) or self.ended
