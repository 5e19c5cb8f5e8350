"""A token bucket for each source: so many a second, and a burst that is saved up meanwhile.

The table is bounded. A source that finds no place in it is refused until others have been quiet.

Source: wireguard-go ratelimiter/ratelimiter.go.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

MAX_SOURCES = 4096

_ONE = 1 - 1e-6
"""A token, but for what rounding may have taken from it: `allowed_at` must not name a moment that is too early."""


class RateLimiter:
    __slots__ = ("_buckets", "_burst", "_forget_at", "_per_second")

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._buckets: dict[Hashable, tuple[float, float]] = {}  # source: (tokens, at)
        self._forget_at = -math.inf

    def __len__(self) -> int:
        return len(self._buckets)

    def allow(self, source: Hashable, now: float) -> bool:
        bucket = self._buckets.get(source)
        if bucket is None:
            if len(self._buckets) >= MAX_SOURCES and not self._forget_full(now):
                return False
            tokens = self._burst
        else:
            tokens, at = bucket
            tokens = min(self._burst, tokens + max(0.0, now - at) * self._per_second)
        allowed = tokens >= _ONE
        self._buckets[source] = (tokens - 1 if allowed else tokens, now)
        return allowed

    def allowed_at(self, source: Hashable) -> float:
        """When `allow` next says yes if nobody asks meanwhile; -math.inf for a source that never asked."""
        bucket = self._buckets.get(source)
        if bucket is None:
            return -math.inf
        tokens, at = bucket
        return at + max(0.0, 1 - tokens) / self._per_second

    def _forget_full(self, now: float) -> bool:
        """Drop the buckets that are full again, which are those we would make anew; return whether there is room.

        This reads the whole table. A flood of new sources makes it do that four times per refill, not each time.
        """
        refill = self._burst / self._per_second
        if now >= self._forget_at:
            self._forget_at = now + refill / 4
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if now - bucket[1] < refill}
        return len(self._buckets) < MAX_SOURCES
