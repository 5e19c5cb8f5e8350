"""That the machine slept, or was copied: how a node notices it, and who must know.

| the node's clock                   | what tells of a sleep                                                      |
|------------------------------------|----------------------------------------------------------------------------|
| counts the time (CLOCK_BOOTTIME)   | a turn comes SUSPENDED_AFTER later than it was due                         |
| stands still                       | the wall clock is ahead by more than that, for which being set is taken, too |

A sleep that was none costs handshakes and a measurement. A short one changes nothing: keys are as good as before.

Source: WireGuard §6.1 (REJECT_AFTER_TIME); Go net/netmon (time jumps).
Not here: what follows in each room (`suspended` of each), the clocks (`edge.run.pump`).
"""

from __future__ import annotations

from typing import Protocol

from tsnet.base.trace import Trace

SUSPENDED_AFTER = 30.0
"""Seconds."""


class Sleeper(Protocol):
    def suspended(self, now: float) -> None:
        """The machine slept. Nothing of before is sure."""
        ...


class Sleep:
    """rooms: who must know, in order."""

    def __init__(self, *rooms: Sleeper, trace: Trace | None) -> None:
        self._rooms, self._trace = rooms, trace

    def late(self, due: float, before: float, now: float) -> bool:
        """A turn that was due then comes now, after one at `before`: whether the machine slept. The rooms know then."""
        is_sleep = now - before > SUSPENDED_AFTER and due < now - SUSPENDED_AFTER
        return is_sleep and self._slept(now - before, now)

    def ahead(self, seconds: float, now: float) -> bool:
        """The wall clock is so far ahead of one that stands still in a sleep. As `late`."""
        return seconds > SUSPENDED_AFTER and self._slept(seconds, now)

    def _slept(self, seconds: float, now: float) -> bool:
        if self._trace is not None:
            self._trace("the machine slept", for_about=seconds)
        for room in self._rooms:
            room.suspended(now)
        return True
