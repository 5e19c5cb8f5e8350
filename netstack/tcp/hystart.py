"""HyStart++: leave the first slow start when round trips get longer, before the queue overflows.

    slow start -- a round's least RTT rose by RttThresh --> conservative slow start: a quarter of the growth
        ^                                                      |
        +------- the RTT fell again: it was jitter ------------+--- five rounds later --> congestion avoidance

A round lasts until everything that was out at its beginning is acknowledged.

Source: RFC 9406 §4.2-4.3, its constants.
Not here: growing the window (`congestion`).
"""

from __future__ import annotations

import math

MIN_RTT_THRESH = 0.004
MAX_RTT_THRESH = 0.016
MIN_RTT_DIVISOR = 8
N_RTT_SAMPLE = 8
CSS_GROWTH_DIVISOR = 4
CSS_ROUNDS = 5


class HyStart:
    """Of one connection, while ssthresh is infinite."""

    __slots__ = ("_baseline", "_count", "_current", "_last", "_rounds", "_window_end", "divisor")

    def __init__(self) -> None:
        self.divisor: int = 1
        """By which slow start's growth is divided."""
        self._window_end = 0
        self._last = self._current = self._baseline = math.inf
        self._count = 0
        self._rounds = 0

    def sample(self, rtt: float, snd_una: int, snd_nxt: int) -> bool:
        """One acknowledgement's round trip; True when slow start should end."""
        if snd_una >= self._window_end and self._begin_round(snd_nxt):
            return True
        self._count += 1
        self._current = min(self._current, rtt)
        if self._count < N_RTT_SAMPLE:
            return False
        if self.divisor > 1:
            if self._current < self._baseline:  # not a queue after all
                self.divisor, self._baseline = 1, math.inf
        elif self._last < math.inf and self._current >= self._last + _threshold(self._last):
            self.divisor, self._baseline, self._rounds = CSS_GROWTH_DIVISOR, self._current, 0
        return False

    def _begin_round(self, snd_nxt: int) -> bool:
        self._window_end = snd_nxt
        self._last, self._current, self._count = self._current, math.inf, 0
        if self.divisor > 1:
            self._rounds += 1
        return self._rounds >= CSS_ROUNDS


def _threshold(rtt: float) -> float:
    return max(MIN_RTT_THRESH, min(rtt / MIN_RTT_DIVISOR, MAX_RTT_THRESH))
