"""F-RTO: was the timeout one? Ask with new data before sending everything again.

    timeout -> the first segment again -> acknowledged beyond it?
        by what was sent only once (SACK or cumulative)     spurious: the timer was too short
        else                                                two new segments instead of the next lost one
            a duplicate, or SACK of what was sent again     real: go on repairing
            acknowledged beyond the timeout's flight        spurious or repaired: the same either way

Source: RFC 5682 §3 (the SACK-enhanced form included).
Not here: taking the reduction back (`undo`).
"""

from __future__ import annotations


class Frto:
    """After one timeout."""

    __slots__ = ("is_on", "wants_new")

    def __init__(self) -> None:
        self.is_on: bool = False
        self.wants_new: bool = False  # new data goes first

    def begin(self, *, first: bool) -> None:
        """first: a timeout that begins an episode, not one while it is repaired."""
        self.is_on, self.wants_new = first, False

    def end(self) -> None:
        self.is_on = self.wants_new = False

    def acknowledged(
        self, *, advanced: bool, original: bool, sacked: bool, duplicate: bool, sent_new: bool, can_send_new: bool
    ) -> bool:
        """One acknowledgement of less than the timeout's flight; True if the timeout was spurious.

        original: it covers something that was sent only once, before the timeout. sent_new: new data has gone out
        since the timeout.
        """
        if not self.is_on:
            return False
        if original:
            self.end()
            return True
        if sent_new:
            if sacked or duplicate:
                self.end()
        elif advanced:
            self.is_on = self.wants_new = can_send_new
        elif sacked or duplicate:
            self.end()
        return False
