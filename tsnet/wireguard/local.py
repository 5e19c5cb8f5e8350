"""Our side of all peers: what one device's peers share.

Peers write to `outbox`, `facts` and `dropped`; nothing here calls back.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

from tsnet.base.keys import NodePrivateKey, PrivateKey
from tsnet.wireguard.constants import REKEY_JITTER, REKEY_TIMEOUT
from tsnet.wireguard.facts import Fact, MarkMoved
from tsnet.wireguard.handshake import StaticKeys
from tsnet.wireguard.indices import IndexTable
from tsnet.wireguard.outbox import Outbox
from tsnet.wireguard.tai64n import Timestamps

Owner = TypeVar("Owner")


class Local(Generic[Owner]):
    """wall_offset: unix time = now + wall_offset."""

    __slots__ = (
        "_asked",
        "_asked_at",
        "dropped",
        "entropy",
        "facts",
        "identity",
        "indices",
        "mtu",
        "outbox",
        "timestamps",
        "wall_offset",
    )

    def __init__(
        self,
        private: NodePrivateKey,
        entropy: Callable[[int], bytes],
        *,
        mtu: int,
        wall_offset: float,
        timestamp_mark: float | None,
    ) -> None:
        self.identity = StaticKeys.of(private)
        self.entropy = entropy
        self.mtu = mtu
        self.wall_offset = wall_offset
        self.timestamps = Timestamps(timestamp_mark)
        self._asked = 0  # the last mark that was asked for, and when
        self._asked_at = -math.inf
        self.indices: IndexTable[Owner] = IndexTable(entropy)
        self.dropped: Counter[str] = Counter()
        self.outbox = Outbox(self.dropped)
        self.facts: list[Fact] = []

    def timestamp(self, now: float) -> bytes | None:
        """None: a mark must be saved before. It is asked for, again if that was REKEY_TIMEOUT ago."""
        stamp = self.timestamps.next(now + self.wall_offset)
        wanted = self.timestamps.wanted
        if stamp is None and (wanted > self._asked or now >= self._asked_at + REKEY_TIMEOUT):
            self._asked, self._asked_at = wanted, now
            self.facts.append(MarkMoved(float(wanted)))
        return stamp

    def ephemeral(self) -> PrivateKey:
        return PrivateKey(self.entropy(PrivateKey.size))

    def jitter(self) -> float:
        return int.from_bytes(self.entropy(2), "little") / 65_536 * REKEY_JITTER
