"""Taking back a reduction of the window that no loss had caused.

    Eifel      the first retransmission's stretch is acknowledged by an answer to its original: older timestamp
    D-SACK     everything that was sent again has been reported as a duplicate
    F-RTO      see `frto`: after a timeout, something that was sent only once is acknowledged

The memory outlives the episode: D-SACKs come a round trip after it.

Source: RFC 3522 and RFC 4015 (Eifel), RFC 3708 (D-SACK).
Not here: restoring cwnd and ssthresh (`congestion.undo`).
"""

from __future__ import annotations

from netstack.seq import is_older


class Undo:
    """Of the last episode of one connection."""

    __slots__ = ("_first", "_marker", "_resent", "before")

    def __init__(self) -> None:
        self.before: tuple[float, float] | None = None  # cwnd and ssthresh
        self._marker = 0  # snd_una at the beginning
        self._resent = -1  # bytes sent again and not reported as duplicates; -1 before the first
        self._first: tuple[int, int] | None = None  # end and timestamp of the first retransmission

    def begin(self, cwnd: float, ssthresh: float, snd_una: int, resent: int) -> None:
        """resent: bytes of earlier retransmissions that are still out (a probe's)."""
        self.before, self._marker = (cwnd, ssthresh), snd_una
        self._resent = resent or -1
        self._first = None

    def forget(self) -> None:
        self.before = None

    def resent(self, size: int, end: int, stamp: int) -> None:
        """A stretch went out again, `stamp` in its timestamp."""
        self._resent = max(self._resent, 0) + size
        if self._first is None:
            self._first = (end, stamp)

    def duplicate(self, left: int, right: int) -> None:
        """The peer reports [left, right) as received twice."""
        if self._resent > 0 and right > self._marker:
            self._resent = max(self._resent - (right - left), 0)

    @property
    def all_needless(self) -> bool:
        """Whether nothing of what was sent again was missing."""
        return self.before is not None and self._resent == 0

    @property
    def nothing_resent(self) -> bool:
        """Whether nothing has been sent again since the reduction: if all arrived all the same, it was reordering."""
        return self.before is not None and self._resent < 0

    def original_arrived(self, ack: int, echo: int) -> bool:
        """Whether `ack` answers the original of what was sent again first; echo: the timestamp it echoes, or 0."""
        if self.before is None or self._first is None or not echo:
            return False
        end, stamp = self._first
        return ack >= end and is_older(echo, stamp)
