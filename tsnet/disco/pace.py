"""How often an address is pinged at most, whoever named it.

| pings to one address in any second              | at most          |
|-------------------------------------------------|------------------|
| all together                                    | PINGS_PER_SECOND |
| of peers that have not answered from there      | one less         |
| of one of those                                 | two less         |

Several peers may name one address, and none of them need be there: it must not be flooded on their word. Nor may a peer
that names the address of another one keep the pings of that other away, neither those that keep a path alive nor those
that look for one.

Not here: how often a ping is due (`directpath`).
"""

from __future__ import annotations

from collections import Counter, deque

from tsnet.base.addresses import UdpAddress
from tsnet.disco.constants import PINGS_PER_SECOND


class Pace:
    """It knows the pings of the last second, and no more."""

    __slots__ = ("_by_peer", "_counts", "_sent")

    def __init__(self) -> None:
        self._sent: deque[tuple[float, UdpAddress, bytes]] = deque()
        self._counts: Counter[UdpAddress] = Counter()
        self._by_peer: Counter[tuple[UdpAddress, bytes]] = Counter()

    def __len__(self) -> int:
        return len(self._sent)

    def allows(self, address: UdpAddress, peer: bytes, now: float, *, is_proven: bool = False) -> bool:
        """Whether one more ping to this peer may go there now; if so, it is counted.

        is_proven: the peer has answered from there.
        """
        self._forget(now - 1.0)
        count = self._counts[address]
        if count >= PINGS_PER_SECOND:
            return False
        if not is_proven and (count >= PINGS_PER_SECOND - 1 or self._by_peer[address, peer] >= PINGS_PER_SECOND - 2):
            return False
        self._counts[address] += 1
        self._by_peer[address, peer] += 1
        self._sent.append((now, address, peer))
        return True

    def _forget(self, until: float) -> None:
        sent, counts, by_peer = self._sent, self._counts, self._by_peer
        while sent and sent[0][0] <= until:
            _at, address, peer = sent.popleft()
            counts[address] -= 1
            if not counts[address]:
                del counts[address]
            by_peer[address, peer] -= 1
            if not by_peer[address, peer]:
                del by_peer[address, peer]
