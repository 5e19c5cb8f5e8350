"""What is bounded for the whole stack: answers that nobody asked for, buffers' bytes, what one peer may take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable


class TokenBucket:
    """`rate` a second, at most `burst` at once."""

    __slots__ = ("_burst", "_rate", "_refilled", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst, self._tokens = rate, burst, burst
        self._refilled = 0.0

    def take(self, now: float) -> bool:
        """Whether one more may go out now."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._refilled) * self._rate)
        self._refilled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Shares:
    """`total` of something, of which no single holder has more than two thirds."""

    __slots__ = ("_of", "taken", "total")

    def __init__(self, total: int) -> None:
        self.total = max(total, 1)
        self.taken = 0
        self._of: Counter[Hashable] = Counter()

    def take(self, holder: Hashable, amount: int = 1) -> bool:
        """Give the holder so much, or nothing: False."""
        if self.taken + amount > self.total or self._of[holder] + amount > max(self.total * 2 // 3, 1):
            return False
        self.taken += amount
        self._of[holder] += amount
        return True

    def give_back(self, holder: Hashable, amount: int = 1) -> None:
        self.taken -= amount
        self._of[holder] -= amount
        if not self._of[holder]:
            del self._of[holder]


class Memory:
    """Bytes that all connections hold together, either way.

    From three quarters of the ceiling on, windows stop growing and buffers take little; at the ceiling what arrives is
    dropped. Each connection keeps a small share even then, so that none starves.
    """

    __slots__ = ("ceiling", "held", "plenty")

    def __init__(self, ceiling: int = 256 * 1024 * 1024) -> None:
        self.ceiling = ceiling
        self.plenty = ceiling * 3 // 4
        self.held = 0

    @property
    def is_scarce(self) -> bool:
        return self.held > self.plenty

    @property
    def is_full(self) -> bool:
        return self.held >= self.ceiling
