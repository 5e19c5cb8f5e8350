"""Two engines on a hand clock, each the other's only peer, with a wire each way: fixed UDP endpoints, or a relay.

    pair = Pair()
    pair.run(until=lambda: listener.readable)

After each drain `deadline()` must lie ahead.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import attrs

from tests.clock import Clock
from tests.wire import Wire
from tsnet.base.addresses import DerpAddress, Destination, UdpAddress
from tsnet.base.crypto import disco_public, node_public
from tsnet.base.keys import DiscoPrivateKey, NodePrivateKey
from tsnet.base.trace import Tracer
from tsnet.disco.changes import RoutesChanged
from tsnet.engine.engine import Engine
from tsnet.netmap import model
from tsnet.netmap.changes import Changes
from tsnet.netmap.model import FilterRule, NetMap, Node, PortRange

UNIX_TIME = 1_700_000_000.0
ALLOW_ALL = (FilterRule(("*",), (model.Destination("*", PortRange(0, 65535)),)),)
REGION = 900
MAX_STEPS = 5000
BUDGET = 256 * 1024


def secret(name: str) -> bytes:
    return random.Random(name).randbytes(32)


def node(number: int, name: str, **more: Any) -> Node:
    """Node 1 is 100.64.0.1 and fd7a:115c:a1e0::1, and so on; its endpoint is 192.0.2.N:41641."""
    own = (ip_network(f"100.64.0.{number}/32"), ip_network(f"fd7a:115c:a1e0::{number}/128"))
    plain = Node(
        id=number,
        stable_id=f"n{number}",
        name=f"{name}.tailnet.test",
        key=node_public(NodePrivateKey(secret(name))),
        disco_key=disco_public(DiscoPrivateKey(secret(f"disco {name}"))),
        addresses=own,
        allowed_ips=own,
        endpoints=(UdpAddress(f"192.0.2.{number}", 41641),),
        is_wireguard_only=True,
    )
    return attrs.evolve(plain, **more)


def apply(engine: Engine, told: NetMap, now: float) -> None:
    """Give the engine a whole netmap."""
    engine.apply(Changes.between(engine.peers.netmap, told), now)


def netmap(own: Node, *peers: Node, rules: tuple[FilterRule, ...] | None = ALLOW_ALL) -> NetMap:
    return NetMap(own, {peer.id: peer for peer in peers}, packet_filter=rules)


class Side:
    def __init__(self, own: Node, now: float, tracer: Tracer | None = None) -> None:
        name = own.name.partition(".")[0]
        self.node = own
        self.address: Destination = own.endpoints[0] if own.is_wireguard_only else DerpAddress(own.home_region, own.key)
        self.engine = Engine(
            NodePrivateKey(secret(name)),
            DiscoPrivateKey(secret(f"disco {name}")),
            entropy=random.Random(f"entropy {name}").randbytes,
            now=now,
            wall_offset=UNIX_TIME - now,
            timestamp_mark=None,
            tracer=tracer,
        )
        self.sent: list[tuple[Destination, bytes]] = []
        self.saves_marks = True
        self.doors: dict[Destination, Destination] = {}
        """Where it is reached: as what source the other side shows itself there."""


class Pair:
    """`a` is node 1, `b` is node 2. Marks are saved at once, unless `saves_marks` of a side is False.

    relayed: they are at home at the relay of REGION, of whose connections the test tells the engines.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        loss: float = 0.0,
        reorder: float = 0.0,
        duplicate: float = 0.0,
        relayed: bool = False,
        tracer: Tracer | None = None,
    ) -> None:
        self.clock = Clock()
        home = {"is_wireguard_only": False, "home_region": REGION} if relayed else {}
        self.nodes = node(1, "a", **home), node(2, "b", **home)
        self.a, self.b = (Side(own, self.clock.now, tracer) for own in self.nodes)
        self.wires = {
            side.address: Wire[bytes](seed + index, loss=loss, reorder=reorder, duplicate=duplicate)
            for index, side in enumerate(self.sides)
        }
        self.a.doors, self.b.doors = {self.a.address: self.b.address}, {self.b.address: self.a.address}
        apply(self.a.engine, netmap(self.nodes[0], self.nodes[1]), self.now)
        apply(self.b.engine, netmap(self.nodes[1], self.nodes[0]), self.now)

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.a, self.b

    @property
    def now(self) -> float:
        return self.clock.now

    def drain(self, side: Side) -> None:
        for _ in range(MAX_STEPS):
            for destination, datagrams in side.engine.transmit(self.now, BUDGET):
                side.sent += [(destination, datagram) for datagram in datagrams]
                for datagram in datagrams:
                    if destination in self.wires:
                        self.wires[destination].send(datagram, self.now)
            mark = side.engine.take_mark()
            if mark is not None and side.saves_marks:
                side.engine.mark_saved(mark)
            if side.engine.deadline() > self.now:
                return
        raise AssertionError("the deadline stays due")

    def step(self, limit: float) -> bool:
        for side in self.sides:
            self.drain(side)
        at = min([wire.deadline() for wire in self.wires.values()] + [side.engine.deadline() for side in self.sides])
        if at > limit:
            self.clock.advance_to(limit)
            return False
        self.clock.advance_to(at)
        for side in self.sides:
            for address, source in side.doors.items():
                arrived = self.wires[address].receive(self.now)
                if arrived:
                    side.engine.receive([(source, arrived)], self.now)
        return True

    def add_relay(self) -> tuple[Destination, Destination]:
        """Let b reach a by the relay of REGION, too: it sends to both. Returns both routes, best first."""
        door = DerpAddress(REGION, self.nodes[0].key)
        self.wires[door] = Wire[bytes](7, delay=0.03)
        self.a.doors[door] = DerpAddress(REGION, self.nodes[1].key)
        self.route_b(self.a.address, door)
        return self.a.address, door

    def route_b(self, *routes: Destination) -> None:
        """Let these be b's routes to a, until its paths change."""
        paths, key = self.b.engine.paths, self.nodes[0].key
        before, paths._routes[key] = paths.routes(key), routes
        paths._changes[key] = RoutesChanged(key, before, routes, "the test says so")

    def run(self, *, until: Callable[[], object] = lambda: False, seconds: float = 60.0) -> None:
        """Until the condition holds, which it must, or that much time has passed."""
        limit = self.now + seconds
        while not until():
            if not self.step(limit):
                return

    def reach(self, until: Callable[[], object], seconds: float = 60.0) -> None:
        self.run(until=until, seconds=seconds)
        assert until()


A4, B4 = ip_address("100.64.0.1"), ip_address("100.64.0.2")
A6, B6 = ip_address("fd7a:115c:a1e0::1"), ip_address("fd7a:115c:a1e0::2")
NEVER = math.inf
