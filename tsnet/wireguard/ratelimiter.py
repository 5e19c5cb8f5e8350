"""A token bucket for each source: what one address may ask of us while we are under load.

Source: wireguard-go ratelimiter/ratelimiter.go (20 a second, burst 5).
"""

from __future__ import annotations

from collections.abc import Hashable

from tsnet.wireguard.constants import RATE_BURST, RATE_PER_SECOND

MAX_SOURCES = 4096
"""A source beyond that is refused until others have been quiet: only under load, and only with a valid cookie."""

_FULL_AFTER = RATE_BURST / RATE_PER_SECOND


class RateLimiter:
    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: dict[Hashable, tuple[float, float]] = {}  # source: (tokens, at)

    def __len__(self) -> int:
        return len(self._buckets)

    def allow(self, source: Hashable, now: float) -> bool:
        bucket = self._buckets.get(source)
        if bucket is None:
            if len(self._buckets) >= MAX_SOURCES and not self._forget_full(now):
                return False
            tokens = float(RATE_BURST)
        else:
            tokens, at = bucket
            tokens = min(RATE_BURST, tokens + (now - at) * RATE_PER_SECOND)
        allowed = tokens >= 1
        self._buckets[source] = (tokens - 1 if allowed else tokens, now)
        return allowed

    def _forget_full(self, now: float) -> bool:
        """Drop the buckets that are full again, which are those we would make anew."""
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if now - bucket[1] < _FULL_AFTER}
        return len(self._buckets) < MAX_SOURCES
