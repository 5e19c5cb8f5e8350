"""Who must be called when, across many owners: a lazy heap with one valid entry each.

An owner is armed again after every call into it. Its entry may be early, which costs one look when it comes due,
and is never late; so most calls only compare two floats.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar


class Alarmed(Protocol):
    armed_at: float
    """When its valid entry is due; inf without one. Owned by `Alarms`."""

    def deadline(self) -> float: ...


Owner = TypeVar("Owner", bound=Alarmed)


class Alarms(Generic[Owner]):
    __slots__ = ("_heap", "_serial")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Owner]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._heap)

    def arm(self, owner: Owner) -> None:
        at = owner.deadline()
        if at < owner.armed_at:
            owner.armed_at = at
            self._serial += 1
            heapq.heappush(self._heap, (at, self._serial, owner))

    def disarm(self, owner: Owner) -> None:
        """For an owner that is leaving: its entries count no more."""
        owner.armed_at = math.inf

    def deadline(self) -> float:
        heap = self._heap
        while heap and heap[0][0] != heap[0][2].armed_at:  # superseded by an earlier one, or disarmed
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf

    def run_due(self, now: float, run: Callable[[Owner], None]) -> None:
        """Call `run` for every owner whose deadline has come, and arm it again."""
        for owner in self._due(now):
            if owner.deadline() <= now:
                run(owner)
            self.arm(owner)

    def _due(self, now: float) -> Iterator[Owner]:
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, _, owner = heapq.heappop(heap)
            if at == owner.armed_at:
                owner.armed_at = math.inf
                yield owner
