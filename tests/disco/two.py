"""Two `Paths` on a hand clock, with a wire each way and a NAT before each, and a relay that both are connected to.

    two = Two(Nat(), Nat(by_destination=True))
    two.a.send()          a's WireGuard has something for b
    two.run(5.0)

A NAT maps a source to an outer port, one for all destinations or one for each, and lets in what comes from where
something was sent to; it forgets after `lifetime`.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.clock import Clock
from tests.wire import Wire
from tsnet.base.addresses import DerpAddress, Destination, UdpAddress
from tsnet.base.crypto import disco_public, node_public
from tsnet.base.keys import DiscoPrivateKey, NodePrivateKey
from tsnet.disco.changes import RoutesChanged
from tsnet.disco.modes import DiscoModes
from tsnet.disco.paths import Paths
from tsnet.netmap.model import Node

BUDGET = 1 << 20
MAX_STEPS = 20_000
REGION = 1
STUN = UdpAddress("203.0.113.1", 3478)


class Nat:
    """by_destination: another outer port for each destination. open: lets in whatever comes to a port in use."""

    def __init__(self, *, by_destination: bool = False, is_open: bool = False, lifetime: float = 30.0) -> None:
        self.by_destination, self.is_open, self.lifetime = by_destination, is_open, lifetime
        self.host = ""
        self._ports: dict[UdpAddress | None, int] = {}
        self._allowed: dict[tuple[int, UdpAddress], float] = {}

    def out(self, to: UdpAddress, now: float) -> UdpAddress:
        """The outer source of a datagram for that destination."""
        port = self._ports.setdefault(to if self.by_destination else None, 20_000 + len(self._ports))
        self._allowed[port, to] = now
        return UdpAddress(self.host, port)

    def admits(self, port: int, source: UdpAddress, now: float) -> bool:
        if self.is_open:
            return port in self._ports.values()
        return now < self._allowed.get((port, source), -math.inf) + self.lifetime


class Party:
    """A node at `inner`, and behind its NAT at `outer`; without a NAT these are one."""

    def __init__(self, name: str, number: int, nat: Nat | None, now: float) -> None:
        random_bytes = random.Random(name).randbytes
        self.key = node_public(NodePrivateKey(random_bytes(32)))
        disco = DiscoPrivateKey(random_bytes(32))
        self.disco_key = disco_public(disco)
        self.nat = nat
        self.inner = UdpAddress(f"10.0.{number}.2" if nat else f"192.0.2.{number}", 41_641)
        if nat is not None:
            nat.host = f"192.0.2.{number}"
        self.paths = Paths(disco, entropy=random_bytes, node_key=self.key)
        self.paths.set_home(REGION, now)
        self.paths.connected(REGION, now)
        self.peer: Party | None = None
        self.changes: list[RoutesChanged] = []
        self.measures = True
        self.got: Counter[str] = Counter()

    def outer(self, to: UdpAddress, now: float) -> UdpAddress:
        return self.inner if self.nat is None else self.nat.out(to, now)

    def owns(self, address: UdpAddress) -> bool:
        return address.host == (self.inner.host if self.nat is None else self.nat.host)

    def endpoints(self, now: float) -> list[UdpAddress]:
        """What STUN says, and its own address."""
        return list(dict.fromkeys([self.outer(STUN, now), self.inner]))


class Two:
    """lan: both are on one network and reach each other's inner addresses, too."""

    def __init__(
        self,
        nat_a: Nat | None = None,
        nat_b: Nat | None = None,
        *,
        seed: int = 0,
        loss: float = 0.0,
        duplicate: float = 0.0,
        lan: bool = False,
        named: bool = True,
    ) -> None:
        """named: control names the endpoints of each to the other."""
        self.clock = Clock()
        self.lan = lan
        self.a, self.b = Party("a", 1, nat_a, self.now), Party("b", 2, nat_b, self.now)
        self.udp = {
            party.key: Wire[tuple[UdpAddress, bytes]](seed + number, delay=0.02, loss=loss, duplicate=duplicate)
            for number, party in enumerate(self.parties)
        }
        self.relay = {party.key: Wire[tuple[Destination, bytes]](seed + 9, delay=0.04) for party in self.parties}
        self.blocks: Callable[[UdpAddress, bytes], bool] = lambda _to, _datagram: False
        for party, other in ((self.a, self.b), (self.b, self.a)):
            party.peer = other
            party.paths.set_endpoints(party.endpoints(self.now), self.now)
            party.paths.update_peers([(other.key, self.node(other, named=named))], self.now)

    @property
    def parties(self) -> tuple[Party, Party]:
        return self.a, self.b

    @property
    def now(self) -> float:
        return self.clock.now

    def node(self, party: Party, *, named: bool = True) -> Node:
        endpoints = tuple(party.endpoints(self.now)) if named else ()
        number = 1 + self.parties.index(party)
        return Node(
            number, f"n{number}", "x", party.key, disco_key=party.disco_key, home_region=REGION, endpoints=endpoints
        )

    def peer(self, party: Party) -> Party:
        return self.b if party is self.a else self.a

    def send(self, party: Party, size: int = 100) -> tuple[Destination, ...]:
        """WireGuard of this party sends a datagram; the other one's takes it as authentic."""
        paths, other = party.paths, self.peer(party)
        paths.settle(self.now)
        routes = paths.routes(other.key)
        paths.sent(other.key, self.now)
        for to in routes:
            self._carry(party, to, b"\4" + bytes(size - 1))
        return routes

    def _carry(self, party: Party, to: Destination, datagram: bytes) -> None:
        other = self.peer(party)
        if isinstance(to, DerpAddress):
            self.relay[other.key].send((DerpAddress(to.region, party.key), datagram), self.now)
            return
        assert isinstance(to, UdpAddress)
        source = party.outer(to, self.now)
        if self.blocks(to, datagram):
            return
        if self.lan and to == other.inner:
            self.udp[other.key].send((party.inner, datagram), self.now)
        elif other.owns(to) and (other.nat is None or other.nat.admits(to.port, source, self.now)):
            self.udp[other.key].send((source, datagram), self.now)

    def drain(self, party: Party) -> None:
        for _ in range(100):
            for to, datagrams in party.paths.transmit(self.now, BUDGET):
                for datagram in datagrams:
                    party.got["sent"] += 1
                    self._carry(party, to, datagram)
            if party.paths.wants_endpoints and party.measures:
                party.paths.set_endpoints(party.endpoints(self.now), self.now)
            party.changes += party.paths.take_changes()
            if party.paths.deadline() > self.now:
                return
        raise AssertionError("the deadline stays due")

    def _arrive(self, party: Party) -> None:
        arrived: list[tuple[Destination, bytes]] = [*self.udp[party.key].receive(self.now)]
        arrived += self.relay[party.key].receive(self.now)
        for source, datagram in arrived:
            self.taken(party, source, datagram)

    def taken(self, party: Party, source: Destination, datagram: bytes) -> None:
        """What has come is data of the other one, or disco."""
        if datagram[:1] == b"\4":
            party.got["data"] += 1
            party.paths.authenticated(self.peer(party).key, source, self.now)
        else:
            party.paths.receive([(source, [datagram])], self.now)

    def wires(self) -> list[Wire[Any]]:
        return [*self.udp.values(), *self.relay.values()]

    def run(self, seconds: float, until: Callable[[], object] = lambda: False) -> None:
        """So long, or until the condition holds."""
        limit = self.now + seconds
        for _ in range(MAX_STEPS):
            for party in self.parties:
                self.drain(party)
            if until():
                return
            deadlines = [wire.deadline() for wire in self.wires()]
            at = min(deadlines + [party.paths.deadline() for party in self.parties])
            if at > limit:
                self.clock.advance_to(limit)
                return
            self.clock.advance_to(at)
            for party in self.parties:
                self._arrive(party)
        raise AssertionError("it never comes to rest")

    def talk(self, seconds: float, *, both: bool = True, every: float = 0.5) -> None:
        """a sends, and b answers if both do, again and again."""
        end = self.now + seconds
        while self.now < end:
            self.send(self.a)
            if both:
                self.send(self.b)
            self.run(min(every, end - self.now))

    def route(self, party: Party) -> tuple[Destination, ...]:
        party.paths.settle(self.now)
        return party.paths.routes(self.peer(party).key)

    def is_direct(self, party: Party) -> bool:
        """Whether this party sends by UDP alone."""
        return [type(one) for one in self.route(party)] == [UdpAddress]


ONLY_LOOPBACK = DiscoModes(loopback=True)
