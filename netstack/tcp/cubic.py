"""CUBIC: the window follows a cubic curve through where the last loss was, whatever the round trip.

    cwnd(t) = C * (t - K)^3 + W_max,  K = cbrt((W_max - cwnd at the start) / C)       t since avoidance began
    W_est   = what Reno would have, with the same loss rate: never slower than that
    a loss    ssthresh = 0.7 * cwnd; W_max = cwnd, or less if it had not got back to the last one (fast convergence)

Windows are in segments, as in the RFC's formulas, and the growth of one acknowledgement is a fraction of one.

Source: RFC 9438. What Linux uses, so that flows of both share a bottleneck evenly.
Not here: slow start (`congestion`), how a loss is repaired (`prr`).
"""

from __future__ import annotations

import math

from netstack.tcp.congestion import Congestion

UPDATE_INTERVAL = 1 / 32
"""The curve is looked at no more often, as in Linux; what was acknowledged meanwhile counts then."""


class Cubic(Congestion):
    """The default."""

    __slots__ = ("_epoch", "_k", "_prior_cwnd", "_rate", "_seen", "_updated", "_w_est", "_w_max", "_waiting")
    beta = 0.7
    C = 0.4
    ALPHA = 3 * (1 - beta) / (1 + beta)

    def __init__(self, mss: int) -> None:
        super().__init__(mss)
        self._epoch = 0.0  # when avoidance began; 0 is "not begun"
        self._w_max = self._prior_cwnd = 0.0  # in segments, as in the RFC's formulas
        self._k = self._w_est = 0.0  # of the epoch
        self._seen = 0.0  # until when the time of the epoch has been counted, or was found not to count
        # when the window was worked out last, what was acknowledged since, and its growth for each segment until then
        self._updated = self._waiting = self._rate = 0.0

    def avoid(self, acked: float, now: float, srtt: float) -> None:
        segments = acked / self.mss
        self._waiting += segments
        self._seen = now
        if now - self._updated <= UPDATE_INTERVAL and self._epoch:
            self.cwnd += self._rate * acked
            return
        cwnd = self.cwnd / self.mss
        if not self._epoch:
            self._begin_epoch(cwnd, now)
            self._waiting = segments  # what came before the loss does not count
        alpha = 1.0 if self._w_est >= self._prior_cwnd else self.ALPHA
        self._w_est += alpha * self._waiting / cwnd
        self._updated, self._waiting = now, 0.0
        elapsed = now - self._epoch
        if self._cubic(elapsed) < self._w_est:
            cwnd = max(cwnd, self._w_est)
            self._rate = 0.0
        else:
            target = min(max(self._cubic(elapsed + srtt), cwnd), 1.5 * cwnd)
            self._rate = (target - cwnd) / cwnd
            cwnd += self._rate * segments
        self.cwnd = cwnd * self.mss

    def stand_still(self, now: float) -> None:
        if self._epoch:
            self._epoch += now - self._seen  # such times are no part of t (RFC 9438 §4.2)
            self._seen = now

    def on_timeout(self, *, first: bool) -> None:
        super().on_timeout(first=first)
        self._w_max = 0.0  # the next avoidance begins at its own window, with K = 0 (RFC 9438 §4.8)

    def on_loss(self) -> None:
        cwnd = self.cwnd / self.mss
        self._prior_cwnd = cwnd
        self._w_max = cwnd * (1 + self.beta) / 2 if cwnd < self._w_max else cwnd
        self._epoch = 0.0
        super().on_loss()

    def on_idle(self, idle: float, rto: float) -> None:
        super().on_idle(idle, rto)
        if self._epoch:
            self._epoch += idle  # time in which nothing was learnt must not grow the window
            self._seen += idle

    def on_unused(self) -> None:
        super().on_unused()
        self._epoch = 0.0

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
