"""RelayGrants: which peers control grants us as relays, and that only what changed is looked at."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import attrs
import pytest

from tests.engine.pair import node
from tsnet.disco.peerrelays import RELAY_CAPABLE
from tsnet.engine.relaygrants import RELAY_TARGET, RelayGrants
from tsnet.netmap.changes import Changes
from tsnet.netmap.model import CapGrant, FilterRule, NetMap, Node
from tsnet.netmap.packetfilter import PacketFilter

OURS = ip_network("100.64.0.1/32"), ip_network("fd7a:115c:a1e0::1/128")


def grant(*sources: str, to: Any = OURS, name: str = RELAY_TARGET) -> FilterRule:
    return FilterRule(sources, grants=(CapGrant(tuple(to), {name: ()}),))


def peer(number: int, **more: Any) -> Node:
    return node(number, f"peer{number}", **{"capability_version": RELAY_CAPABLE, **more})


class Told:
    """Netmaps, one after the other, as the engine gives them to its rooms."""

    def __init__(self) -> None:
        self.grants, self.filter = RelayGrants(), PacketFilter()
        self.netmap: NetMap | None = None

    def __call__(self, rules: tuple[FilterRule, ...], *peers: Node) -> bool:
        netmap = NetMap(self_node=node(1, "us"), peers={each.id: each for each in peers}, packet_filter=rules)
        changes = Changes.between(self.netmap, netmap)
        self.netmap = netmap
        self.filter.apply(changes)
        return self.grants.apply(changes, self.filter)


def test_a_peer_with_the_capability_towards_us_relays() -> None:
    told, two, three = Told(), peer(2), peer(3)
    assert told((grant("100.64.0.3", "fd7a:115c:a1e0::3"),), two, three)
    assert told.grants.relays == [three.raw_key]
    assert not told((grant("100.64.0.3", "fd7a:115c:a1e0::3"),), two, three)


@pytest.mark.parametrize(
    "rule",
    [
        grant("100.64.0.3", to=[ip_network("100.64.0.9/32")]),
        grant("100.64.0.3", name="tailscale.com/cap/relay"),
        grant("100.64.0.3", to=OURS[1:]),
    ],
)
def test_another_capability_another_node_or_another_family_is_no_grant(rule: FilterRule) -> None:
    told = Told()
    assert not told((rule,), peer(3))
    assert told.grants.relays == []


@pytest.mark.parametrize(
    "more", [{"capability_version": RELAY_CAPABLE - 1}, {"expired": True}, {"unsigned_peer_api_only": True}]
)
def test_who_cannot_relay(more: dict[str, Any]) -> None:
    told = Told()
    assert not told((grant("*"),), peer(3, **more))


def test_peers_come_change_and_go() -> None:
    told, rules = Told(), (grant("*"),)
    two, three = peer(2), peer(3)
    assert told(rules, two)
    assert told(rules, two, three)
    assert told.grants.relays == [two.raw_key, three.raw_key]
    assert not told(rules, two, attrs.evolve(three, online=True))
    assert told(rules, attrs.evolve(two, capability_version=1), three)
    assert told.grants.relays == [three.raw_key]
    assert told(rules)
    assert told.grants.relays == []


def test_a_grant_that_is_taken_back_and_given() -> None:
    told, three = Told(), peer(3)
    assert told((grant("*"),), three)
    assert told((), three)
    assert told.grants.relays == []
    assert told((grant("*"),), three)


def test_our_own_new_addresses_count() -> None:
    told, three = Told(), peer(3)
    told((grant("*", to=[ip_network("100.64.0.9/32")]),), three)
    assert told.grants.relays == []
    assert told.netmap is not None
    moved = attrs.evolve(told.netmap.self_node, addresses=(ip_network("100.64.0.9/32"),))
    changes = Changes.between(told.netmap, attrs.evolve(told.netmap, self_node=moved))
    told.filter.apply(changes)
    assert told.grants.apply(changes, told.filter)
    assert told.grants.relays == [three.raw_key]


def test_shields_up_keep_no_relay_away() -> None:
    told = Told()
    told.filter.set_shields_up(True)
    assert told((grant("*"),), peer(3))
