"""Whether a router has restarted between two replies: its table, and our mapping with it, is gone then.

    epoch of a reply       seconds since the router began to keep its table
    it has restarted if    epoch < epoch of the reply before + 7/8 of the seconds since then - 2

A router's clock may be slow by an eighth. One that is fast counts further than expected, which is no restart.

Source: RFC 6886 §3.6; the first half of RFC 6887 §8.5.
"""

from __future__ import annotations

SLACK = 2.0


class Epoch:
    """The epoch of one router."""

    __slots__ = ("_at", "_value")

    def __init__(self) -> None:
        self._value: int | None = None
        self._at = 0.0

    def heard(self, value: int, now: float) -> bool:
        """Remember the epoch of a reply. Returns whether the router has restarted since the reply before."""
        before, elapsed = self._value, now - self._at
        self._value, self._at = value, now
        return before is not None and value < before + elapsed * 7 / 8 - SLACK
