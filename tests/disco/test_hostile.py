"""Disco that is forged, replayed, reflected or oversized: it changes no path, and makes us send no more than it was."""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest

from tests.disco.relayed import Relayed
from tests.disco.two import BUDGET, Party, Two
from tsnet.base.addresses import DerpAddress, Destination, UdpAddress
from tsnet.base.crypto import disco_public
from tsnet.base.keys import DiscoKey, DiscoPrivateKey, NodeKey
from tsnet.disco import geneve
from tsnet.disco.box import Box
from tsnet.disco.constants import MAX_CANDIDATES, MAX_SOURCES
from tsnet.disco.messages import (
    AllocateUDPRelayEndpointResponse,
    CallMeMaybe,
    CallMeMaybeVia,
    Message,
    Ping,
    Pong,
)
from tsnet.netmap.model import Node

VICTIMS = [UdpAddress(f"198.51.100.{number}", 9) for number in range(1, 200)]
STRANGER = DiscoPrivateKey(b"s" * 32)


class Heard:
    """Two that talk directly, and all that passes between them."""

    def __init__(self) -> None:
        self.two: Any = Two()
        self.datagrams: list[tuple[UdpAddress, bytes]] = []
        self.two.blocks = self._hear
        self.two.talk(10.0)
        self.two.run(0.5)
        assert self.two.is_direct(self.a)
        self.before = self.state()

    def _hear(self, to: UdpAddress, datagram: bytes) -> bool:
        if datagram[:1] != b"\4":
            self.datagrams.append((to, datagram))
        return False

    @property
    def a(self) -> Party:
        found: Party = self.two.a
        return found

    def state(self) -> Any:
        direct = self.a.paths._directs.get(self.two.b.key)
        assert direct is not None
        return direct.best, direct.is_trusted, set(direct.candidates), self.two.route(self.a)

    def throw(self, datagrams: list[tuple[Destination, bytes]]) -> int:
        """At a, now. Returns how many bytes a sends for it."""
        self.a.paths.receive([(source, [datagram]) for source, datagram in datagrams], self.two.now)
        return sum(len(datagram) for _to, (datagram,) in self.a.paths.transmit(self.two.now, BUDGET))

    def sealed(self, message: Message, key: DiscoPrivateKey | None = None) -> bytes:
        """By b, or with another key."""
        box = self.two.b.paths.box if key is None else Box(key, random.Random(3).randbytes)
        return box.seal(self.a.disco_key, message.encode())


def test_forged_datagrams() -> None:
    heard, chance = Heard(), random.Random(1)
    thrown: list[tuple[Destination, bytes]] = []
    for _to, datagram in heard.datagrams:
        forged = bytearray(datagram)
        forged[chance.randrange(38, len(forged))] ^= 1 << chance.randrange(8)
        thrown.append((chance.choice(VICTIMS), bytes(forged)))
    assert len(thrown) > 20
    assert heard.throw(thrown) == 0
    assert heard.state() == heard.before


def test_what_is_overheard_and_sent_again_from_anywhere() -> None:
    heard = Heard()
    overheard = [datagram for to, datagram in heard.datagrams if heard.a.owns(to)]
    again: list[tuple[Destination, bytes]] = [(victim, datagram) for datagram in overheard for victim in VICTIMS]
    sent = heard.throw(again)
    assert sent <= sum(len(datagram) for _source, datagram in again) * MAX_SOURCES / len(VICTIMS)
    assert heard.state() == heard.before


def test_our_own_datagrams_sent_back_to_us() -> None:
    heard = Heard()
    ours: list[tuple[Destination, bytes]] = [(to, datagram) for to, datagram in heard.datagrams if not heard.a.owns(to)]
    assert ours
    assert heard.throw(ours) == 0
    assert heard.state() == heard.before


@pytest.mark.parametrize("message", [Ping(b"x" * 12), Pong(b"x" * 12, VICTIMS[0]), CallMeMaybe(tuple(VICTIMS))])
def test_a_strangers_messages(message: Message) -> None:
    heard = Heard()
    datagram = heard.sealed(message, STRANGER)
    assert heard.throw([(VICTIMS[0], datagram), (DerpAddress(1, NodeKey(b"s" * 32)), datagram)]) == 0
    assert heard.throw([(DerpAddress(1, heard.two.b.key), datagram)]) == 0
    assert heard.state() == heard.before


def test_pongs_for_pings_that_were_never_sent() -> None:
    heard = Heard()
    pongs: list[tuple[Destination, bytes]] = [
        (victim, heard.sealed(Pong(bytes([number]) * 12, victim))) for number, victim in enumerate(VICTIMS)
    ]
    assert heard.throw(pongs) == 0
    assert heard.state() == heard.before
    assert heard.a.paths.dropped["unknown pong"] == len(VICTIMS)


def test_a_pong_through_the_relay_proves_no_address() -> None:
    two = Two()
    two.blocks = lambda _to, _datagram: True
    two.send(two.a)
    (tx_id, _ping), *_ = ((tx_id, ping) for tx_id, ping in _in_flight(two))
    datagram = two.b.paths.box.seal(two.a.disco_key, Pong(tx_id, two.a.inner).encode())
    two.a.paths.receive([(DerpAddress(1, two.b.key), [datagram])], two.now)
    assert not two.is_direct(two.a)
    assert two.a.paths.dropped["Pong"] == 1


def _in_flight(two: Two) -> Any:
    two.a.paths.transmit(two.now, BUDGET)
    return list(two.a.paths._directs._pings._sent.items())


def test_a_call_by_udp_or_through_the_relay_from_another_node() -> None:
    heard = Heard()
    datagram = heard.sealed(CallMeMaybe(tuple(VICTIMS)))
    assert heard.throw([(VICTIMS[0], datagram), (DerpAddress(1, NodeKey(b"s" * 32)), datagram)]) == 0
    assert heard.state() == heard.before


def test_a_peers_call_with_addresses_that_are_no_hosts() -> None:
    heard = Heard()
    hosts = ["127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0", "::", "::1", "ff02::1", "fe80::1"]
    never = [UdpAddress(host, 9) for host in hosts] + [UdpAddress("198.51.100.1", 0), heard.a.inner]
    heard.a.paths.receive([(DerpAddress(1, heard.two.b.key), [heard.sealed(CallMeMaybe(tuple(never)))])], heard.two.now)
    asked = {to for to, _datagrams in heard.a.paths.transmit(heard.two.now, BUDGET)}
    assert not asked & set(never)


def test_a_peers_endless_calls_make_a_bounded_number_of_pings() -> None:
    heard, sent = Heard(), 0
    for number in range(1000):
        named = tuple(UdpAddress(f"198.51.{number % 100}.{each}", 9) for each in range(1, 32))
        sent += heard.throw([(DerpAddress(1, heard.two.b.key), heard.sealed(CallMeMaybe(named)))])
        heard.two.clock.advance(0.01)
    assert sent <= 124 * (3 * MAX_CANDIDATES + 40)  # what calls provoke, and our own rounds, heartbeats and calls


def test_an_enormous_ping_is_answered_by_a_small_pong() -> None:
    heard = Heard()
    ping = heard.sealed(Ping(b"e" * 12, heard.two.b.key, 60_000))
    assert 0 < heard.throw([(heard.two.b.inner, ping)]) <= 124 + 110


def test_a_flood_of_one_peer_leaves_the_pings_of_another_their_answers() -> None:
    heard = Heard()
    other = DiscoPrivateKey(b"o" * 32)
    key = NodeKey(b"O" * 32)
    node = Node(3, "n3", "o", key, disco_key=disco_public(other), home_region=1, endpoints=(VICTIMS[7],))
    heard.a.paths.update_peers([(key, node)], heard.two.now)
    flood: list[tuple[Destination, bytes]] = [
        (heard.two.b.inner, heard.sealed(Ping(number.to_bytes(12, "big"), heard.two.b.key))) for number in range(3000)
    ]
    heard.a.paths.receive([(source, [datagram]) for source, datagram in flood], heard.two.now)
    quiet = heard.sealed(Ping(b"q" * 12, key), other)
    heard.a.paths.receive([(VICTIMS[7], [quiet])], heard.two.now)
    sent = heard.a.paths.transmit(heard.two.now, BUDGET)
    assert [to for to, _datagrams in sent if to == VICTIMS[7]] == [VICTIMS[7]]
    assert sum(len(datagram) for _to, (datagram,) in sent) < 3000


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)])
@pytest.mark.parametrize("by_control", [True, False])
def test_a_disco_key_of_low_order_leaves_its_peer_to_the_relay(point: bytes, by_control: bool) -> None:
    two = Two()
    two.talk(2.0)
    paths, peer = two.a.paths, two.b.key
    if by_control:
        node = attrs.evolve(two.node(two.b), disco_key=DiscoKey(point))
        paths.update_peers([(peer, node)], two.now)
    else:
        paths.learn_disco_key(peer, DiscoKey(point), two.now)
    paths.sent(peer, two.now)
    paths.ask(peer, b"12345678", two.now)
    assert paths.transmit(two.now, BUDGET) == []
    assert paths.routes(peer) == (DerpAddress(1, peer),)
    assert paths.deadline() > two.now
    assert paths.dropped["key"] > 1


# --- by peer relays -----------------------------------------------------------------------------------------------


class HeardByRelay(Heard):
    """Two that talk through a peer relay, and all that it forwards to a."""

    def __init__(self) -> None:
        self.two = Relayed()
        self.datagrams = []
        self.two.overheard = self.datagrams
        self.two.talk(10.0)
        self.two.run(0.5)
        assert self.two.are_relayed
        self.before = self.state()

    def state(self) -> Any:
        path = self.a.paths._relays.get(self.two.b.key)
        assert path is not None
        return path.best, path.is_trusted, path.latency, len(self.a.paths._relays._bindings), self.two.route(self.a)

    @property
    def for_a(self) -> list[bytes]:
        return [datagram for to, datagram in self.datagrams if self.a.owns(to)]


def test_forged_datagrams_by_a_session() -> None:
    heard, chance = HeardByRelay(), random.Random(1)
    relay = heard.two.servers[0].address
    thrown: list[tuple[Destination, bytes]] = []
    for datagram in heard.for_a:
        for source in (relay, chance.choice(VICTIMS)):
            forged = bytearray(datagram)
            forged[chance.randrange(len(forged))] ^= 1 << chance.randrange(8)
            thrown.append((source, bytes(forged)))
    assert len(thrown) >= 16
    asked = sum(len(datagram) for _source, datagram in thrown)
    assert heard.throw(thrown) <= asked / 4  # a flipped bit of a VNI leaves a true ping of another session
    assert heard.state() == heard.before


def test_what_a_relay_has_forwarded_and_is_sent_again_from_anywhere() -> None:
    heard = HeardByRelay()
    again: list[tuple[Destination, bytes]] = [(victim, datagram) for datagram in heard.for_a for victim in VICTIMS]
    sent = heard.throw(again)
    assert sent <= sum(len(datagram) for _source, datagram in again) * MAX_SOURCES / len(VICTIMS)
    assert heard.state() == heard.before


def test_a_ping_or_pong_of_a_session_proves_nothing_about_an_address_and_the_other_way_round() -> None:
    heard = HeardByRelay()
    relay = heard.two.servers[0].address
    naked = [datagram[8:] for datagram in heard.for_a]
    heard.throw([(victim, datagram) for datagram in naked for victim in VICTIMS[:5]])
    assert heard.state()[:4] == heard.before[:4]
    ping = heard.sealed(Ping(b"t" * 12, heard.two.b.key))
    heard.throw([(relay, geneve.header(geneve.DISCO, 9) + ping)])
    direct = heard.a.paths._directs.get(heard.two.b.key)
    assert direct is not None
    assert relay not in direct.candidates


@pytest.mark.parametrize("message", [CallMeMaybe((VICTIMS[0],)), Pong(b"x" * 12, VICTIMS[0])])
def test_nothing_but_pings_and_pongs_comes_by_a_session(message: Message) -> None:
    heard = HeardByRelay()
    relay, session = heard.two.servers[0].address, heard.two.sessions["a"]
    datagram = geneve.header(geneve.DISCO, session.vni) + heard.sealed(message)
    assert heard.throw([(relay, datagram)]) == 0
    assert heard.state() == heard.before


def test_sessions_and_answers_count_through_derp_alone_and_from_the_right_node() -> None:
    heard = HeardByRelay()
    two, a = heard.two, heard.a
    endpoint = attrs.evolve(two.servers[0].allocate(a.disco_key, two.b.disco_key), lamport_id=99, vni=77)
    messages: list[Message] = [CallMeMaybeVia(endpoint), AllocateUDPRelayEndpointResponse(1, endpoint)]
    for message in messages:
        sealed = heard.sealed(message)
        assert heard.throw([(VICTIMS[0], sealed), (two.servers[0].address, sealed)]) == 0
        assert heard.throw([(DerpAddress(1, two.servers[0].key), sealed)]) == 0
    assert heard.throw([(DerpAddress(1, two.b.key), heard.sealed(messages[1]))]) == 0
    assert heard.state() == heard.before


def test_a_flood_of_sessions_leaves_the_one_in_use_and_another_peers_alone() -> None:
    heard = HeardByRelay()
    two, a = heard.two, heard.a
    endpoint = two.servers[0].allocate(a.disco_key, two.b.disco_key)
    thrown = received = 0
    for number in range(500):
        key = disco_public(DiscoPrivateKey(number.to_bytes(32, "big")))
        named = attrs.evolve(endpoint, server_key=key, endpoints=tuple(VICTIMS[:32]))
        sealed = heard.sealed(CallMeMaybeVia(named))
        received += len(sealed)
        thrown += heard.throw([(DerpAddress(1, two.b.key), sealed)])
    assert thrown <= received
    assert heard.state()[:3] == heard.before[:3]
    two.talk(60.0)
    assert two.are_relayed
    assert len(a.paths._relays._bindings) == 0
