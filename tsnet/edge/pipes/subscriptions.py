"""Events on their way to an application: a bounded queue, filled by the node's thread, emptied by any other.

A node holds its subscriptions weakly, and only a reader holds one otherwise: a subscription that was dropped is gone.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from tsnet.edge.pipes.waiters import Wake, WakeQueue

LIMIT = 1024


class Subscription:
    """Any number of readers share the events: each event goes to one of them, the end to all.

    When nobody reads, the oldest events give way, and `missed` counts them.
    """

    def __init__(self) -> None:
        self.missed = 0
        self.ended = False
        self._queue: deque[Any] = deque()
        self._readers = WakeQueue()

    # --- the node's side ------------------------------------------------------------------------------------

    def put(self, event: object) -> None:
        """Queue an event; after the end it has no effect."""
        if self.ended:
            return
        if len(self._queue) >= LIMIT:
            self._queue.popleft()
            self.missed += 1
        self._queue.append(event)
        self._readers.wake_one()

    def end(self) -> None:
        """No more events will come; those that wait can still be taken. May be said twice."""
        self.ended = True
        self._readers.wake_all()

    # --- the application's side -----------------------------------------------------------------------------

    def take(self) -> Any | None:
        """The oldest event, or None when there is none."""
        try:
            return self._queue.popleft()
        except IndexError:
            return None

    def when_ready(self, wake: Wake) -> bool:
        """Call `wake` once there is an event or the end; returns False, and does not call, if there already is."""
        return self._readers.enter(wake, self._has_news)

    def forget(self, wake: Wake) -> None:
        """A reader gave up waiting. If it had been woken already, the next one is woken instead."""
        self._readers.leave(wake, self._has_news)

    def close(self) -> None:
        """Nobody wants more events: those that wait are dropped, and readers that wait are told the end."""
        self.end()
        self._queue.clear()

    def _has_news(self) -> bool:
        return bool(self._queue) or self.ended
