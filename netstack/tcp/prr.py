"""Proportional rate reduction: while a loss is repaired, what leaves follows what arrives.

    in flight above ssthresh    ssthresh / recover_fs of what arrives (in flight falls steadily to ssthresh)
    below                       what arrives, and a segment more while nothing new is lost (slow start to ssthresh)
    the first retransmission    leaves in any case

Source: RFC 9937 §6.
Not here: how low ssthresh is (`congestion`).
"""

from __future__ import annotations


class Prr:
    """One episode of recovery, in bytes."""

    __slots__ = ("_delivered", "_recover_fs", "out")

    def __init__(self) -> None:
        self.begin(0, 0)

    def begin(self, flight: int, sacked: int) -> None:
        """What was outstanding, and how much of it sacked, before the acknowledgement that told of the loss."""
        self.out: int = 0  # sent since the episode began
        self._delivered = 0
        self._recover_fs = max(flight - sacked, 1)

    def window(self, delivered: int, in_flight: int, ssthresh: int, mss: int, *, safe: bool) -> int | None:
        """cwnd after `delivered` bytes have arrived, a segment at least; None: as it was.

        safe: acknowledged more, lost no more.
        """
        if not delivered and self._delivered:
            return None
        self._delivered += delivered
        if in_flight > ssthresh:
            count = -(-self._delivered * ssthresh // self._recover_fs) - self.out
        else:
            count = max(self._delivered - self.out, delivered)
            if safe:
                count += mss
            count = min(ssthresh - in_flight, count)
        if not self.out:
            count = max(count, mss)
        return max(in_flight + max(count, 0), mss)
