"""What the peers of one device share: our keys, time stamps, indices, and the outbox, facts and counts they fill."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

from tsnet.base.keys import NodePrivateKey, PrivateKey
from tsnet.base.trace import Trace
from tsnet.wireguard.constants import REKEY_JITTER, REKEY_TIMEOUT
from tsnet.wireguard.facts import Fact, MarkMoved
from tsnet.wireguard.handshake import StaticKeys
from tsnet.wireguard.indices import IndexTable
from tsnet.wireguard.keylog import KeyLog
from tsnet.wireguard.outbox import Outbox
from tsnet.wireguard.tai64n import Timestamps

Owner = TypeVar("Owner")


class Local(Generic[Owner]):
    """wall_offset: unix time = now + wall_offset. round_trip: an answer is not expected any sooner, in seconds."""

    __slots__ = (
        "_asked",
        "_asked_at",
        "dropped",
        "entropy",
        "facts",
        "identity",
        "indices",
        "key_log",
        "mtu",
        "outbox",
        "round_trip",
        "timestamps",
        "trace",
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
        trace: Trace | None = None,
        key_log: KeyLog | None = None,
    ) -> None:
        self.trace: Trace | None = trace
        self.key_log: KeyLog | None = key_log
        self.identity: StaticKeys = StaticKeys.of(private)
        self.entropy: Callable[[int], bytes] = entropy
        self.mtu: int = mtu
        self.wall_offset: float = wall_offset
        self.round_trip: float = 0.0
        self.timestamps: Timestamps = Timestamps(timestamp_mark)
        self._asked = 0  # the last mark that `MarkMoved` asked for; `_asked_at` says when
        self._asked_at = -math.inf
        self.indices: IndexTable[Owner] = IndexTable(entropy)
        self.dropped: Counter[str] = Counter()
        self.outbox: Outbox = Outbox(self.dropped)
        self.facts: list[Fact] = []

    def timestamp(self, now: float) -> bytes | None:
        """A stamp for an initiation; None if a mark must be saved first. `MarkMoved` then asks for the mark, but for
        the same one only after REKEY_TIMEOUT again."""
        stamp = self.timestamps.next(now + self.wall_offset)
        wanted = self.timestamps.wanted
        if stamp is None and (wanted > self._asked or now >= self._asked_at + REKEY_TIMEOUT):
            self._asked, self._asked_at = wanted, now
            self.facts.append(MarkMoved(float(wanted)))
        return stamp

    def want_mark(self, now: float) -> None:
        """Ask for the mark that the next initiation needs, if it is not saved: somebody may send one soon."""
        if self.timestamps.lacks_mark(now + self.wall_offset):
            self.timestamp(now)

    def ephemeral(self) -> PrivateKey:
        return PrivateKey(self.entropy(PrivateKey.size))

    def jitter(self) -> float:
        return int.from_bytes(self.entropy(2), "little") / 65_536 * REKEY_JITTER
