"""Congestion control: how many bytes may be out at once.

    slow start            cwnd += bytes acknowledged, until ssthresh
    Reno                  cwnd += one segment a round trip; ssthresh = flight / 2 at a loss
    CUBIC                 cwnd follows C * (t - K)^3 + W_max, never slower than Reno; ssthresh = 0.7 * cwnd
    after a timeout       ssthresh as at a loss, cwnd = one segment
    after being idle      cwnd halves for each RTO, down to the initial window

All in bytes; `cwnd` is a float so that slow growth is not rounded away. Recovery (`netstack.tcp.recovery`) sets
`cwnd` itself while it repairs a loss.

Source: RFC 5681, RFC 6928 (initial window of ten), RFC 9438 (CUBIC), RFC 2861 (idle).
Not here: which bytes are lost, and pacing their retransmission (recovery, PRR).
"""

from __future__ import annotations

import math

INITIAL_WINDOW = 10


class Congestion:
    """What both strategies share: slow start and the reactions to trouble."""

    __slots__ = ("cwnd", "mss", "ssthresh")
    beta = 0.5

    def __init__(self, mss: int) -> None:
        self.mss = mss
        self.cwnd: float = INITIAL_WINDOW * mss
        self.ssthresh: float = math.inf

    def on_ack(self, acked: int, now: float, srtt: float) -> None:
        """Bytes were delivered, no recovery is under way and the window was in use."""
        if self.cwnd < self.ssthresh:
            grown = min(self.cwnd + acked, max(self.ssthresh, self.cwnd))
            acked -= int(grown - self.cwnd)
            self.cwnd = grown
        if acked > 0 and self.cwnd >= self.ssthresh:
            self.avoid(acked, now, srtt)

    def avoid(self, acked: int, now: float, srtt: float) -> None:
        """Congestion avoidance: one segment a round trip."""
        self.cwnd += self.mss * acked / self.cwnd

    def on_loss(self, in_flight: int) -> None:
        """A loss begins an episode of recovery: set ssthresh, leave cwnd to recovery."""
        self.ssthresh = max(2.0 * self.mss, self.beta * min(self.cwnd, max(in_flight, 2 * self.mss)))

    def on_timeout(self, in_flight: int, *, first: bool) -> None:
        """The retransmission timer fired; `first` unless this is the same data again."""
        if first:
            self.on_loss(in_flight)
        self.cwnd = float(self.mss)

    def on_idle(self, idle: float, rto: float) -> None:
        """Nothing was sent for `idle` seconds: what the window knew of the path is old."""
        restart = min(self.cwnd, float(INITIAL_WINDOW * self.mss))
        halvings = min(int(idle / rto), 64)
        self.ssthresh = max(self.ssthresh, 0.75 * self.cwnd)
        self.cwnd = max(restart, self.cwnd / (1 << halvings))

    def undo(self, cwnd: float, ssthresh: float) -> None:
        """The loss was none: take back what `on_loss` or `on_timeout` did."""
        self.cwnd, self.ssthresh = max(self.cwnd, cwnd), max(self.ssthresh, ssthresh)

    def set_mss(self, mss: int) -> None:
        """The path MTU changed. The window stays the same number of bytes, of two segments at least."""
        self.mss = mss
        self.cwnd = max(self.cwnd, 2.0 * mss)


class Reno(Congestion):
    """RFC 5681 as it stands: the slow, obvious twin in tests, and what Tailscale's Go stack uses."""

    __slots__ = ()


class Cubic(Congestion):
    """RFC 9438; what Linux uses, so that flows of both share a bottleneck evenly."""

    __slots__ = ("_epoch", "_k", "_prior_cwnd", "_w_est", "_w_max")
    beta = 0.7
    C = 0.4
    ALPHA = 3 * (1 - beta) / (1 + beta)

    def __init__(self, mss: int) -> None:
        super().__init__(mss)
        self._epoch = 0.0  # when avoidance began; 0 is "not begun"
        self._k = 0.0
        self._w_max = 0.0  # in segments, as in the RFC's formulas
        self._w_est = 0.0
        self._prior_cwnd = 0.0

    def avoid(self, acked: int, now: float, srtt: float) -> None:
        mss = self.mss
        cwnd, segments = self.cwnd / mss, acked / mss
        if not self._epoch:
            self._begin_epoch(cwnd, now)
        alpha = 1.0 if self._w_est >= self._prior_cwnd else self.ALPHA
        self._w_est += alpha * segments / cwnd
        elapsed = now - self._epoch
        if self._cubic(elapsed) < self._w_est:
            cwnd = max(cwnd, self._w_est)
        else:
            target = min(max(self._cubic(elapsed + srtt), cwnd), 1.5 * cwnd)
            cwnd += (target - cwnd) / cwnd * segments
        self.cwnd = cwnd * mss

    def on_loss(self, in_flight: int) -> None:
        cwnd = self.cwnd / self.mss
        self._prior_cwnd = cwnd
        self._w_max = cwnd * (1 + self.beta) / 2 if cwnd < self._w_max else cwnd
        self._epoch = 0.0
        super().on_loss(in_flight)

    def on_idle(self, idle: float, rto: float) -> None:
        super().on_idle(idle, rto)
        if self._epoch:
            self._epoch += idle  # time in which nothing was learnt must not grow the window

    def undo(self, cwnd: float, ssthresh: float) -> None:
        super().undo(cwnd, ssthresh)
        self._epoch = 0.0

    def _begin_epoch(self, cwnd: float, now: float) -> None:
        self._epoch = now or 1e-9
        self._w_max = max(self._w_max, cwnd)
        self._k = math.cbrt((self._w_max - cwnd) / self.C)
        self._w_est = cwnd

    def _cubic(self, elapsed: float) -> float:
        return self.C * (elapsed - self._k) ** 3 + self._w_max
