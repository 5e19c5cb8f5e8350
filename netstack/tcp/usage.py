"""Whether the congestion window is in use: one that is not says nothing about the path, and must not grow.

    limited      the window, not the application nor the peer, has stopped the sender since `end` was sent
    most out     the greatest flight meanwhile; slow start may double it, and no more
    validated    the last time the window was in use. Five minutes later cwnd falls half-way to what is used

Source: RFC 7661 §4.2-4.4, with the measure of Linux (the flight, not a filtered rate of acknowledgements).
Not here: a sender that was silent for longer than RTO (`congestion.on_idle`).
"""

from __future__ import annotations

NON_VALIDATED_PERIOD = 300.0


class Usage:
    """Of one connection."""

    __slots__ = ("_end", "_most_out", "limited", "validated_time")

    def __init__(self, now: float) -> None:
        self.limited = False
        self._most_out = 0
        self._end = 0
        self.validated_time = now  # when the window was in use last

    def sent(self, snd_una: int, snd_nxt: int, out: int, limited: bool) -> None:
        """Data went out, or could not because of the window. `out`: bytes not yet acknowledged."""
        if limited or snd_una >= self._end or (not self.limited and out > self._most_out):
            self.limited, self._most_out, self._end = limited, out, snd_nxt

    def allows_growth(self, cwnd: float, *, slow_start: bool) -> bool:
        return self.limited or (slow_start and cwnd < 2 * self._most_out)

    def reduced(self, cwnd: float, initial: float, now: float) -> float:
        """The window after the non-validated period, as long as it lasts the same."""
        if now - self.validated_time < NON_VALIDATED_PERIOD:
            return cwnd
        self.validated_time = now
        used = max(self._most_out, initial)
        return (cwnd + used) / 2 if used < cwnd else cwnd
