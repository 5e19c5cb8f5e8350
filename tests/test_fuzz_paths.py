"""Damaged disco, STUN, Geneve, NAT-PMP, PCP, SSDP and UPnP messages, thrown at a node that talks to a peer directly.

| what is thrown                                             | from                                                   |
|------------------------------------------------------------|--------------------------------------------------------|
| what both have said by UDP, damaged: the seal no longer fits | the peer's address, strangers, relays                |
| the peer's own pings and pongs, damaged before sealing     | its address, strangers                                 |
| Geneve around both                                         | the peer's address, strangers                          |
| STUN answers, damaged                                      | the STUN server, strangers                             |
| NAT-PMP, PCP and SSDP answers, damaged                     | the router, strangers                                  |
| UPnP's answers over HTTP, their pages or all of them damaged | the router                                           |

Nothing raises, no path changes, every message that is of no use is counted, and the node sends at most as many bytes as
it was sent. `make test` throws a few thousand, `TSNET_NIGHTLY=1` a million.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from random import Random
from typing import Any

import pytest

from tests import fuzzing
from tests.clock import Clock
from tests.house import House
from tests.portmap.router import GATEWAY, PLACE, Router, new_mapper, run
from tsnet.base.addresses import DerpAddress, Destination, UdpAddress
from tsnet.base.keys import NodeKey
from tsnet.base.links import Datagrams, Event, Link, Opened, OpenUdp, Received
from tsnet.disco import geneve
from tsnet.disco.box import looks_like_disco
from tsnet.disco.messages import Ping, Pong
from tsnet.netcheck import stun
from tsnet.portmap import natpmp, pcp
from tsnet.portmap.external import why_unusable

ROUNDS = 100_000 if os.environ.get("TSNET_NIGHTLY") else 700
"""Of each of the six kinds, for each of two seeds; half as many over HTTP."""
STRANGERS = [UdpAddress(f"198.51.100.{number}", 41_641) for number in range(1, 40)]
BUDGET = 1 << 20

pytestmark = pytest.mark.timeout(3600 if os.environ.get("TSNET_NIGHTLY") else 60)


class Target:
    """Node a, which talks to b directly, and which asks the router of its network for a port."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.house = house = House(seed)
        self.overheard: list[bytes] = []
        a, b = house.up("a", maps_port=True), house.up("b")
        self._listen_in(house)
        house.connect(b, a)
        house.run(6.0)
        self.node, self.peer = a.pump.node, b.pump.node
        self.key = self.peer.engine.device.public_key
        self.now = house.now
        self.drain()
        (route,) = self.node.engine.paths.routes(self.key)
        assert isinstance(route, UdpAddress)
        self.route: UdpAddress = route
        self.before = self.state()

    def _listen_in(self, house: House) -> None:
        carry = house.world.wire.carry

        def heard(source: UdpAddress, port: Any, run: Sequence[bytes]) -> None:
            self.overheard += filter(looks_like_disco, run)
            carry(source, port, run)

        house.world.wire.carry = heard  # type: ignore[method-assign]

    def state(self) -> Any:
        """What must not change."""
        direct = self.node.engine.paths._directs.get(self.key)
        assert direct is not None
        mapping = self.node.port_mapping
        endpoints, mapped = self.node.surroundings.endpoints.found, self.node.surroundings.mapped
        return (
            direct.best,
            direct.is_trusted,
            self.node.engine.paths.routes(self.key),
            mapping.external,
            endpoints,
            mapped,
        )

    def counted(self) -> int:
        """All that any room has dropped."""
        node, mapper = self.node, self.node.port_mapping._mapper
        rooms: list[Counter[str]] = [
            node.engine.dropped,
            node.engine.paths.dropped,
            node.engine.device.dropped,
            node.surroundings.checker.dropped,
        ]
        return sum(room.total() for room in rooms) + (0 if mapper is None else mapper.dropped.total())

    def drain(self) -> int:
        """How many bytes it sends now."""
        sent = 0
        for _ in range(1000):
            runs, _effects = self.node.transmit(self.now, BUDGET)
            sent += sum(len(datagram) for _to, datagrams in runs for datagram in datagrams)
            self.node.take_facts()
            if self.node.deadline() > self.now:
                return sent
        raise AssertionError("the deadline stays due")

    def throw(self, thrown: Iterator[tuple[Destination, bytes]]) -> tuple[int, int, int]:
        """(messages thrown, of which were counted, bytes sent less those received)."""
        number = surplus = 0
        before = self.counted()
        batch: list[tuple[Any, list[bytes]]] = []
        for source, datagram in thrown:
            number += 1
            surplus -= len(datagram)
            batch.append((source, [datagram]))
            if len(batch) == 50:
                self.node.engine.receive([run for run in batch if isinstance(run[0], DerpAddress)], self.now)
                self.node.receive([run for run in batch if isinstance(run[0], UdpAddress)], (), self.now)
                batch.clear()
                surplus += self.drain()
                assert self.state() == self.before
        return number, self.counted() - before, surplus

    def source(self) -> UdpAddress:
        return self.route if self.random.random() < 0.5 else self.random.choice(STRANGERS)


@pytest.fixture(scope="module", params=[1, 2])
def target(request: pytest.FixtureRequest) -> Target:
    return Target(request.param)


def test_what_was_overheard(target: Target) -> None:
    def thrown() -> Iterator[tuple[Destination, bytes]]:
        for datagram in fuzzing.bad_bytes(target.overheard, seed=1, rounds=ROUNDS):
            by_relay = target.random.random() < 0.3
            yield DerpAddress(900, NodeKey(target.key)) if by_relay else target.source(), datagram

    number, counted, surplus = target.throw(thrown())
    assert len(target.overheard) > 4
    assert surplus <= 0
    assert counted >= 0.98 * number  # an empty one is none
    assert number >= ROUNDS


def test_what_the_peer_seals(target: Target) -> None:
    box, ours = target.peer.engine.paths.box, target.node.engine.disco_key
    samples = [Ping(b"t" * 12, NodeKey(target.key)).encode(), Pong(b"t" * 12, target.route).encode()]

    def thrown() -> Iterator[tuple[Destination, bytes]]:
        for plain in fuzzing.bad_bytes(samples, seed=2, rounds=ROUNDS):
            yield target.source(), box.seal(ours, plain)

    number, counted, surplus = target.throw(thrown())
    assert surplus <= 0
    assert counted >= number / 2  # the others are pings


def test_geneve(target: Target) -> None:
    headers = [geneve.header(geneve.DISCO, 7, is_control=is_control) for is_control in (True, False)]

    def thrown() -> Iterator[tuple[Destination, bytes]]:
        samples = [header + datagram for header in headers for datagram in target.overheard]
        for datagram in fuzzing.bad_bytes(samples, seed=3, rounds=ROUNDS):
            yield target.source(), datagram

    number, counted, surplus = target.throw(thrown())
    assert surplus <= 0
    assert counted >= 0.95 * number


def test_stun(target: Target) -> None:
    server = UdpAddress(target.house.world.v4, target.house.tailnet.relays[0].stun_port)
    samples = [stun.encode_request(b"t" * 12), stun.encode_response(b"t" * 12, UdpAddress("198.51.100.9", 9))]

    def thrown() -> Iterator[tuple[Destination, bytes]]:
        for number, datagram in enumerate(fuzzing.bad_bytes(samples, seed=4, rounds=ROUNDS)):
            yield server if number % 2 else target.source(), datagram

    number, counted, surplus = target.throw(thrown())
    assert surplus <= 0
    assert counted >= 0.95 * number


@pytest.mark.parametrize("seed", [1, 2])
def test_what_routers_say(seed: int) -> None:
    """While a node asks for a port, and when it does not any more: no mapping comes of it."""
    samples = [
        natpmp.encode_reply(natpmp.PmpRefused(1, 1, 2)),
        pcp.encode_reply(pcp.PcpRefused(1, pcp.MAP, 2, 0)),
        b"HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nLOCATION: http://192.168.7.1:5000/root.xml\r\n\r\n",
    ]
    mapper, chance, now = new_mapper(upnp=True), Random(seed), 1000.0
    received = sent = 0
    links: list[Link] = []
    for number, datagram in enumerate(fuzzing.bad_bytes(samples, seed=10 + seed, rounds=ROUNDS)):
        if number % 100 == 0:  # an attempt begins
            now += 10_000.0
            mapper.set_place(None, now)
            mapper.set_place(PLACE, now)
            links = [effect.link for effect in mapper.transmit(now) if isinstance(effect, OpenUdp)]
            mapper.receive(Opened(links[-1], local_port=5000), now)
        source = (
            UdpAddress(str(GATEWAY), chance.choice((natpmp.PORT, 1900))) if number % 3 else chance.choice(STRANGERS)
        )
        mapper.receive(Datagrams(links[-1], source, [datagram]), now)
        received += len(datagram)
        for effect in mapper.transmit(now):
            if isinstance(effect, Datagrams):
                sent += sum(map(len, effect.datagrams))
    assert mapper.mapped is None
    assert sent <= received
    assert mapper.dropped.total() >= 0.8 * ROUNDS


class DamagedRouter(Router):
    """thrown: damaged answers so far. Two of three are as they should be, so that later ones are asked for. ended: the
    links that it has closed itself."""

    def __init__(self, seed: int) -> None:
        super().__init__("upnp")
        self.random, self.thrown = Random(seed), 0
        self.ended: set[Link] = set()

    def _page(self, target: str, action: str, body: str) -> tuple[int, bytes]:
        status, page = super()._page(target, action, body)
        return status, self._damaged(page)

    def _http(self, link: Link, data: bytes) -> Iterator[Event]:
        self.ended.add(link)
        for event in super()._http(link, data):
            yield Received(link, self._damaged(event.data)) if isinstance(event, Received) else event

    def _damaged(self, data: bytes) -> bytes:
        if self.random.random() < 0.67:
            return data
        self.thrown += 1
        return fuzzing.mutated(data, self.random)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_routers_say_over_http(seed: int) -> None:
    """Nobody but the router is called, and a mapping is at an address that others can reach."""
    router, clock, mapper, failed = DamagedRouter(seed), Clock(), new_mapper(upnp=True), 0
    while router.thrown < ROUNDS // 2:
        clock.advance(10_000.0)
        mapper.set_place(None, clock.now)
        mapper.set_place(PLACE, clock.now)
        run(mapper, router, clock)
        assert {host for host, _port in router.dialled} == {str(GATEWAY)}
        assert router.open <= router.ended
        failed += mapper.mapped is None
        if mapper.mapped is not None:
            assert not why_unusable(IPv4Address(mapper.mapped.host), mapper.mapped.port)
        for kept in (router.dialled, router.asked, router.open, router.ended):
            kept.clear()
    assert failed > ROUNDS / 20
