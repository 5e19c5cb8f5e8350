"""Congestion control: how many bytes may be out at once. What the strategies `reno` and `cubic` share.

    slow start            cwnd += bytes acknowledged, until ssthresh (or until `hystart` sees a queue)
    avoidance             Reno: one segment a round trip; CUBIC: its curve
    a loss                ssthresh = beta * cwnd, in whole segments
    after a timeout       ssthresh as at a loss, cwnd = one segment
    after being idle      cwnd halves for each RTO, down to the initial window
    long unused           cwnd halves every five minutes, down to the same

All in bytes; `cwnd` is a float so that slow growth is not rounded away. Recovery (`prr`) sets `cwnd` itself while it
repairs a loss. An acknowledgement of many segments counts whole: what leaves at once is bounded by runs.

Source: RFC 5681, RFC 6928 (initial window of ten), RFC 2861 (idle), RFC 7661 §4.4.3 (unused).
Not here: whether the window was in use (`usage`), which bytes are lost (`rack`).
"""

from __future__ import annotations

import math
from typing import ClassVar

from netstack.tcp.hystart import HyStart

INITIAL_WINDOW = 10


class Congestion:
    """What both strategies share: slow start and the reactions to trouble."""

    __slots__ = ("cwnd", "hystart", "mss", "ssthresh")
    beta: ClassVar[float] = 0.5

    def __init__(self, mss: int) -> None:
        self.mss: int = mss
        self.cwnd: float = INITIAL_WINDOW * mss
        self.ssthresh: float = math.inf
        self.hystart: HyStart = HyStart()

    @property
    def initial_window(self) -> float:
        return float(INITIAL_WINDOW * self.mss)

    def on_ack(self, acked: float, now: float, srtt: float) -> None:
        """Bytes were delivered, no recovery is under way and the window was in use."""
        if self.cwnd < self.ssthresh:
            divisor = self.hystart.divisor
            grown = min(self.cwnd + acked / divisor, self.ssthresh)
            acked -= (grown - self.cwnd) * divisor
            self.cwnd = grown
        if acked > 0 and self.cwnd >= self.ssthresh:
            self.avoid(acked, now, srtt)

    def on_rtt(self, rtt: float, snd_una: int, snd_nxt: int) -> None:
        """A round trip was measured: the first slow start ends when they get longer."""
        if self.ssthresh == math.inf and self.hystart.sample(rtt, snd_una, snd_nxt):
            self.ssthresh = self.cwnd
            self.hystart.divisor = 1

    def stand_still(self, now: float) -> None:
        """Bytes were delivered while the window was not in use."""

    def avoid(self, acked: float, now: float, srtt: float) -> None:
        """Congestion avoidance: one segment a round trip."""
        self.cwnd += self.mss * acked / self.cwnd

    def on_loss(self) -> None:
        """A loss begins an episode of recovery: set ssthresh, leave cwnd to recovery.

        It is of cwnd, not of what was out: `usage` sees to it that cwnd does not grow unused (RFC 9438 §4.6), and is
        asked first how much of cwnd the loss is evidence of.
        """
        segments = max(int(self.beta * self.cwnd / self.mss + 1e-9), 2)
        self.ssthresh = float(segments * self.mss)
        self.hystart.divisor = 1

    def on_timeout(self, *, first: bool) -> None:
        """The retransmission timer fired; `first` unless this is the same data again."""
        if first:
            self.on_loss()
        self.cwnd = float(self.mss)

    def on_idle(self, idle: float, rto: float) -> None:
        """Nothing was sent for `idle` seconds: what the window knew of the path is old."""
        restart = min(self.cwnd, self.initial_window)
        halvings = min(int(idle / rto), 64)
        self.ssthresh = max(self.ssthresh, 0.75 * self.cwnd)
        self.cwnd = max(restart, self.cwnd / (1 << halvings))

    def on_unused(self) -> None:
        """For five minutes the application has not used half of the window."""
        self.ssthresh = max(self.ssthresh, 0.75 * self.cwnd)
        self.cwnd = max(min(self.cwnd, self.initial_window), self.cwnd / 2)

    def undo(self, cwnd: float, ssthresh: float) -> None:
        """The loss was none: take back what `on_loss` or `on_timeout` did."""
        self.cwnd, self.ssthresh = max(self.cwnd, cwnd), max(self.ssthresh, ssthresh)

    def set_mss(self, mss: int) -> None:
        """The path MTU changed. The window stays the same number of bytes, of two segments at least."""
        self.mss = mss
        self.cwnd = max(self.cwnd, 2.0 * mss)

    def follow(self, other: Congestion) -> None:
        """Take over from another strategy where it stands."""
        self.cwnd, self.ssthresh, self.hystart = other.cwnd, other.ssthresh, other.hystart
