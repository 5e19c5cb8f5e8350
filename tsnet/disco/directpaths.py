"""The direct paths of all peers: who has one, when each has something to do, and their pings.

    DirectPath says what to ask ─► here: TxID, limits, sealed ─► Outgoing
    a pong, or PING_TIMEOUT     ─► here: which ping that was  ─► DirectPath

A peer has a DirectPath once it is sent to or pings us: an idle one costs nothing, and never wakes the node.

Source: Go wgengine/magicsock/magicsock.go, endpoint.go.
Not here: when a path is asked (`directpath`), routes (`paths`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

from tsnet.base.addresses import Destination, UdpAddress
from tsnet.base.keys import NodeKey
from tsnet.base.timetable import Timetable
from tsnet.disco.constants import MAX_CANDIDATES, MAX_DIRECT, ROOM_AGAIN
from tsnet.disco.directpath import TIMERS, DirectPath
from tsnet.disco.equipment import Equipment
from tsnet.disco.messages import TX_ID_SIZE, Ping
from tsnet.disco.modes import DiscoModes
from tsnet.disco.pace import Pace
from tsnet.disco.pingable import is_pingable
from tsnet.disco.pings import PingsInFlight, SentPing
from tsnet.netmap.model import Node

MAX_READ = 256
"""Entries of a list of endpoints that are looked at."""


class DirectPaths:
    """own_key: our node key, which pings name. dropped: pings not sent, by "pace" (`Pace`) and "pings" (in flight).

    changed: the peers whose path may be another one since the last look. calls: those that are to be told our
    endpoints. Whoever calls a method takes both afterwards.
    """

    def __init__(self, own_key: NodeKey | None, equipment: Equipment) -> None:
        self.own_key = own_key
        self.modes: DiscoModes = DiscoModes()
        self.endpoints: tuple[UdpAddress, ...] = ()
        self.changed: dict[bytes, None] = {}
        self.calls: dict[bytes, None] = {}
        self._senders, self._outgoing = equipment.senders, equipment.outgoing
        self._entropy, self._dropped = equipment.entropy, equipment.dropped
        self._all: dict[bytes, DirectPath] = {}
        self._timetable: Timetable[bytes] = Timetable(self._outgoing.earliest)
        self._pings: PingsInFlight = PingsInFlight(self._outgoing.earliest)
        self._pace: Pace = Pace()
        self._full_until = -math.inf

    def __len__(self) -> int:
        return len(self._all)

    # --- who has one ------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[bytes]:
        """The keys of the peers that have one."""
        return iter(self._all)

    def get(self, key: bytes) -> DirectPath | None:
        return self._all.get(key)

    def begin(self, key: bytes, node: Node, now: float) -> DirectPath | None:
        """This peer's; None if it cannot have one."""
        direct = self._all.get(key)
        if direct is None and self._may_have(key, node) and self._make_room(now):
            direct = self._all[key] = DirectPath(now, is_silent=self.modes.silent, has_mtu=self.modes.mtu)
            direct.netmap_names(self._usable(node.endpoints), now)
        return direct

    def update(self, key: bytes, node: Node, now: float) -> None:
        """Control says something new of this peer."""
        direct = self._all.get(key)
        if direct is None:
            return
        if not self._may_have(key, node):
            self.forget(key)
            return
        direct.netmap_names(self._usable(node.endpoints), now)
        self._after(key, direct, now)

    def restarted(self, key: bytes, now: float) -> None:
        """The peer has another disco key: another process runs there."""
        direct = self._all.get(key)
        if direct is not None:
            self._pings.forget(key)
            direct.anew("the peer has a new disco key", now, discover=True)
            self._after(key, direct, now)

    def forget(self, key: bytes) -> None:
        if self._all.pop(key, None) is not None:
            self._timetable.drop(key)
            self._pings.forget(key)
            self.changed[key] = None

    def _may_have(self, key: bytes, node: Node) -> bool:
        modes = self.modes
        return modes.udp and modes.direct and not node.is_wireguard_only and self._senders.get(key) is not None

    def _make_room(self, now: float) -> bool:
        """Whether one more peer may have a path: in place of one that is not sent to, if there are many.

        While all are sent to, that is looked up once a second: whoever waits for room asks with each datagram.
        """
        if len(self._all) < MAX_DIRECT:
            return True
        if now < self._full_until:
            return False
        idle = next((key for key, direct in self._all.items() if not direct.is_active), None)
        if idle is None:
            self._full_until = now + ROOM_AGAIN
            return False
        self.forget(idle)
        return True

    def _usable(self, endpoints: Iterable[UdpAddress]) -> list[UdpAddress]:
        """Those of a list that may be pinged: the first MAX_CANDIDATES."""
        read = islice(dict.fromkeys(islice(endpoints, MAX_READ)), MAX_READ)
        return list(islice(filter(self._may_ask, read), MAX_CANDIDATES))

    def _may_ask(self, address: UdpAddress) -> bool:
        return address not in self.endpoints and is_pingable(address, loopback=self.modes.loopback)

    # --- what happens -----------------------------------------------------------------------------------------------

    def sent(self, key: bytes, node: Node, now: float) -> None:
        """Datagrams of WireGuard have left for this peer."""
        direct = self._all.get(key) or self.begin(key, node, now)
        if direct is not None and direct.sent(now):
            self._timetable.set(key, direct.deadline())

    def sent_large(self, key: bytes) -> None:
        """Some of them were large."""
        direct = self._all.get(key)
        if direct is not None:
            direct.is_large_out = True

    def handshake_unanswered(self, key: bytes, now: float) -> None:
        """A message of WireGuard's handshake with this peer went unanswered."""
        direct = self._all.get(key)
        if direct is not None:
            direct.handshake_unanswered(now)
            self._after(key, direct, now)

    def handshake_answered(self, key: bytes) -> None:
        """There is a new session with this peer."""
        direct = self._all.get(key)
        if direct is not None:
            direct.handshake_answered()

    def ask(self, key: bytes, node: Node, now: float) -> list[tuple[bytes, UdpAddress]]:
        """Ping what may reach this peer directly, because somebody wants to know: (TxID, address) of each ping."""
        direct = self.begin(key, node, now)
        if direct is None:
            return []
        direct.asked(now)
        asks, direct.asks = direct.asks, []
        sent = [(self._ping(key, address, padding, now), address) for address, padding in asks]
        self._after(key, direct, now)
        return [(tx_id, address) for tx_id, address in sent if tx_id is not None]

    def new_ping(self) -> Ping:
        """One by another path than these."""
        return Ping(self._entropy(TX_ID_SIZE), self.own_key)

    def arrived(self, key: bytes, source: UdpAddress, now: float) -> None:
        """An authentic datagram of WireGuard has come from there."""
        direct = self._all.get(key)
        if direct is not None and direct.arrived(source, now):
            self._timetable.set(key, direct.deadline())

    def heard(self, key: bytes, node: Node, source: UdpAddress, now: float, *, is_fresh: bool) -> None:
        """An authentic ping has come from there."""
        direct = self.begin(key, node, now)
        if direct is not None:
            direct.heard(source, now, is_fresh=is_fresh)
            self._after(key, direct, now)

    def called(self, key: bytes, node: Node, endpoints: Iterable[UdpAddress], now: float) -> None:
        """The peer says CallMeMaybe."""
        direct = self.begin(key, node, now)
        if direct is not None:
            direct.called(self._usable(endpoints), now)
            self._after(key, direct, now)

    def ponged(self, tx_id: bytes, peers: tuple[bytes, ...], now: float) -> bool:
        """One of these peers answers a ping. Whether that is one of ours, in flight to it."""
        ping = self._pings.get(tx_id)
        if ping is None or ping.peer not in peers:
            return False
        self._pings.answered(tx_id)
        direct = self._all.get(ping.peer)
        if direct is not None:
            direct.ponged(ping, now)
            self._after(ping.peer, direct, now)
        return True

    def unsent(self, refused: Mapping[UdpAddress, int], now: float) -> None:
        """The system cannot send datagrams of these sizes there, or none if that is 0: no pong is awaited for them, and
        no such path is trusted with data."""
        for ping in self._pings.unsent(refused):
            direct = self._all.get(ping.peer)
            if direct is not None:
                direct.timed_out(ping, now)
                self._after(ping.peer, direct, now)
        for key, direct in self._all.items():
            if direct.best is not None and direct.best in refused:
                direct.unsent(refused[direct.best], now)
                self._after(key, direct, now)

    def set_endpoints(self, endpoints: tuple[UdpAddress, ...], now: float) -> None:
        """Our own endpoints."""
        before, self.endpoints = self.endpoints, endpoints
        if set(before) != set(endpoints):
            self._each(lambda direct: direct.endpoints_changed(now), now)

    def set_modes(self, modes: DiscoModes, now: float) -> None:
        if modes != self.modes:
            self.modes = modes
            self._pings.forget()
            for key in list(self._all):
                self.forget(key)

    def network_changed(self, now: float) -> None:
        self._pings.forget()
        self._each(lambda direct: direct.anew("the network changed", now, discover=True), now)

    def _each(self, tell: Callable[[DirectPath], None], now: float) -> None:
        for key, direct in self._all.items():
            tell(direct)
            self._after(key, direct, now)

    # --- time -------------------------------------------------------------------------------------------------------

    def run(self, now: float) -> None:
        """Do what is due."""
        for ping in self._pings.expire(now):
            direct = self._all.get(ping.peer)
            if direct is not None:
                direct.timed_out(ping, now)
                self._after(ping.peer, direct, now)
        for key in self._timetable.take(now):
            direct = self._all[key]
            direct.run(now)
            self._after(key, direct, now)

    def deadline(self) -> float:
        return min(self._pings.deadline(), self._timetable.deadline())

    def timers(self) -> Iterator[tuple[bytes, str, float]]:
        """Every timer of every peer's path, with the name of its slot, and the next ping to expire; inf if unarmed."""
        yield b"", "a ping in flight", self._pings.deadline()
        for key, direct in self._all.items():
            for slot in TIMERS:
                yield key, slot, getattr(direct, slot)

    def _after(self, key: bytes, direct: DirectPath, now: float) -> None:
        """Take what a path wants done, and note when it is due next."""
        self.changed[key] = None
        if direct.asks:
            asks, direct.asks = direct.asks, []
            for address, padding in asks:
                self._ping(key, address, padding, now)
        if direct.wants_call:
            direct.wants_call = False
            self.calls[key] = None
        self._timetable.set(key, direct.deadline())

    def _ping(self, key: bytes, address: UdpAddress, padding: int, now: float) -> bytes | None:
        """The TxID, if it was sent."""
        recipient = self._senders.get(key)
        if recipient is None:
            return None
        direct = self._all.get(key)
        is_proven = direct is not None and direct.best == address
        if not self._pings.has_room(key, is_trusted=is_proven):
            self._dropped["pings"] += 1
            return None
        if not self._pace.allows(address, key, now, is_proven=is_proven):
            self._dropped["pace"] += 1
            return None
        tx_id = self._entropy(TX_ID_SIZE)
        self._pings.sent(tx_id, SentPing(key, address, now, padding))
        self._outgoing.send(recipient, address, Ping(tx_id, self.own_key, padding))
        return tx_id

    def may_answer(self, source: Destination) -> bool:
        """Whether a pong may go there."""
        return self.modes.direct and isinstance(source, UdpAddress) and self.may_reach(source)

    def may_reach(self, address: UdpAddress) -> bool:
        """Whether anything of disco may go there."""
        return self.modes.udp and self._may_ask(address)
