"""Whether the congestion window is in use: one that is not says nothing about the path, and must not grow.

    limited      the window, not the application nor the peer, has stopped the sender since `end` was sent
    most out     the greatest flight meanwhile; slow start may double it, and no more
    validated    limited, or half of the window was out, in this round trip or the one before
    not          a loss then counts as one of what was out, not of the window; after five minutes it halves

Source: RFC 7661 §4.2-4.4, with the measure of Linux (the flight, not a filtered rate of acknowledgements) and never
below the initial window, which any pause would leave.
Not here: a sender that was silent for longer than RTO (`congestion.on_idle`).
"""

from __future__ import annotations

NON_VALIDATED_PERIOD = 300.0


class Usage:
    """Of one connection."""

    __slots__ = ("_before", "_end", "_most_out", "limited", "validated_time")

    def __init__(self, now: float) -> None:
        self.limited: bool = False
        self._most_out = self._before = 0  # in this round trip, and in the one before
        self._end = 0
        self.validated_time: float = now  # when the window was in use last, or was halved

    def sent(self, snd_una: int, snd_nxt: int, out: int, limited: bool) -> None:
        """Data went out, or could not because of the window. `out`: bytes not yet acknowledged."""
        ended = snd_una >= self._end
        if limited or ended or (not self.limited and out > self._most_out):
            if ended:
                self._before = self._most_out
            self.limited, self._most_out, self._end = limited, out, snd_nxt

    def allows_growth(self, cwnd: float, *, slow_start: bool) -> bool:
        return self.limited or (slow_start and cwnd < 2 * self._most_out)

    def proven(self, cwnd: float, out: int, initial: float) -> float:
        """What of the window is known to be of use, when a loss tells that it may be too much."""
        used = max(self._most_out, self._before, out, initial)
        return used if not self.limited and 2 * used < cwnd else cwnd

    def is_stale(self, cwnd: float, now: float) -> bool:
        """Whether the window has not been in use for five minutes, or for five more."""
        if self.limited or 2 * max(self._most_out, self._before) >= cwnd:
            self.validated_time = now
        if now - self.validated_time < NON_VALIDATED_PERIOD:
            return False
        self.validated_time = now
        return True
