"""Random sequences of control's messages: after each, every room of a node is as if it had got the whole map at once.

Twins say what that is: a merge on plain dictionaries, an expiry that looks at every peer, and scans of the netmap in
place of indexes. Names, keys, prefixes and disco keys come from small pools, so that peers claim each other's.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Any

import attrs
import pytest

from tests.engine.alone import NOW, bare
from tests.netmap.packets import tcp
from tsnet.base.addresses import DerpAddress, UdpAddress
from tsnet.base.keys import DiscoKey, NodeKey
from tsnet.control.client import facts as told
from tsnet.control.client.mapsession import MapSession
from tsnet.engine import facts
from tsnet.engine.node import Node as RunningNode
from tsnet.netmap.changes import Changes
from tsnet.netmap.expiry import SPOILED
from tsnet.netmap.merge import MapUpdate, PeerChange
from tsnet.netmap.model import (
    Destination,
    DnsConfig,
    DnsRecord,
    FilterRule,
    NetMap,
    Node,
    PortRange,
    UserProfile,
)
from tsnet.netmap.names import Names, names_of
from tsnet.netmap.routes import own_prefixes
from tsnet.netmap.whois import Whois

WALL = 1_790_000_000.0
SEQUENCES, A_CASE = 60, 10
MORE, A_LONG_CASE = 10_000 if os.environ.get("TSNET_NIGHTLY") else 300, 50
STEPS = 12

IDS = (2, 3, 4, 130, 131, 258)
"""Some of them share a chunk."""

NAMES = ("db.tail.test", "DB.tail.test", "web.tail.test", "db.other.test", "web", "us.tail.test", "")
KEYS = [NodeKey(bytes([number]) * 32) for number in range(1, 7)]
DISCO = [DiscoKey(bytes([number]) * 32) for number in range(20, 23)]
OWN = [ip_network(text) for text in ("100.64.0.1", "fd7a:115c:a1e0::1", "100.64.0.5")]
PREFIXES = [ip_network(text) for text in ("100.64.0.2", "100.64.0.3", "100.64.0.5", "fd7a:115c:a1e0::2", "10.1.0.0/16")]
ADDRESSES = [prefix.network_address for prefix in (*OWN, *PREFIXES)]
SOURCES = ("*", "100.64.0.2", "100.64.0.0/30", "100.64.0.3-100.64.0.5", "cap:blue", "fd7a:115c:a1e0::/64")
RECORDS = DnsRecord("wiki.corp.test", "", "10.0.0.5"), DnsRecord("db.tail.test", "A", "10.0.0.6")


def some(chance: random.Random, pool: Iterable[Any], most: int = 3) -> tuple[Any, ...]:
    found = list(pool)
    return tuple(chance.sample(found, chance.randint(0, min(most, len(found)))))


def any_node(chance: random.Random, number: int) -> Node:
    addresses = some(chance, PREFIXES[:4], 2)
    return Node(
        id=number,
        stable_id=f"n{number}",
        name=chance.choice(NAMES),
        key=chance.choice(KEYS),
        user=chance.randint(0, 2),
        disco_key=chance.choice([None, *DISCO]),
        addresses=addresses,
        allowed_ips=(*addresses[: chance.randint(0, 2)], *some(chance, PREFIXES, 2)),
        endpoints=some(chance, [UdpAddress("192.0.2.1", 1), UdpAddress("192.0.2.2", 2)]),
        home_region=chance.randint(0, 2),
        key_expiry=chance.choice([None, None, WALL + chance.randint(-50, 300)]),
        capabilities=chance.choice([{}, {"blue": ()}, {"red": ()}]),
        expired=chance.random() < 0.1,
        is_wireguard_only=chance.random() < 0.2,
        is_jailed=chance.random() < 0.2,
        unsigned_peer_api_only=chance.random() < 0.1,
    )


def own_node(chance: random.Random) -> Node:
    name = chance.choice(["us.tail.test", "us.tail.test", "us.other.test"])
    return Node(1, "self", name, NodeKey(bytes([9]) * 32), addresses=some(chance, OWN))


def any_rules(chance: random.Random) -> tuple[FilterRule, ...]:
    ports = (Destination("*", PortRange(0, 65535)), Destination("100.64.0.1", PortRange(80, 90)))
    return tuple(FilterRule(some(chance, SOURCES), some(chance, ports)) for _ in range(chance.randint(0, 3)))


def any_patch(chance: random.Random) -> PeerChange:
    wanted = any_node(chance, 0)
    fields = some(chance, ("key", "disco_key", "endpoints", "home_region", "key_expiry", "online", "capabilities"))
    return PeerChange(
        chance.choice(IDS), {name: value for name in fields if (value := getattr(wanted, name)) is not None}
    )


def whole(chance: random.Random) -> MapUpdate:
    return MapUpdate(
        node=own_node(chance),
        peers=tuple(any_node(chance, number) for number in some(chance, IDS, len(IDS))),
        users=(UserProfile(1, "a@e"), UserProfile(2, "b@e")),
        packet_filter=any_rules(chance),
        dns=DnsConfig(extra_records=some(chance, RECORDS)),
    )


def delta(chance: random.Random) -> MapUpdate:
    """Mostly one kind of news, now and then several in one message, or a whole list of peers."""
    likely = 0.25
    news: dict[str, Any] = {
        "node": own_node(chance),
        "peers_changed": tuple(any_node(chance, number) for number in some(chance, IDS)),
        "peers_removed": some(chance, IDS, 2),
        "peers_seen": dict.fromkeys(some(chance, IDS), chance.random() < 0.5),
        "online": dict.fromkeys(some(chance, IDS), chance.random() < 0.5),
        "patches": tuple(any_patch(chance) for _ in range(2)),
        "packet_filter": any_rules(chance),
        "packet_filters": {chance.choice(["base", "x", "*"]): chance.choice([None, any_rules(chance)])},
        "dns": DnsConfig(extra_records=some(chance, RECORDS)),
        "users": (UserProfile(1, chance.choice("abc")),),
    }
    chosen = {name: value for name, value in news.items() if chance.random() < likely}
    if chance.random() < 0.1:
        chosen["peers"] = whole(chance).peers
    return MapUpdate(**chosen)


# --- twins ------------------------------------------------------------------------------------------------------


class Told:
    """The state that messages describe, merged on plain dictionaries."""

    def __init__(self) -> None:
        self.peers: dict[int, Node] = {}
        self.filters: dict[str, tuple[FilterRule, ...]] = {}
        self.own: Node | None = None
        self.dns = DnsConfig()

    def take(self, update: MapUpdate, unix_now: float, *, is_first: bool = False) -> None:
        if is_first:
            self.peers, self.filters = {}, {}
        self.own, self.dns = update.node or self.own, update.dns or self.dns
        if update.peers:
            self.peers = {peer.id: peer for peer in update.peers}
        else:
            self._change_peers(update, unix_now)
        if update.packet_filter is not None:
            self.filters["base"] = update.packet_filter
        if update.packet_filters.get("*", ()) is None:
            self.filters.clear()
        for name, rules in update.packet_filters.items():
            self.filters[name] = rules or ()

    def _change_peers(self, update: MapUpdate, unix_now: float) -> None:
        for number in update.peers_removed:
            self.peers.pop(number, None)
        self.peers.update((peer.id, peer) for peer in update.peers_changed)
        patches: list[tuple[int, dict[str, Any]]] = []
        patches += [(number, {"last_seen": unix_now if seen else None}) for number, seen in update.peers_seen.items()]
        patches += [(number, {"online": online}) for number, online in update.online.items()]
        patches += [(change.node_id, dict(change.fields)) for change in update.patches]
        for number, fields in patches:
            if number in self.peers:
                self.peers[number] = attrs.evolve(self.peers[number], **fields)

    def netmap(self, control_now: float) -> NetMap:
        assert self.own is not None
        rules = tuple(rule for name in sorted(self.filters) for rule in self.filters[name])
        peers = {number: shown(peer, control_now) for number, peer in self.peers.items()}
        return NetMap(self.own, peers, packet_filter=rules, dns=self.dns)


def shown(peer: Node, control_now: float) -> Node:
    if not peer.expired and (peer.key_expiry is None or peer.key_expiry > control_now):
        return peer
    return attrs.evolve(peer, key=NodeKey(SPOILED + peer.key[6:]), expired=True, endpoints=(), home_region=0)


def by_id(netmap: NetMap) -> list[Node]:
    return [netmap.peers[number] for number in sorted(netmap.peers)]


def resolve(netmap: NetMap, name: str) -> tuple[Any, ...]:
    suffix = netmap.self_node.name.partition(".")[2]
    for node in (netmap.self_node, *by_id(netmap)):
        if name in names_of(node, suffix):
            return node.ips
    return tuple(ip_address(record.value) for record in netmap.dns.extra_records if record.name == name)


def owner(netmap: NetMap, address: Any) -> Node | None:
    if address in netmap.self_node.ips:
        return netmap.self_node
    peers = [peer for peer in by_id(netmap) if address in peer.ips]
    lets_in = [peer for peer in peers if routed(peer, address)]
    return next(iter(lets_in or peers), None)


def routed(peer: Node, address: Any) -> bool:
    return not peer.expired and any(address.packed == prefix[:-1] for prefix in own_prefixes(peer))


def key_of(netmap: NetMap, address: Any) -> NodeKey | None:
    if address in netmap.self_node.ips:
        return None
    return next((peer.key for peer in by_id(netmap) if routed(peer, address)), None)


def live(netmap: NetMap) -> dict[NodeKey, Node]:
    return {peer.key: peer for peer in reversed(by_id(netmap)) if not peer.expired}


# --- the comparison ---------------------------------------------------------------------------------------------


def check(node: RunningNode, netmap: NetMap) -> None:
    """netmap: what the twins say."""
    view = node.view
    assert view is not None
    for field in ("self_node", "peers", "dns", "packet_filter"):
        mine, theirs = getattr(view.netmap, field), getattr(netmap, field)
        assert (mine or ()) == (theirs or ()), field
    names = {name for text in NAMES for name in (text.lower(), text.lower().partition(".")[0])}
    new_names, new_whois = Names(netmap), Whois(netmap)
    for name in (*names, "us", "wiki.corp.test"):
        assert view.names.resolve(name) == resolve(netmap, name) == new_names.resolve(name), name
    for address in ADDRESSES:
        assert view.whois.node(address) == owner(netmap, address) == new_whois.node(address), address
        assert node.engine.peers.routes.lookup(address.packed) == key_of(netmap, address), address
    for key in KEYS:
        assert view.whois.node(key) == next((peer for peer in by_id(netmap) if peer.key == key), None)
    check_data_path(node, netmap)


def check_data_path(node: RunningNode, netmap: NetMap) -> None:
    engine, peers = node.engine, live(netmap)
    assert set(engine.device.peers) == peers.keys()
    assert engine.peers.jailed == {key for key, peer in peers.items() if peer.is_jailed}
    assert {key: engine.peers.get(key) for key in KEYS} == {key: peers.get(key) for key in KEYS}
    for key in KEYS:
        assert engine.paths.route(key) == way(key, peers.get(key)), key
    assert set(engine.paths._senders) == {peer.disco_key for peer in peers.values()} - {None}
    assert {*engine.stack.addresses} == {*netmap.self_node.ips}
    fresh = bare()
    fresh.engine.apply(Changes.between(None, netmap), NOW)
    for source in ADDRESSES:
        for ours in OWN:
            if source.version == ours.version:
                packet = tcp(str(source), str(ours.network_address), 81)
                mine, theirs = engine.packet_filter.verdict(packet), fresh.engine.packet_filter.verdict(packet)
                assert mine == theirs


def way(key: NodeKey, peer: Node | None) -> object:
    if peer is None:
        return None
    if peer.is_wireguard_only:
        return peer.endpoints[0] if peer.endpoints else None
    return DerpAddress(peer.home_region, key) if peer.home_region else None


def check_facts(found: list[facts.Fact], before: NetMap, after: NetMap) -> None:
    """What an application is told is what differs."""
    left = {number for number in before.peers if number not in after.peers}
    come = {number for number in after.peers if number not in before.peers}
    changed = {
        number for number, peer in after.peers.items() if number in before.peers and peer != before.peers[number]
    }
    assert {fact.peer.id for fact in found if isinstance(fact, facts.PeerLeft)} == left
    assert {fact.peer.id for fact in found if isinstance(fact, facts.PeerAppeared)} == come
    pairs = [(fact.before, fact.peer) for fact in found if isinstance(fact, facts.PeerChanged)]
    assert sorted(peer.id for _, peer in pairs) == sorted(changed)
    assert all(before.peers[peer.id] == old and after.peers[peer.id] == peer for old, peer in pairs)


def sequence(seed: int) -> None:
    chance = random.Random(seed)
    node, twin, now, offset = bare(), Told(), NOW, WALL - NOW
    session = MapSession(DiscoKey(bytes(32)), offset)
    before: NetMap | None = None
    for step in range(STEPS):
        is_first = step == 0 or chance.random() < 0.1
        now += chance.choice([0.0, 1.0, 40.0])
        if chance.random() < 0.1:
            offset = WALL - NOW + chance.choice([-200.0, 0.0, 100.0])
            session.set_wall_offset(offset, now)
        if is_first:
            session.begin()
        update = whole(chance) if is_first else delta(chance)
        session.apply(update, now)
        twin.take(update, now + offset, is_first=is_first)
        for fact in session.take_facts():
            assert isinstance(fact, told.NetMapChanged)
            node.word.tell(fact, now)
            assert not node.adoption.is_under_way, "a small change takes no turn of its own"
        after = twin.netmap(now + offset)
        check(node, after)
        if before is not None:
            check_facts(node.take_facts(), before, after)
        node.take_facts()
        before = after


@pytest.mark.parametrize("first", range(0, SEQUENCES, A_CASE))
def test_a_node_that_heard_deltas_is_one_that_heard_the_whole(first: int) -> None:
    sequences(first, A_CASE)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", range(SEQUENCES, SEQUENCES + MORE, A_LONG_CASE))
def test_many_more_sequences(first: int) -> None:
    sequences(first, A_LONG_CASE)


def sequences(first: int, count: int) -> None:
    for seed in range(first, first + count):
        try:
            sequence(seed)
        except BaseException:
            print(f"seed {seed}")
            raise
