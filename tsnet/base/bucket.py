"""A token bucket: `rate` tokens a second, at most `burst` saved up.

Used for the client's own limit when a relay announces one, for a relay's answers to packets for nobody, and for frames
that move nothing forward (`allowance`).
"""

from __future__ import annotations


class TokenBucket:
    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, now

    def take(self, tokens: float, now: float) -> bool:
        """Whether that many were there; if not, nothing is taken."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True
