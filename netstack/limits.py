"""Limits of the whole stack: unasked answers a second, bytes in buffers, one peer's share, the length of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import NamedTuple


class TokenBucket:
    """Allows `rate` events a second, and at most `burst` of them at once."""

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


class RunLimits(NamedTuple):
    """How much one run may carry, so that the owner of the stack can send it in one call.

    packets: the most packets. size: the most bytes of all packets together. overhead: bytes that the layers below put
    around each packet; they count for `size`. The defaults are those of a Linux send with UDP_SEGMENT over IPv4.
    """

    packets: int = 64
    size: int = 65_507
    overhead: int = 0

    def count(self, length: int) -> int:
        """How many packets of that length one run carries: at least one, however long it is."""
        return max(min(self.packets, self.size // (length + self.overhead)), 1)


DEFAULT_RUNS = RunLimits()


class Shares:
    """A stock of `total`, of which no single holder has more than two thirds."""

    __slots__ = ("_of", "taken", "total")

    def __init__(self, total: int) -> None:
        self.total = max(total, 1)
        self.taken = 0
        self._of: Counter[Hashable] = Counter()

    def take(self, holder: Hashable, amount: int = 1) -> bool:
        """Give the holder the whole amount, or nothing; False if nothing."""
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
    """The bytes that all connections buffer together, for sending and receiving.

    Above three quarters of the ceiling, windows stop growing and buffers take little. At the ceiling, arriving data is
    dropped. Each connection may still hold 64 KiB (LEAST_LIMIT), so that none starves.
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
