"""Limits of the whole stack: unasked answers a second, bytes in buffers, one peer's share, the length of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import NamedTuple

DATAGRAM_COST = 200
"""What a queued datagram costs beside its payload."""


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


def peer_of(link: Hashable, source: bytes) -> Hashable:
    """Who counts as one peer in the stack's limits: the link, which cannot be forged, or without one the address."""
    return source if link is None else link


FULL, SHARE = "full", "a peer's share"
"""Why `Shares` gives nothing: all is taken, or this holder has as much of it as one may have."""


class Shares:
    """A stock of `total`, of which no single holder has more than `each`: two thirds, if nothing else is said.

    None holds for nobody in particular: it counts in the total alone. refused: how often nothing was given, by reason.
    """

    __slots__ = ("_limit", "_of", "_total", "each", "refused", "taken")

    def __init__(self, total: int, *, each: int | None = None) -> None:
        self.taken: int = 0
        self.refused: Counter[str] = Counter()
        self._limit = each
        self._of: dict[Hashable, int] = {}
        self.total = total

    @property
    def total(self) -> int:
        return self._total

    @total.setter
    def total(self, total: int) -> None:
        """What is taken stays taken, even if that is more."""
        self._total: int = max(total, 1)
        self.each: int = max(self._total * 2 // 3, 1) if self._limit is None else self._limit

    def of(self, holder: Hashable) -> int:
        """How much the holder has."""
        return self._of.get(holder, 0)

    def refusal(self, holder: Hashable, amount: int = 1) -> str | None:
        """Why `take` would give nothing: FULL or SHARE; None if it would give. Counts nothing."""
        if holder is not None and self._of.get(holder, 0) + amount > self.each:
            return SHARE
        return FULL if self.taken + amount > self._total else None

    def take(self, holder: Hashable, amount: int = 1) -> bool:
        """Give the holder the whole amount, or nothing; False if nothing."""
        held = self._of.get(holder, 0) + amount
        if self.taken + amount > self._total or (held > self.each and holder is not None):
            self.refused[self.refusal(holder, amount) or FULL] += 1
            return False
        self.taken += amount  # counted now: the collector may have run a finalizer that gave something back
        self._of[holder] = held
        return True

    def give_back(self, holder: Hashable, amount: int = 1) -> None:
        self.taken -= amount
        left = self._of.get(holder, 0) - amount
        if left:
            self._of[holder] = left
        else:
            self._of.pop(holder, None)


class Memory:
    """The bytes that all connections buffer together, for sending and receiving.

    Above three quarters of the ceiling, windows stop growing and buffers take little. At the ceiling, arriving data is
    dropped. Each connection may still hold 64 KiB (LEAST_LIMIT), so that none starves.
    """

    __slots__ = ("ceiling", "held", "plenty")

    def __init__(self, ceiling: int = 256 * 1024 * 1024) -> None:
        self.ceiling: int = ceiling
        self.plenty: int = ceiling * 3 // 4
        self.held: int = 0

    @property
    def is_scarce(self) -> bool:
        return self.held > self.plenty

    @property
    def is_full(self) -> bool:
        return self.held >= self.ceiling
