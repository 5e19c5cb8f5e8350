"""Paths: which destination each peer has, after every kind of news; and which disco messages are answered."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import Any

import pytest

from tsnet.base.addresses import DerpAddress, Destination, UdpAddress
from tsnet.base.crypto import disco_public, node_public
from tsnet.base.keys import DiscoPrivateKey, NodeKey, NodePrivateKey
from tsnet.disco.box import Box
from tsnet.disco.changes import RoutesChanged
from tsnet.disco.constants import MAX_ANSWERS
from tsnet.disco.derproutes import DERP_IDLE_CLOSE
from tsnet.disco.messages import CallMeMaybe, Message, Ping, Pong, decode
from tsnet.disco.paths import Paths
from tsnet.netmap.model import Node

BUDGET = 1 << 20
OURS = DiscoPrivateKey(b"\x01" * 32)
KEYS = {name: node_public(NodePrivateKey(bytes([number]) * 32)) for number, name in enumerate("abcd", start=10)}
DISCO = {name: DiscoPrivateKey(bytes([number]) * 32) for number, name in enumerate("abcd", start=20)}
A, B = KEYS["a"], KEYS["b"]
UDP, OTHER_UDP = UdpAddress("192.0.2.1", 51_820), UdpAddress("198.51.100.7", 1234)


def entropy(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def node(name: str, **fields: Any) -> Node:
    fields.setdefault("home_region", 1)
    number = ord(name)
    return Node(number, f"n{number}", name, KEYS[name], disco_key=disco_public(DISCO[name]), **fields)


def set_peers(paths: Paths, nodes: Iterable[Node], now: float) -> list[bytes]:
    """The netmap's peers, all of them."""
    known: dict[bytes, Node | None] = dict.fromkeys(paths._nodes)
    return paths.update_peers((known | {node.key: node for node in nodes}).items(), now)


def new_paths(*nodes: Node) -> Paths:
    paths = Paths(OURS, entropy=entropy)
    set_peers(paths, nodes or [node("a")], 0.0)
    return paths


def via(region: int, key: NodeKey = A) -> DerpAddress:
    return DerpAddress(region, key)


# --- routes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("home", [0, 1])
@pytest.mark.parametrize("learnt", [0, 2])
@pytest.mark.parametrize("connected", [(), (1,), (2,), (1, 2)])
def test_every_row_of_the_table(home: int, learnt: int, connected: tuple[int, ...]) -> None:
    paths = new_paths(node("a", home_region=home))
    for region in connected:
        paths.connected(region, 0.0)
    if learnt:
        paths.authenticated(A, via(learnt), 0.0)
    if home in connected:
        expected = home
    elif learnt:
        expected = learnt
    else:
        expected = home
    assert paths.route(A) == (via(expected) if expected else None)


def test_what_has_changed_is_told_once_and_the_routes_stay_the_same_tuple_until_then() -> None:
    paths = new_paths(node("a", home_region=1), node("b", home_region=1))
    assert not paths.is_rerouted
    routes = paths.routes(A)
    assert (routes, paths.routes(B)) == ((via(1),), (via(1, B),))
    paths.connected(1, 0.0)
    paths.authenticated(A, via(2), 0.0)
    set_peers(paths, [node("a", home_region=1), node("b", home_region=1)], 0.0)
    assert paths.routes(A) is routes
    assert paths.take_changes() == []
    paths.disconnected(1, 0.0)
    assert paths.is_rerouted
    assert paths.take_changes() == [RoutesChanged(A, (via(1),), (via(2),), "a relay is lost")]
    assert not paths.is_rerouted
    set_peers(paths, [node("a", home_region=1)], 0.0)
    assert paths.take_changes() == [RoutesChanged(B, (via(1, B),), (), "it is no peer any more")]
    assert paths.routes(B) == ()


def test_of_several_changes_the_first_and_the_last_routes_are_told() -> None:
    paths = new_paths(node("a", home_region=1))
    paths.routes(A)
    set_peers(paths, [node("a", home_region=2)], 1.0)
    set_peers(paths, [node("a", home_region=3)], 1.0)
    assert paths.take_changes() == [RoutesChanged(A, (via(1),), (via(3),), "control says so")]
    set_peers(paths, [node("a", home_region=2)], 1.0)
    set_peers(paths, [node("a", home_region=3)], 1.0)
    assert paths.take_changes() == []


def test_a_peer_that_nobody_asked_for_costs_no_route_and_no_news() -> None:
    paths = new_paths(*map(node, "abcd"))
    set_peers(paths, [node(name, home_region=2) for name in "abcd"], 1.0)
    paths.connected(2, 1.0)
    assert (paths._routes, len(paths._directs), paths.take_changes()) == ({}, 0, [])
    assert paths.deadline() == math.inf


def test_an_unknown_peer_has_no_route_and_teaches_none() -> None:
    paths = new_paths()
    assert paths.route(B) is None
    assert not paths.authenticated(B, via(2, B), 0.0)
    paths.peer_gone(2, B)
    assert paths.route(B) is None


def test_a_learnt_route_ends_with_peer_gone_there_and_nowhere_else() -> None:
    paths = new_paths(node("a", home_region=1))
    paths.connected(2, 0.0)
    paths.authenticated(A, via(2), 0.0)
    paths.peer_gone(1, A)
    assert paths.route(A) == via(2)
    paths.peer_gone(2, A)
    assert paths.route(A) == via(1)


def test_a_silent_relay_is_passed_by_and_that_is_told() -> None:
    paths = new_paths(node("a", home_region=1))
    for region in (1, 2):
        paths.connected(region, 0.0)
    paths.authenticated(A, via(2), 0.0)
    assert paths.route(A) == via(1)
    paths.doubted(1, True)
    paths.doubted(1, False)
    assert paths.take_changes() == []
    paths.doubted(1, True)
    (change,) = paths.take_changes()
    assert (change.after, change.why) == ((via(2),), "a relay is silent")


def test_peer_gone_leaves_the_home() -> None:
    paths = new_paths()
    paths.connected(1, 0.0)
    paths.peer_gone(1, A)
    assert paths.route(A) == via(1)


def test_all_learnt_routes_of_a_connection_end_with_it() -> None:
    paths = new_paths(node("a", home_region=0), node("b", home_region=3))
    paths.connected(2, 0.0)
    paths.authenticated(A, via(2), 0.0)
    paths.authenticated(B, via(2, B), 0.0)
    paths.disconnected(2, 1.0)
    assert (paths.route(A), paths.route(B)) == (None, via(3, B))
    paths.connected(2, 2.0)
    assert (paths.route(A), paths.route(B)) == (None, via(3, B))


def test_a_peer_that_moved_home_is_reached_at_the_new_one() -> None:
    paths = new_paths(node("a", home_region=1))
    paths.connected(1, 0.0)
    set_peers(paths, [node("a", home_region=5)], 1.0)
    assert paths.route(A) == via(5)
    paths.authenticated(A, via(1), 2.0)
    assert paths.route(A) == via(1)
    paths.connected(5, 3.0)
    assert paths.route(A) == via(5)


def test_a_gone_peer_has_no_route_and_a_returning_one_starts_afresh() -> None:
    paths = new_paths(node("a", home_region=0))
    paths.connected(2, 0.0)
    paths.authenticated(A, via(2), 0.0)
    set_peers(paths, [], 1.0)
    assert paths.route(A) is None
    set_peers(paths, [node("a", home_region=0)], 2.0)
    assert paths.route(A) is None


def test_who_gains_a_first_path_is_told_once() -> None:
    paths = Paths(OURS, entropy=entropy)
    assert set_peers(paths, [node("a", home_region=0), node("b", home_region=1)], 0.0) == []
    assert (paths.routes(A), paths.routes(B)) == ((), (via(1, B),))
    assert set_peers(paths, [node("a", home_region=2), node("b", home_region=2)], 1.0) == [A]
    assert set_peers(paths, [node("a", home_region=0), node("b", home_region=2)], 2.0) == []
    assert paths.authenticated(A, via(2), 3.0)
    assert not paths.authenticated(A, via(2), 4.0)
    assert not paths.authenticated(B, via(2, B), 4.0)


# --- fixed endpoints --------------------------------------------------------------------------------------------


def wireguard_only(*endpoints: UdpAddress) -> Node:
    return node("a", is_wireguard_only=True, home_region=0, endpoints=endpoints)


def test_a_wireguard_only_peer_is_at_its_endpoint_and_roams() -> None:
    paths = new_paths(wireguard_only(UDP))
    assert paths.route(A) == UDP
    assert not paths.authenticated(A, OTHER_UDP, 1.0)
    assert paths.route(A) == OTHER_UDP
    set_peers(paths, [wireguard_only(UDP)], 2.0)
    assert paths.route(A) == OTHER_UDP


def test_a_new_endpoint_from_control_ends_the_roaming() -> None:
    paths = new_paths(wireguard_only(UDP))
    paths.authenticated(A, OTHER_UDP, 1.0)
    third = UdpAddress("203.0.113.3", 3)
    set_peers(paths, [wireguard_only(third)], 2.0)
    assert paths.route(A) == third


def test_a_wireguard_only_peer_with_several_endpoints_is_where_it_answers_first() -> None:
    other = UdpAddress("192.0.2.77", 51820)
    paths = new_paths(wireguard_only(UDP, other))
    assert paths.routes(A) == (UDP, other)
    assert not paths.authenticated(A, other, 1.0)
    assert paths.routes(A) == (other,)
    paths.take_changes()
    paths.handshake_unanswered(A, 20.0)
    assert paths.routes(A) == (UDP, other)
    (change,) = paths.take_changes()
    assert change.why == "it does not answer there any more"
    paths.handshake_unanswered(A, 25.0)
    assert not paths.is_rerouted


def test_a_wireguard_only_peer_without_endpoint_is_where_it_spoke_from() -> None:
    paths = new_paths(wireguard_only())
    assert paths.route(A) is None
    assert paths.authenticated(A, UDP, 1.0)
    assert paths.route(A) == UDP


def test_a_relay_is_no_path_to_a_wireguard_only_peer() -> None:
    paths = new_paths(wireguard_only(UDP))
    paths.connected(1, 0.0)
    paths.authenticated(A, via(1), 1.0)
    assert paths.route(A) == UDP


def test_any_other_peer_is_not_followed_to_a_udp_address() -> None:
    paths = new_paths(node("a", endpoints=(UDP,)))
    assert not paths.authenticated(A, UDP, 1.0)
    assert paths.route(A) == via(1)


def test_a_peer_may_change_its_kind() -> None:
    paths = new_paths(wireguard_only(UDP))
    set_peers(paths, [node("a", home_region=4, endpoints=(UDP,))], 1.0)
    assert paths.route(A) == via(4)
    set_peers(paths, [wireguard_only(UDP)], 2.0)
    assert paths.route(A) == UDP


# --- regions ----------------------------------------------------------------------------------------------------


def test_the_home_is_wanted_for_good_and_others_for_a_minute_after_the_last_write() -> None:
    paths = new_paths()
    assert paths.regions_wanted(0.0) == set()
    paths.set_home(3, 0.0)
    paths.wrote(5, 1.0)
    paths.wrote(5, 2.0)
    assert paths.regions_wanted(2.0) == {3, 5}
    assert paths.deadline() == 2.0 + DERP_IDLE_CLOSE
    assert paths.regions_wanted(61.9) == {3, 5}
    assert paths.regions_wanted(62.0) == {3}
    assert paths.transmit(62.0, BUDGET) == []
    assert paths.deadline() == math.inf


def test_the_old_home_stays_a_minute() -> None:
    paths = new_paths()
    paths.set_home(3, 0.0)
    paths.set_home(3, 5.0)
    assert paths.deadline() == math.inf
    paths.set_home(4, 10.0)
    assert paths.regions_wanted(69.9) == {3, 4}
    assert paths.regions_wanted(70.0) == {4}


# --- disco ------------------------------------------------------------------------------------------------------


def datagram(message: Message, sender: str = "a", *, nonce: int = 0) -> bytes:
    return Box(DISCO[sender], lambda size: bytes([nonce]) * size).seal(disco_public(OURS), message.encode())


def ping(number: int, sender: str = "a") -> bytes:
    return datagram(Ping(bytes([number]) * 12, KEYS[sender]), sender)


def answers(paths: Paths) -> list[tuple[Destination, Message]]:
    opened: list[tuple[Destination, Message]] = []
    for destination, datagrams in paths.transmit(0.0, BUDGET):
        assert isinstance(destination, DerpAddress)
        name = next(name for name, key in KEYS.items() if key == destination.key)
        opened += [(destination, decode(Box(DISCO[name], entropy).open(sealed))) for sealed in datagrams]
    return opened


def test_a_ping_over_derp_is_answered_over_derp_with_the_magic_address() -> None:
    paths = new_paths(node("a"), node("b"))
    paths.receive([(via(900), [ping(1)]), (via(901, B), [ping(2, "b")])], 0.0)
    assert paths.deadline() <= 0.0
    assert answers(paths) == [
        (via(900), Pong(b"\1" * 12, UdpAddress("127.3.3.40", 900))),
        (via(901, B), Pong(b"\2" * 12, UdpAddress("127.3.3.40", 901))),
    ]
    assert paths.deadline() > 0.0
    assert not paths.dropped


def test_a_padded_ping_and_one_without_a_key_are_answered_too() -> None:
    paths = new_paths()
    paths.receive([(via(1), [datagram(Ping(b"1" * 12, A, 1000)), datagram(Ping(b"2" * 12))])], 0.0)
    assert len(answers(paths)) == 2


REFUSED: list[tuple[str, Destination, bytes]] = [
    ("short", via(1), b"TS\xf0\x9f\x92\xac" + bytes(31)),
    ("unknown sender", via(1), ping(1, "d")),
    ("box", via(1), ping(1)[:-1] + b"\0"),
    ("box", via(1), ping(1)[:60]),
    ("malformed", via(1), Box(DISCO["a"], entropy).seal(disco_public(OURS), b"\x7f\0")),
    ("source", UdpAddress("127.0.0.1", 41641), ping(1)),
    ("small", UDP, datagram(Ping(b"1" * 12))),
    ("unknown pong", UDP, datagram(Pong(bytes(12), UDP))),
    ("CallMeMaybe", UDP, datagram(CallMeMaybe((OTHER_UDP,)))),
    ("wrong node", via(1, B), ping(1)),
    ("wrong node", via(1, KEYS["d"]), ping(1)),
    ("Pong", via(1), datagram(Pong(bytes(12), UDP))),
]


@pytest.mark.parametrize(("reason", "source", "sealed"), REFUSED)
def test_everything_else_is_counted_by_its_reason(reason: str, source: Destination, sealed: bytes) -> None:
    paths = new_paths(node("a"), node("b"))
    paths.receive([(source, [sealed])], 0.0)
    assert paths.dropped == {reason: 1}
    assert paths.transmit(0.0, BUDGET) == []


def test_a_strangers_key_costs_no_cryptography() -> None:
    paths = new_paths()
    paths.receive([(via(1), [ping(1, "d")] * 3)], 0.0)
    assert paths.box._shared == {}


def test_the_same_ping_is_answered_once() -> None:
    paths = new_paths()
    paths.receive([(via(1), [ping(1), ping(1), ping(2), ping(2)])], 0.0)
    assert len(answers(paths)) == 2
    assert paths.dropped == {"repeated": 2}


def test_a_flood_of_pings_is_bounded() -> None:
    paths = new_paths()
    paths.receive([(via(1), [ping(number) for number in range(MAX_ANSWERS + 6)])], 0.0)
    assert paths.dropped == {"answers": 6}
    assert len(answers(paths)) == MAX_ANSWERS


def test_the_budget_cuts_between_answers() -> None:
    paths = new_paths()
    paths.receive([(via(1), [ping(number) for number in range(5)])], 0.0)
    size = len(paths.transmit(0.0, 120)[0][1][0])
    assert len(paths.transmit(0.0, 2 * size)) == 2
    assert paths.deadline() <= 0.0
    assert len(paths.transmit(0.0, BUDGET)) == 2
    assert paths.deadline() > 0.0


def test_a_peer_with_a_new_disco_key_is_known_by_that_alone() -> None:
    paths = new_paths()
    replaced = Node(1, "n1", "a", A, disco_key=disco_public(DISCO["c"]), home_region=1)
    set_peers(paths, [replaced], 1.0)
    paths.receive([(via(1), [ping(1)]), (via(1), [datagram(Ping(b"x" * 12), "c")])], 1.0)
    assert paths.dropped == {"unknown sender": 1}


@pytest.mark.parametrize("seed", range(5))
def test_random_and_flipped_datagrams_never_raise(seed: int) -> None:
    rng = random.Random(seed)
    paths = new_paths()
    for _ in range(200):
        sealed = bytearray(ping(1))
        sealed[rng.randrange(len(sealed))] ^= 1 << rng.randrange(8)
        paths.receive([(via(1), [bytes(sealed), rng.randbytes(rng.randrange(200))])], 0.0)
    assert sum(paths.dropped.values()) == 400


# --- what the owner tells and takes -----------------------------------------------------------------------------


def test_it_is_active_for_a_while_after_the_last_send() -> None:
    paths = new_paths()
    assert not paths.is_active(0.0)
    paths.sent(A, 1.0)
    assert paths.is_active(45.9)
    assert not paths.is_active(46.0)


def test_a_disco_key_that_the_peer_told_is_known() -> None:
    paths = new_paths()
    paths.learn_disco_key(A, disco_public(DISCO["c"]), 1.0)
    paths.receive([(via(1), [datagram(Ping(b"x" * 12), "c")])], 1.0)
    assert not paths.dropped
