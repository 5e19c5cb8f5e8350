"""Virtual time: what happens next, and a hash of everything that has happened.

    at(when, function)       a heap of events, first come first served among equals
    wait(until)              jump to the next event, run what is due, return; no time passes between jumps
    record(kind, …)          the trace: two runs of one seed have the same hash or are not the same

The hash must not depend on PYTHONHASHSEED; when it does, something iterates a set or a dict ordered by hashes.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import struct
from collections import deque
from collections.abc import Callable

START = 1000.0
"""Where the clock begins: a value that nobody takes for "never" or for unix time."""

EPOCH = 1_700_000_000.0
"""Unix time at START."""


class Timeline:
    def __init__(self) -> None:
        self.now: float = START
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._calls: deque[Callable[[], None]] = deque()
        self._hash = hashlib.blake2s()

    @property
    def wall(self) -> float:
        return EPOCH + self.now - START

    @property
    def trace(self) -> str:
        """Of all that was recorded so far, with its times."""
        return self._hash.hexdigest()

    def record(self, kind: str, *parts: object) -> None:
        self._hash.update(struct.pack("<d", self.now) + kind.encode())
        for part in parts:
            data = part if isinstance(part, bytes) else repr(part).encode()
            self._hash.update(struct.pack("<I", len(data)) + data)

    def at(self, when: float, function: Callable[[], None]) -> None:
        """Run the function then; at once, in the next wait, if that has passed."""
        heapq.heappush(self._events, (max(when, self.now), self._count, function))
        self._count += 1

    def call_soon(self, function: Callable[[], None]) -> None:
        self._calls.append(function)

    def next_event(self) -> float:
        if self._calls:
            return self.now
        return self._events[0][0] if self._events else math.inf

    def wait(self, until: float) -> None:
        """Go to the next event or to `until`, whichever is earlier, and run what is due.

        Raises RuntimeError if neither will ever be: everybody waits for somebody.
        """
        when = min(self.next_event(), until)
        if when == math.inf:
            raise RuntimeError("the simulated world stands still: no event, no deadline, and nobody to bring one")
        self.now = max(self.now, when)
        last = self._count  # what the events themselves bring about waits for the next round
        while self._events and self._events[0][0] <= self.now and self._events[0][1] < last:
            heapq.heappop(self._events)[2]()
        for _ in range(len(self._calls)):
            self._calls.popleft()()
