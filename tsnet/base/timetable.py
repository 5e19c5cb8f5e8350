"""When something is due for whom: at most one instant for each key, and the earliest at once.

The heap below may hold entries that count no more. Once they are in the majority they are thrown out, so that whoever
comes and goes as fast as it likes leaves nothing behind.

Not here: owners whose deadlines change with almost every call into them (`wireguard.alarms`).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable
from typing import Generic, TypeVar

SPARE = 64
"""Entries that count no more, and are too few to be worth a look."""

Key = TypeVar("Key", bound=Hashable)


class Earliest:
    """When somebody must look, who has many things to wait for: each of them brings `at` forward when it is set.

    It may be too early, as nobody moves it back when something is dropped, and it is never too late. Who has looked
    sets it anew. So whoever asks all the time reads one number.
    """

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at: float = math.inf

    def by(self, at: float) -> None:
        """There is something to do then."""
        if at < self.at:
            self.at = at


class Timetable(Generic[Key]):
    """`len` tells how many entries there are, with those that count no more."""

    __slots__ = ("_at", "_earliest", "_heap", "_serial")

    def __init__(self, earliest: Earliest | None = None) -> None:
        """earliest: hears of every instant that is set."""
        self._earliest = earliest or Earliest()
        self._at: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, key: Key, at: float) -> None:
        """From now on it is due at this instant, and at no other one; at `inf` never."""
        if at == math.inf:
            self.drop(key)
        elif self._at.get(key) != at:
            self._at[key] = at
            self._serial += 1
            heapq.heappush(self._heap, (at, self._serial, key))
            self._earliest.by(at)
            self._tidy()

    def drop(self, key: Key) -> None:
        if self._at.pop(key, None) is not None:
            self._tidy()

    def deadline(self) -> float:
        """When the next one is due; inf if none is."""
        heap = self._heap
        while heap and self._at.get(heap[0][2]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf

    def take(self, now: float) -> list[Key]:
        """The keys that are due, the earliest first; they are due no more."""
        due = []
        while self.deadline() <= now:
            key = heapq.heappop(self._heap)[2]
            del self._at[key]
            due.append(key)
        return due

    def _tidy(self) -> None:
        if len(self._heap) > 2 * len(self._at) + SPARE:
            self._heap = [(at, serial, key) for serial, (key, at) in enumerate(self._at.items())]
            heapq.heapify(self._heap)
