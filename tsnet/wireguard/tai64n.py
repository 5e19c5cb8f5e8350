"""TAI64N time stamps that never go back, even if the clock does during a restart.

    12 bytes, big-endian:  u64 seconds = 2^62 + 10 + unix seconds  |  u32 nanoseconds, the low 24 bits zero

A responder drops an initiation whose stamp is not above the last one that it accepted. Hence
- each stamp is at least one tick (16.777216 ms, the step of the whitened nanoseconds) after the previous one;
- all stamps lie below a *mark* that has been saved before. A stamp that would reach the mark is not given out; instead
  a mark ten minutes ahead of it is to be saved. A process starts at its mark or at the wall clock, whichever is later.

Source: wireguard-go tai64n/tai64n.go; https://cr.yp.to/libtai/tai64.html.
Not here: the wall clock, and the disk.
"""

from __future__ import annotations

import math
from struct import Struct

STAMP_SIZE = 12
TICK = 1 << 24
"""Nanoseconds. A finer step would reveal the phase of our clock."""

MARK_AHEAD = 600
"""Seconds from a stamp that reached the mark to the next mark."""

_BASE = (1 << 62) + 10
_SECOND = 1_000_000_000
_STAMP = Struct(">QI")


def encode(unix_nanoseconds: int) -> bytes:
    seconds, nanoseconds = divmod(unix_nanoseconds, _SECOND)
    return _STAMP.pack(_BASE + seconds, nanoseconds & -TICK)


class Timestamps:
    """The source of our stamps.

    mark: the last one that was saved, in Unix seconds, or None in a new installation.
    """

    __slots__ = ("_latest", "_saved", "wanted")

    def __init__(self, mark: float | None = None) -> None:
        self._saved = 0 if mark is None else math.ceil(mark)
        self._latest = self._saved * _SECOND - TICK
        self.wanted: int = self._saved
        """The mark to be saved, in Unix seconds; above the saved one once `next` has returned None."""

    def next(self, unix_time: float) -> bytes | None:
        """A stamp for this moment, later than every one before. None if it would not lie below the saved mark."""
        stamp = max(_floor(int(unix_time * _SECOND)), _following(self._latest))
        if stamp < self._saved * _SECOND:
            self._latest = stamp
            return encode(stamp)
        if stamp >= self.wanted * _SECOND:
            self.wanted = stamp // _SECOND + MARK_AHEAD
        return None

    def lacks_mark(self, unix_time: float) -> bool:
        """Whether a stamp for this moment would have to wait for a mark."""
        return max(_floor(int(unix_time * _SECOND)), _following(self._latest)) >= self._saved * _SECOND

    def mark_saved(self, mark: float) -> None:
        """Allow stamps below this mark. A mark below an earlier one changes nothing."""
        self._saved = max(self._saved, math.floor(mark))


def _floor(unix_nanoseconds: int) -> int:
    """The last tick at or before this time. Ticks start anew with each second."""
    seconds, nanoseconds = divmod(max(unix_nanoseconds, 0), _SECOND)
    return seconds * _SECOND + (nanoseconds & -TICK)


def _following(stamp: int) -> int:
    seconds, nanoseconds = divmod(stamp, _SECOND)
    nanoseconds += TICK
    return (seconds + 1) * _SECOND if nanoseconds >= _SECOND else seconds * _SECOND + nanoseconds
