"""The pings in flight, of all peers: what was asked of whom, until a pong comes or PING_TIMEOUT has passed.

All wait equally long, so the order in which they were sent is the order in which they expire.

| a ping                                | has room while its peer has fewer in flight than                         |
|---------------------------------------|--------------------------------------------------------------------------|
| that looks for a path                 | OWN_PINGS, or MAX_PINGS while all together have fewer than MAX_ALL_PINGS |
| to the address that carries this peer | TRUSTED_PINGS more: no search of its own, and no other peer, delays it   |

So peers that agree to take all they can keep no other one from finding its path, nor from keeping it. There are never
more than MAX_ALL_PINGS and the shares of MAX_DIRECT peers.

Source: Go wgengine/magicsock/endpoint.go sentPing, discoPingTimeout.
Not here: when to ping (`directpath`), the messages (`messages`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from tsnet.base.addresses import UdpAddress
from tsnet.base.timetable import Earliest
from tsnet.disco.constants import MAX_ALL_PINGS, MAX_PINGS, OWN_PINGS, PING_SIZE, PING_TIMEOUT, TRUSTED_PINGS


class SentPing(NamedTuple):
    """address: where it was sent, which a pong promotes, wherever that comes from. padding: bytes of it."""

    peer: bytes
    address: UdpAddress
    at: float
    padding: int


class PingsInFlight:
    __slots__ = ("_by_peer", "_earliest", "_sent")

    def __init__(self, earliest: Earliest | None = None) -> None:
        self._earliest = earliest or Earliest()
        self._sent: dict[bytes, SentPing] = {}
        self._by_peer: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._sent)

    def has_room(self, peer: bytes, *, is_trusted: bool = False) -> bool:
        """Whether one more may be sent to this peer. is_trusted: to the address that it is reached at now."""
        most = MAX_PINGS if len(self._sent) < MAX_ALL_PINGS else OWN_PINGS
        return self._by_peer.get(peer, 0) < most + (TRUSTED_PINGS if is_trusted else 0)

    def sent(self, tx_id: bytes, ping: SentPing) -> None:
        """Ask `has_room` before."""
        self._sent[tx_id] = ping
        self._by_peer[ping.peer] += 1
        self._earliest.by(ping.at + PING_TIMEOUT)

    def get(self, tx_id: bytes) -> SentPing | None:
        return self._sent.get(tx_id)

    def answered(self, tx_id: bytes) -> None:
        """A pong has come for this one, which is in flight."""
        self._drop(tx_id)

    def expire(self, now: float) -> list[SentPing]:
        """Those that nobody has answered in time; they are in flight no more."""
        expired: list[SentPing] = []
        while self.deadline() <= now:
            expired.append(self._drop(next(iter(self._sent))))
        return expired

    def unsent(self, refused: Mapping[UdpAddress, int]) -> list[SentPing]:
        """Those to these addresses, of that size and more, have never left; they are in flight no more."""
        never = math.inf
        stuck = [
            tx_id for tx_id, ping in self._sent.items() if ping.padding + PING_SIZE >= refused.get(ping.address, never)
        ]
        return [self._drop(tx_id) for tx_id in stuck]

    def forget(self, peer: bytes | None = None) -> None:
        """Those of this peer, or all of them, mean nothing any more."""
        for tx_id in [tx_id for tx_id, ping in self._sent.items() if peer in (None, ping.peer)]:
            self._drop(tx_id)

    def deadline(self) -> float:
        for ping in self._sent.values():
            return ping.at + PING_TIMEOUT
        return math.inf

    def _drop(self, tx_id: bytes) -> SentPing:
        ping = self._sent.pop(tx_id)
        self._by_peer[ping.peer] -= 1
        if not self._by_peer[ping.peer]:
            del self._by_peer[ping.peer]
        return ping
