"""Tail loss probe: the last segments of a flight have none behind them that would show their loss.

    PTO after the last of a flight   2 * SRTT (+ 0.2 s for a lone segment, whose acknowledgement may be delayed)
    then                             one new segment if there is any, else the last one again
    answered with a D-SACK           both arrived: nothing was lost
    answered beyond it               the probe repaired a loss, of which congestion control must hear

Source: RFC 8985 §7; the lone segment's allowance is Linux's.
Not here: sending the probe (`emit`), its slot `probe_at` (`tcb`).
"""

from __future__ import annotations

import math

DELAYED_ACK = 0.2
LATENESS = 0.002
"""What a timer may be late at the peer."""

NO_SAMPLE = 1.0


def probe_timeout(srtt: float, *, lone: bool) -> float:
    """How long after the last transmission to probe. lone: no more than one segment is out."""
    if not srtt:
        return NO_SAMPLE
    return 2 * srtt + (DELAYED_ACK if lone else LATENESS)


class TailLossProbe:
    """At most one is outstanding."""

    __slots__ = ("end", "is_resend")

    def __init__(self) -> None:
        self.end: float = math.inf  # snd_nxt when it was sent; inf: none is out
        self.is_resend: bool = False

    @property
    def is_out(self) -> bool:
        return self.end < math.inf

    def sent(self, snd_nxt: int, *, is_resend: bool) -> None:
        self.end, self.is_resend = snd_nxt, is_resend

    def acknowledged(self, ack: int, *, duplicate: bool, nothing_new: bool) -> bool:
        """True if a loss was repaired by the probe. duplicate: the segment carries a D-SACK for the probe;
        nothing_new: it neither acknowledges nor changes anything."""
        if ack < self.end:
            return False
        if not self.is_resend or duplicate:
            self.end = math.inf
        elif ack > self.end:
            self.end = math.inf
            return True
        elif nothing_new:
            self.end = math.inf  # the second answer to the same: original and probe both arrived
        return False
