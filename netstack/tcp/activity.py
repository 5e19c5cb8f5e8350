"""What a sender has waited for: the time it was busy, and how much of that the peer's window or our buffer held it up.

Source: the chronographs behind tcp_info's busy_time, rwnd_limited and sndbuf_limited.
"""

from __future__ import annotations

from typing import Final

IDLE: Final = 0
BUSY: Final = 1
WINDOW: Final = 2
BUFFER: Final = 3


class Activity:
    """Of one connection."""

    __slots__ = ("_since", "_spent", "kind")

    def __init__(self) -> None:
        self.kind: int = IDLE
        self._since = 0.0
        self._spent = [0.0, 0.0, 0.0, 0.0]

    def change(self, kind: int, now: float) -> None:
        """From now on it is this."""
        if kind != self.kind:
            self._spent[self.kind] += now - self._since
            self.kind, self._since = kind, now

    def spent(self, now: float) -> tuple[float, float, float]:
        """Seconds: busy in all, held up by the peer's window, by our buffer."""
        spent = list(self._spent)
        spent[self.kind] += now - self._since
        return sum(spent[BUSY:]), spent[WINDOW], spent[BUFFER]
