"""The obvious replay window: remember everything, and refuse what is too far behind."""

from __future__ import annotations

from tsnet.wireguard.constants import REJECT_AFTER_MESSAGES


class SlowReplayWindow:
    def __init__(self, size: int) -> None:
        self.size = size
        self.received: set[int] = set()

    def accept(self, counter: int) -> bool:
        if counter >= REJECT_AFTER_MESSAGES or counter in self.received:
            return False
        if self.received and counter <= max(self.received) - self.size:
            return False
        self.received.add(counter)
        return True
