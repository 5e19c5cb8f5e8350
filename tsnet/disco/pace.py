"""How often an address is pinged at most, whoever named it: PINGS_PER_SECOND in any second.

Several peers may name one address, and none of them need be there: it must not be flooded on their word.

Not here: how often a ping is due (`direct`).
"""

from __future__ import annotations

from collections import Counter, deque

from tsnet.base.addresses import UdpAddress
from tsnet.disco.constants import PINGS_PER_SECOND


class Pace:
    """It knows the pings of the last second, and no more."""

    __slots__ = ("_counts", "_sent")

    def __init__(self) -> None:
        self._sent: deque[tuple[float, UdpAddress]] = deque()
        self._counts: Counter[UdpAddress] = Counter()

    def __len__(self) -> int:
        return len(self._sent)

    def allows(self, address: UdpAddress, now: float) -> bool:
        """Whether one more ping may go there now; if so, it is counted."""
        self._forget(now - 1.0)
        if self._counts[address] >= PINGS_PER_SECOND:
            return False
        self._counts[address] += 1
        self._sent.append((now, address))
        return True

    def _forget(self, until: float) -> None:
        sent, counts = self._sent, self._counts
        while sent and sent[0][0] <= until:
            address = sent.popleft()[1]
            counts[address] -= 1
            if not counts[address]:
                del counts[address]
