"""RACK: a segment is lost when one that was sent a reordering window later has arrived.

    newest delivered     (rack_time, rack_end), and how long it took: rack_rtt
    lost                 sent before it, and now - sent_time >= rack_rtt + reordering window
    window               0 while nothing was ever reordered and three segments are sacked or a loss is under repair;
                         else reo_mult * min_rtt / 4, at most srtt
    reo_mult             one more for each round trip in which a D-SACK told of a needless retransmission;
                         back to one after 16 recoveries

Times are those at which packets arrived, which the caller passes in: how late a batch is looked at does not matter.

Source: RFC 8985 §6.
Not here: what follows from a loss (`acknowledge`), the probe of a tail (`tlp`).
"""

from __future__ import annotations

import math

from netstack.tcp.sack import Scoreboard, Sent

REO_PERSIST = 16
_TICK = 1e-6
"""Waits that differ by less are the same: float seconds are not exact."""


class Rack:
    """Of one connection."""

    __slots__ = ("_dsack_round", "_persist", "end", "fack", "reo_mult", "reordering", "reorderings", "rtt", "time")

    def __init__(self) -> None:
        self.time: float = -math.inf
        self.end: int = 0
        self.rtt: float = 0.0
        self.fack: int = 0  # the highest sequence number known to have arrived
        self.reordering: int = 0  # the widest that was seen, in bytes
        self.reorderings: int = 0
        self.reo_mult: int = 1
        self._persist = 0
        self._dsack_round = -1  # until this is acknowledged, another D-SACK is of the same round

    def note_reordering(self, width: int) -> None:
        """An acknowledgement covers something that was sent once, `width` below the highest that had arrived."""
        self.reorderings += 1
        self.reordering = max(self.reordering, width)

    def delivered(self, sent: Sent, now: float, min_rtt: float, echo: float) -> None:
        """A segment has arrived. `echo`: when what the peer answers was sent; -inf if it does not say."""
        self.fack = max(self.fack, sent.end)
        if sent.transmissions > 1 and (
            now - sent.sent_time < min_rtt - _TICK or -math.inf < echo < sent.sent_time - 0.002
        ):
            return  # the original arrived, not what was sent again just now
        self.rtt = now - sent.sent_time
        if (sent.sent_time, sent.end) > (self.time, self.end):
            self.time, self.end = sent.sent_time, sent.end

    def window(self, min_rtt: float, srtt: float, *, repairing: bool, sacked: int, enough: int) -> float:
        """How much later than its successors a segment may arrive. enough: bytes sacked that need no more waiting."""
        if not self.reorderings and (repairing or sacked >= enough):
            return 0.0
        return min(self.reo_mult * min_rtt / 4, srtt)

    def detect(self, board: Scoreboard, window: float, now: float) -> float:
        """Mark what should have arrived; when to look again."""
        newest = (self.time, self.end)
        wait = self.rtt + window
        for sent in board.by_time():
            if (sent.sent_time, sent.end) > newest:
                break
            if now - sent.sent_time < wait - _TICK:
                return sent.sent_time + wait
            board.mark_lost(sent)
        return math.inf

    def is_overdue(self, sent: Sent, window: float, now: float) -> bool:
        """For the retransmission timer (RFC 8985 §6.3): whether this one had the time to arrive."""
        return now - sent.sent_time >= self.rtt + window - _TICK

    def duplicate_reported(self, snd_una: int, snd_nxt: int) -> None:
        """A D-SACK: wait longer from the next round on."""
        if snd_una >= self._dsack_round:
            self._dsack_round = snd_nxt
            self.reo_mult += 1
        self._persist = REO_PERSIST

    def recovered(self) -> None:
        """An episode of recovery is over, and nothing in it was needless."""
        if self._persist:
            self._persist -= 1
            if not self._persist:
                self.reo_mult = 1
