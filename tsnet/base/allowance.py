"""What one connection may send that moves nothing forward: pings, resets, empty frames, and whatever else costs us work
and brings neither a request nor an answer nor a packet.

Each such frame takes a token; `earn` gives tokens for what we did ourselves that makes the other end send such frames.
A well-behaved peer sends a few a minute. One that uses all tokens up is closed, with the reason that `Flood` names.

Source of the numbers: nghttp2's limits for stream resets and for other glitches.
"""

from __future__ import annotations

from collections import Counter

from tsnet.base.bucket import TokenBucket
from tsnet.base.malformed import MalformedError

RATE, BURST = 33.0, 1000.0
MAX_EARNED = 16_384.0
"""Tokens that were earned and not used yet: they may come as late as what they were earned with is taken."""


class Flood(MalformedError):
    """Too much that moves nothing forward. str() names the kind of which most came: "flood of pings"."""


class Allowance:
    """counts: what came, by kind."""

    __slots__ = ("_bucket", "_earned", "counts")

    def __init__(self, now: float, rate: float = RATE, burst: float = BURST) -> None:
        self.counts: Counter[str] = Counter()
        self._earned = 0.0
        self._bucket = TokenBucket(rate, burst, now)

    def spend(self, kind: str, now: float, tokens: float = 1.0) -> None:
        """Count a frame. kind: a plural, from a fixed set. Raises Flood once too many have come."""
        self.counts[kind] += 1
        if self._earned >= tokens:
            self._earned -= tokens
        elif not self._bucket.take(tokens, now):
            raise Flood(f"flood of {max(self.counts, key=self.counts.__getitem__)}")

    def earn(self, tokens: float) -> None:
        self._earned = min(MAX_EARNED, self._earned + tokens)
