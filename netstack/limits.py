"""A token bucket: how often the stack answers what it did not ask for (ICMP errors, resets)."""

from __future__ import annotations


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
