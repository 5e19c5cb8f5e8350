"""Our side of all peers: what one device's peers share.

Peers write to `outbox`, `facts` and `dropped`; nothing here calls back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

from tsnet.base.keys import NodePrivateKey, PrivateKey
from tsnet.wireguard.constants import REKEY_JITTER
from tsnet.wireguard.facts import Fact, MarkMoved
from tsnet.wireguard.handshake import StaticKeys
from tsnet.wireguard.indices import IndexTable
from tsnet.wireguard.outbox import Outbox
from tsnet.wireguard.tai64n import Timestamps

Owner = TypeVar("Owner")


class Local(Generic[Owner]):
    """wall_offset: unix time = now + wall_offset."""

    __slots__ = ("dropped", "entropy", "facts", "identity", "indices", "mtu", "outbox", "timestamps", "wall_offset")

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
        self.indices: IndexTable[Owner] = IndexTable(entropy)
        self.dropped: Counter[str] = Counter()
        self.outbox = Outbox(self.dropped)
        self.facts: list[Fact] = []

    def timestamp(self, now: float) -> bytes:
        stamp = self.timestamps.next(now + self.wall_offset)
        mark = self.timestamps.take_mark()
        if mark is not None:
            self.facts.append(MarkMoved(mark))
        return stamp

    def ephemeral(self) -> PrivateKey:
        return PrivateKey(self.entropy(PrivateKey.size))

    def jitter(self) -> float:
        return int.from_bytes(self.entropy(2), "little") / 65_536 * REKEY_JITTER
