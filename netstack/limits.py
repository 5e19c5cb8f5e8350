"""What is bounded for the whole stack: answers that nobody asked for, and the bytes in connections' buffers."""

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
