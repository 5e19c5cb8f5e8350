"""Which counters of a session were already received: the sliding window of RFC 6479, as one integer.

    bit i of `seen`  =  counter `highest - i` was received
    new counter ahead:  seen = seen << distance | 1          behind:  test and set bit `highest - counter`
    at least SIZE behind: too old to tell, refused

A run whose counters follow one another, all ahead of the window, which is nearly every run, costs one shift.
Ask only after the packet has been authenticated: a forged counter must not move the window.

Source: RFC 6479; WireGuard §5.4.6; wireguard-go replay/replay.go (8,128 wide).
"""

from __future__ import annotations

from collections.abc import Sequence

from tsnet.wireguard.constants import REJECT_AFTER_MESSAGES

SIZE = 8192
_MASK = (1 << SIZE) - 1


class ReplayWindow:
    __slots__ = ("highest", "seen")

    def __init__(self) -> None:
        self.highest: int = -1
        self.seen: int = 0

    def accept(self, counter: int) -> bool:
        """Whether the counter is new; it is marked as received."""
        if counter >= REJECT_AFTER_MESSAGES:
            return False
        age = self.highest - counter
        if age < 0:
            self._advance(counter, 1)
            return True
        if age >= SIZE:
            return False
        bit = 1 << age
        if self.seen & bit:
            return False
        self.seen |= bit
        return True

    def accept_run(self, counters: Sequence[int]) -> bool:
        """Mark all of them if they are consecutive and ahead of the window; else mark none and return False."""
        first, last = counters[0], counters[-1]
        if first <= self.highest or last >= REJECT_AFTER_MESSAGES:
            return False
        if tuple(counters) != tuple(range(first, first + len(counters))):
            return False
        self._advance(last, len(counters))
        return True

    def _advance(self, highest: int, received: int) -> None:
        """Move up to `highest`; the last `received` counters up to it have just come."""
        distance = highest - self.highest
        kept = self.seen << distance if distance < SIZE else 0
        self.seen = (kept | (1 << received) - 1) & _MASK
        self.highest = highest
