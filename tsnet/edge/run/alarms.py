"""Alarms: functions to be called from some instant on, in the thread that rings them.

Not here: the machines' own timers, which are `deadline()`; a socket's (`edge.io.reactor`).
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable


class Alarm:
    """One function and its instant. `cancel` makes it do nothing and lets go of what it holds."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], object]) -> None:
        self.function: Callable[[], object] | None = function

    def cancel(self) -> None:
        self.function = None


class Alarms:
    """A heap of alarms; those that were cancelled leave it when their time comes."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._numbers = itertools.count()

    def at(self, when: float, function: Callable[[], object]) -> Alarm:
        """Call the function once, from then on; at `inf` never."""
        alarm = Alarm(function)
        if when != math.inf:
            heapq.heappush(self._heap, (when, next(self._numbers), alarm))
        return alarm

    def due(self) -> float:
        """When the next one rings; inf if none will."""
        heap = self._heap
        while heap and heap[0][2].function is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf

    def ring(self, now: float) -> None:
        """Call every function whose time has come. What one raises, the others wait for the next call with."""
        while self._heap and self.due() <= now:
            function = heapq.heappop(self._heap)[2].function
            if function is not None:
                function()
