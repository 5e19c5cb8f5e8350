"""A question that is sent again while nobody answers, and given up in the end.

Tries((0.25, 0.5), patience=2.0, now)     sent now, after 0.25 s and after 0.5 s more; over after 2 s
"""

from __future__ import annotations

import math
from collections.abc import Sequence


class Tries:
    __slots__ = ("_at", "_pauses", "_until")

    def __init__(self, pauses: Sequence[float], patience: float, now: float) -> None:
        self._pauses = list(pauses)
        self._at, self._until = now, now + patience

    def take(self, now: float) -> bool:
        """Whether to send now; the next try is planned."""
        if now < self._at or self.is_over(now):
            return False
        self._at = now + self._pauses.pop(0) if self._pauses else math.inf
        return True

    def is_over(self, now: float) -> bool:
        return now >= self._until

    def deadline(self) -> float:
        return min(self._at, self._until)
