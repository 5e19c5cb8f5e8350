"""How large the datagrams are that a peer's direct path carries: asked by pings of these sizes, where that is wanted.

| MTU of the path | UDP payload: v4, v6 | packets inside | what it stands for                              |
|-----------------|---------------------|----------------|-------------------------------------------------|
| 1360            | 1332, 1312          | 1280           | what every path is taken to carry (BASE)        |
| 1400            | 1372, 1352          | 1320           | Ethernet less a tunnel                          |
| 1500            | 1472, 1452          | 1420           | Ethernet                                        |
| 8000            | 7972, 7952          | 7920           | every jumbo frame                               |
| 9000            | 8972, 8952          | 8920           | most jumbo frames                               |

    a path is trusted ─► pings of each larger size, twice ─► a pong: the path carries that size
    each heartbeat    ─► one of the size in use: no pong within ANSWER_WITHIN, or EMSGSIZE: BASE, and asked anew
    trust ends        ─► BASE
    every minute      ─► larger sizes are tried again

A pong is small: it proves the way there alone, and the peer finds out for itself what the way back carries.

Source: Go wgengine/magicsock/peermtu.go, endpoint.go (pingSizeToPktLen), net/tstun/mtu.go. Go measures and uses nothing
of it; the check at each heartbeat, and the use, are ours.
Not here: whether it is wanted (`modes`), don't-fragment (`edge.io.udp`), segments of that size (`netstack`).
"""

from __future__ import annotations

import math

from tsnet.base.addresses import UdpAddress
from tsnet.disco.constants import PING_SIZE, UPGRADE_INTERVAL

BASE = 1360
LARGER = (1400, 1500, 8000, 9000)
SIZES = (BASE, *LARGER)
INNER_OVERHEAD = 80
"""Headers of IPv6, of UDP and of WireGuard's data."""

INNER_BASE = BASE - INNER_OVERHEAD
INNER_MOST = LARGER[-1] - INNER_OVERHEAD

PROBE_PAUSE = 0.3
"""Between two pings of larger sizes: one address may be pinged five times a second."""

ANSWER_WITHIN = 2.0
ONCE_MORE = 1.0
"""Seconds after which a ping of the size in use counts as lost, and after which it is sent a second time."""


def payload_of(mtu: int, host: str) -> int:
    """Bytes of UDP payload that a packet of that size carries to that host."""
    return mtu - (48 if ":" in host else 28)


class PathMtu:
    """One peer's. mtu: the largest size that the path in use is known to carry, of SIZES."""

    __slots__ = ("_address", "_asked_at", "_since", "_todo", "answer_by", "mtu", "once_more_at", "probe_at")

    def __init__(self) -> None:
        self._address: UdpAddress | None = None
        self.lose()

    def lose(self) -> None:
        """No path is trusted."""
        self._address = None
        self._todo: list[int] = []
        self._asked_at = self._since = -math.inf
        self.mtu: int = BASE
        self.probe_at: float = math.inf
        self.once_more_at: float = math.inf
        self.answer_by: float = math.inf

    @property
    def inner(self) -> int:
        """How long packets inside the tunnel may be."""
        return self.mtu - INNER_OVERHEAD

    def deadline(self) -> float:
        """When `run` must be called next."""
        return min(self.probe_at, self.once_more_at, self.answer_by)

    def use(self, address: UdpAddress, now: float) -> None:
        """This path is trusted."""
        if address != self._address:
            self.lose()
            self._address = address
            self._fall(BASE, now)

    def ponged(self, address: UdpAddress, padding: int, sent_at: float) -> None:
        """A ping with that padding, sent then, was answered."""
        if address != self._address or sent_at < self._since:
            return
        proven = [mtu for mtu in SIZES if self._padding(mtu) <= padding]
        if proven and proven[-1] >= self.mtu:
            self.mtu = proven[-1]
            self.once_more_at = self.answer_by = math.inf

    def refused(self, size: int, now: float) -> None:
        """The system says that a datagram of that size is too large for this path."""
        if self._address is None:
            return
        fits = [mtu for mtu in LARGER if payload_of(mtu, self._address.host) < size]
        if self.mtu != BASE and self.mtu not in fits:
            self._fall(BASE, now)
        self._todo = [mtu for mtu in self._todo if mtu in fits]

    def heartbeat(self, now: float) -> None:
        """The path is in use."""
        if self._address is None:
            return
        if self.mtu > BASE and self.answer_by == math.inf:
            self.once_more_at, self.answer_by = now, now + ANSWER_WITHIN
        if now >= self._asked_at + UPGRADE_INTERVAL:
            self._ask_larger(now)

    def run(self, now: float) -> list[int]:
        """Do what is due: the paddings of the pings to be sent there."""
        asks: list[int] = []
        if now >= self.answer_by:
            self._fall(BASE, now)
        elif now >= self.once_more_at:
            is_first = now < self.answer_by - ANSWER_WITHIN + ONCE_MORE
            self.once_more_at = self.answer_by - ANSWER_WITHIN + ONCE_MORE if is_first else math.inf
            asks.append(self._padding(self.mtu))
        if now >= self.probe_at:
            self._todo = [mtu for mtu in self._todo if mtu > self.mtu]
            if self._todo:
                asks.append(self._padding(self._todo.pop(0)))
            self.probe_at = now + PROBE_PAUSE if self._todo else math.inf
        return asks

    def _fall(self, mtu: int, now: float) -> None:
        """No more than that is known. Pongs of what was sent before prove nothing."""
        self.mtu, self._since = mtu, now
        self.once_more_at = self.answer_by = math.inf
        self._ask_larger(now)

    def _ask_larger(self, now: float) -> None:
        self._asked_at = now
        self._todo = [mtu for mtu in (*LARGER, *LARGER) if mtu > self.mtu]
        if self._todo:
            self.probe_at = now

    def _padding(self, mtu: int) -> int:
        assert self._address is not None
        return payload_of(mtu, self._address.host) - PING_SIZE


class PacketSizes:
    """How long packets inside the tunnel may be, peer by peer. changes: those that are news."""

    __slots__ = ("_larger", "changes")

    def __init__(self) -> None:
        self._larger: dict[bytes, int] = {}
        """Of the peers whose paths carry more than INNER_BASE."""
        self.changes: dict[bytes, int] = {}

    def note(self, key: bytes, mtu: PathMtu | None) -> None:
        """What that peer's path carries now. None: nobody asks."""
        inner = INNER_BASE if mtu is None else mtu.inner
        if inner != self._larger.get(key, INNER_BASE):
            self.changes[key] = self._larger[key] = inner
            if inner == INNER_BASE:
                del self._larger[key]

    def forget(self, key: bytes) -> None:
        self._larger.pop(key, None)
        self.changes.pop(key, None)

    def take(self) -> dict[bytes, int]:
        """The changes since the last call."""
        changes, self.changes = self.changes, {}
        return changes
