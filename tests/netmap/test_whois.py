"""Who is behind an address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import attrs
import pytest

from tsnet.base.keys import NodeKey
from tsnet.netmap.changes import Changes
from tsnet.netmap.filterrules import FilterRules
from tsnet.netmap.model import CapGrant, FilterRule, NetMap, Node, UserProfile
from tsnet.netmap.whois import INGRESS, TAGGED_DEVICES, Peer, Whois

DEBUG = "https://tailscale.com/cap/debug-peer"
ALICE = UserProfile(1, "alice@example.com", "Alice")
BOB = UserProfile(2, "bob@example.com", "Bob")


def node(number: int, name: str, **fields: object) -> Node:
    addresses = (ip_network(f"100.64.0.{number}"), ip_network(f"fd7a:115c:a1e0::{number:x}"))
    base = Node(number, f"n{number}", name, NodeKey(bytes([number]) * 32), user=1, addresses=addresses)
    return attrs.evolve(base, **fields)  # type: ignore[arg-type]


US = node(1, "shop.tail.example")
WEB = node(2, "web.tail.example", tags=("tag:web",), user=7)
SHARED = node(3, "laptop.other.example", user=1, sharer=2, allowed_ips=(ip_network("10.0.0.0/8"),))
STRANGER = node(4, "ghost.tail.example", user=99)
INGRESS_NODE = node(5, "ingress.example", unsigned_peer_api_only=True)
GRANTS = (
    CapGrant((ip_network("100.64.0.1"),), {DEBUG: ({"level": 4},), INGRESS: ()}),
    CapGrant((ip_network("fd7a:115c:a1e0::/48"),), {DEBUG: ({"level": 6},)}),
)
NETMAP = NetMap(
    US,
    {peer.id: peer for peer in (WEB, SHARED, STRANGER, INGRESS_NODE)},
    {1: ALICE, 2: BOB},
    packet_filter=(FilterRule(("*",), grants=GRANTS),),
)
WHOIS = Whois(NETMAP, FilterRules(NETMAP.packet_filter or ()))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (IPv4Address("100.64.0.2"), WEB),
        (IPv6Address("fd7a:115c:a1e0::2"), WEB),
        (IPv6Address("::ffff:100.64.0.2"), WEB),
        (bytes([100, 64, 0, 1]), US),
        (IPv6Address("fd7a:115c:a1e0::3").packed, SHARED),
        (SHARED.key, SHARED),
        (IPv4Address("100.64.0.9"), None),
        (IPv4Address("10.1.1.1"), None),  # a route is not an identity
        (NodeKey(bytes([9]) * 32), None),
    ],
)
def test_a_node_is_found_by_its_own_addresses(address: IPv4Address | bytes, expected: Node | None) -> None:
    assert WHOIS.node(address) is expected


def test_a_peer_in_the_applications_words() -> None:
    addresses = (ip_address("100.64.0.1"), ip_address("fd7a:115c:a1e0::1"))
    assert WHOIS.peer(addresses[0]) == Peer("shop", addresses, "alice@example.com", "Alice", ())


def test_a_tagged_node_has_no_user() -> None:
    peer = WHOIS.peer(WEB.ips[0])
    assert peer is not None
    assert (peer.user_login, peer.tags) == ("tagged-devices", ("tag:web",))
    identity = WHOIS.identify(WEB.ips[0])
    assert identity is not None
    assert identity.user == TAGGED_DEVICES


def test_a_shared_node_shows_its_sharer_and_its_whole_name() -> None:
    peer = WHOIS.peer(SHARED.ips[0])
    assert peer is not None
    assert (peer.name, peer.user_login) == ("laptop.other.example", "bob@example.com")


def test_an_address_of_nobody() -> None:
    assert WHOIS.peer(IPv4Address("8.8.8.8")) is None
    assert WHOIS.identify(IPv4Address("8.8.8.8")) is None


def test_a_user_control_never_introduced() -> None:
    assert WHOIS.identify(STRANGER.ips[0]) is None
    peer = WHOIS.peer(STRANGER.ips[0])
    assert peer is not None
    assert (peer.name, peer.user_login, peer.user_name) == ("ghost", "", "")


def test_capabilities_are_those_of_the_first_address_unless_a_destination_is_given() -> None:
    identity = WHOIS.identify(SHARED.ips[1])
    assert identity is not None
    assert identity.capabilities == {DEBUG: ({"level": 4},), INGRESS: ()}
    identity = WHOIS.identify(SHARED.ips[0], destination=US.ips[1])
    assert identity is not None
    assert identity.capabilities == {DEBUG: ({"level": 6},)}


def test_a_peer_outside_the_lock_keeps_ingress_only() -> None:
    identity = WHOIS.identify(INGRESS_NODE.ips[0])
    assert identity is not None
    assert identity.capabilities == {INGRESS: ()}


def test_no_rules_or_no_addresses_no_capabilities() -> None:
    identity = Whois(NETMAP).identify(SHARED.ips[0])
    assert identity is not None
    assert identity.capabilities == {}
    bare = attrs.evolve(SHARED, addresses=())
    identity = Whois(attrs.evolve(NETMAP, peers={3: bare})).identify(bare.key)
    assert identity is not None
    assert identity.capabilities == {}


# --- after a change ---------------------------------------------------------------------------------------------


def test_after_a_change_the_answers_are_of_the_new_netmap() -> None:
    renamed = attrs.evolve(WEB, name="new.tail.example")
    after = attrs.evolve(NETMAP, peers={**NETMAP.peers, 2: renamed}, users={1: BOB})
    whois = WHOIS.after(Changes.between(NETMAP, after), WHOIS._rules)
    assert whois.node(WEB.key) is whois.node(WEB.ips[0]) is renamed
    assert whois._by_address is WHOIS._by_address
    assert WHOIS.node(WEB.key) is WEB


@pytest.mark.parametrize("fields", [{"expired": True}, {"allowed_ips": ()}])
def test_of_two_with_one_address_the_one_that_packets_come_from(fields: dict[str, object]) -> None:
    both = {number: node(2, "x", id=number, allowed_ips=WEB.addresses) for number in (2, 6)}
    assert Whois(attrs.evolve(NETMAP, peers=both)).node(WEB.ips[0]) is both[2]
    both[2] = attrs.evolve(both[2], **fields)  # type: ignore[arg-type]
    assert Whois(attrs.evolve(NETMAP, peers=both)).node(WEB.ips[0]) is both[6]
