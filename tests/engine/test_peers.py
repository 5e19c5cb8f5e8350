"""Peers by key and by address, when ids, keys and prefixes do not go together. Random ones: tests/test_deltas.py."""

from __future__ import annotations

from ipaddress import ip_network

import attrs
import pytest

from tests.engine.pair import A4, A6, B4, netmap, node
from tsnet.engine.peers import KeyChange, Peers
from tsnet.netmap.changes import Changes
from tsnet.netmap.model import Node

SELF, A, B = node(9, "self"), node(1, "a"), node(2, "b")


def apply(peers: Peers, *nodes: Node) -> list[KeyChange]:
    return peers.apply(Changes.between(peers.netmap, netmap(SELF, *nodes)))


@pytest.fixture
def peers() -> Peers:
    peers = Peers()
    assert apply(peers, A, B) == [KeyChange(A.key, None, A), KeyChange(B.key, None, B)]
    return peers


def test_a_peer_is_found_by_its_key_and_by_its_addresses(peers: Peers) -> None:
    assert peers.get(A.key) is A
    assert peers.get(SELF.key) is None
    assert [peers.routes.lookup(address.packed) for address in (A4, A6, B4)] == [A.key, A.key, B.key]


def test_our_own_address_is_no_peers_whenever_it_becomes_ours(peers: Peers) -> None:
    """tests/test_hostile_control.py: a control server may give it to a peer."""
    for ours in (attrs.evolve(SELF, addresses=A.addresses), SELF):
        peers.apply(Changes.between(peers.netmap, netmap(ours, A, B)))
        owner = A.key if ours is SELF else None
        assert [peers.routes.lookup(address.packed) for address in (A4, A6)] == [owner, owner]
        assert peers.routes.lookup(B4.packed) == B.key
    claims_ours = attrs.evolve(B, addresses=SELF.addresses, allowed_ips=SELF.addresses)
    apply(peers, A, claims_ours)
    assert [peers.routes.lookup(own.packed) for own in SELF.ips] == [None] * len(SELF.ips)


def test_who_has_left_is_told_first(peers: Peers) -> None:
    changed = attrs.evolve(A, online=True)
    assert apply(peers, changed) == [KeyChange(B.key, B, None), KeyChange(A.key, A, changed)]
    assert peers.routes.lookup(B4.packed) is None


def test_a_new_key_of_a_peer_takes_its_addresses_along(peers: Peers) -> None:
    changed = attrs.evolve(A, key=SELF.key)
    assert apply(peers, changed, B) == [KeyChange(A.key, A, None), KeyChange(SELF.key, None, changed)]
    assert peers.routes.lookup(A4.packed) == SELF.key


def test_an_expired_peer_is_none_until_its_key_is_extended(peers: Peers) -> None:
    assert apply(peers, A, attrs.evolve(B, expired=True)) == [KeyChange(B.key, B, None)]
    assert peers.routes.lookup(B4.packed) is None
    assert apply(peers, A, B) == [KeyChange(B.key, None, B)]
    assert peers.routes.lookup(B4.packed) == B.key


def test_of_two_with_one_address_the_other_has_it_when_the_first_goes(peers: Peers) -> None:
    both = attrs.evolve(B, addresses=A.addresses, allowed_ips=A.allowed_ips)
    apply(peers, A, both)
    assert peers.routes.lookup(A4.packed) == A.key
    assert apply(peers, both) == [KeyChange(A.key, A, None)]
    assert peers.routes.lookup(A4.packed) == B.key


def test_of_two_with_one_key_the_other_has_it_when_the_first_goes(peers: Peers) -> None:
    same = attrs.evolve(B, key=A.key)
    assert apply(peers, A, same) == [KeyChange(B.key, B, None)]
    assert peers.routes.lookup(B4.packed) == A.key
    assert apply(peers, same) == [KeyChange(A.key, A, same)]


def test_jailed_peers_come_and_go(peers: Peers) -> None:
    jailed = peers.jailed
    apply(peers, attrs.evolve(A, is_jailed=True), B)
    assert jailed == {A.key}
    apply(peers, A, B)
    assert jailed == set()
    apply(peers, attrs.evolve(A, is_jailed=True), B)
    apply(peers, B)
    assert jailed is peers.jailed == set()


def test_capabilities_are_of_the_peer_whose_own_address_it_is() -> None:
    peers = Peers()
    assert peers.capabilities_of(A4.packed) == frozenset()
    routed = (*A.allowed_ips, ip_network("10.0.0.0/8"))
    apply(peers, attrs.evolve(A, capabilities={"blue": ()}, allowed_ips=routed))
    assert peers.capabilities_of(A4.packed) == {"blue"}
    assert peers.capabilities_of(bytes([10, 0, 0, 1])) == frozenset(), "what lies behind a peer is not the peer"
    apply(peers, attrs.evolve(A, capabilities={"blue": ()}, unsigned_peer_api_only=True))
    assert peers.capabilities_of(A4.packed) == frozenset()
