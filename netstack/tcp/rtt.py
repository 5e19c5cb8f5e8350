"""Round-trip time and the retransmission timeout.

    first sample    SRTT = R, RTTVAR = R/2
    later           RTTVAR += (|SRTT - R| - RTTVAR) / 4, SRTT += (R - SRTT) / 8
    RTO             SRTT + max(0.2, 4 * RTTVAR), doubled at each timeout until something is acknowledged

The floor under the variance (Linux's) keeps a late event loop from causing a timeout. `min_rtt` is the least sample
of the last five minutes, so that it follows a path that got longer.

Source: RFC 6298, with the constants of Linux (1 s first, 0.2 s least variance, 120 s most).
"""

from __future__ import annotations

import math

INITIAL_RTO = 1.0
RTO_AFTER_LOST_SYN = 3.0
VARIANCE_FLOOR = 0.2
MAX_RTO = 120.0
MIN_RTT_WINDOW = 300.0


class RttEstimator:
    """Samples come from segments sent once (Karn), or from timestamps."""

    __slots__ = ("_base", "_min_time", "backoff", "min_rtt", "rto", "rttvar", "srtt")

    def __init__(self) -> None:
        self.srtt: float = 0.0
        self.rttvar: float = 0.0
        self.min_rtt: float = math.inf
        self.backoff: int = 0
        self.rto: float = INITIAL_RTO
        self._base = INITIAL_RTO
        self._min_time = 0.0

    @property
    def fresh_rto(self) -> float:
        """The timeout of a path of which nothing is known yet: no longer than before any sample (RFC 6298 §2.1)."""
        return min(self._base, INITIAL_RTO)

    def sample(self, rtt: float, now: float) -> None:
        if self.srtt:
            self.rttvar += (abs(self.srtt - rtt) - self.rttvar) / 4
            self.srtt += (rtt - self.srtt) / 8
        else:
            self.srtt, self.rttvar = max(rtt, 1e-6), rtt / 2
        self._set(min(MAX_RTO, self.srtt + max(VARIANCE_FLOOR, 4 * self.rttvar)), self.backoff)
        if rtt <= self.min_rtt or now - self._min_time > MIN_RTT_WINDOW:
            self.min_rtt, self._min_time = rtt, now

    def timed_out(self) -> None:
        self._set(self._base, min(self.backoff + 1, 16))

    def progressed(self) -> None:
        """Something new was acknowledged: the path works, the backoff ends."""
        if self.backoff:
            self._set(self._base, 0)

    def lost_syn(self) -> None:
        """The handshake needed a second SYN and gave no sample (RFC 6298 §5.7)."""
        self._set(self._base if self.srtt else RTO_AFTER_LOST_SYN, 0)

    def _set(self, base: float, backoff: int) -> None:
        self._base, self.backoff = base, backoff
        self.rto = min(MAX_RTO, base * (1 << backoff))
