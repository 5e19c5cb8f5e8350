"""A path that answers pings and loses WireGuard is not used alone for a minute, and twice as long each time.

    WireGuard's handshakes are not answered twice in a row ─► begin ─► holds: for DOUBT, then twice DOUBT, … MAX_DOUBT

Ours. Go trusts whatever answers its pings.
Not here: who counts the handshakes (`directpath` for an address, `relaypath` for a peer relay).
"""

from __future__ import annotations

import math

from tsnet.disco.constants import DOUBT, MAX_DOUBT


class Doubt:
    __slots__ = ("_next", "_until")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """What was known is void."""
        self._until = -math.inf
        self._next = DOUBT

    def begin(self, now: float) -> None:
        self._until = now + self._next
        self._next = min(self._next * 2, MAX_DOUBT)

    def holds(self, now: float) -> bool:
        return now < self._until
