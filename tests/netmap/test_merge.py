from __future__ import annotations

from typing import Any

import attrs
import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.netmap.merge import DerpMapUpdate, MapUpdate, PeerChange, merge
from tsnet.netmap.model import DerpMap, DerpRegion, DnsConfig, FilterRule, NetMap, Node, UserProfile

NOW = 1_790_000_000.0


def node(number: int, **fields: Any) -> Node:
    return Node(id=number, stable_id=f"n{number}", name=f"n{number}.x", key=NodeKey(bytes([number]) * 32), **fields)


SELF = node(1)
ALLOW, DENY_ALL = (FilterRule(("*",)),), ()
BASE = NetMap(SELF, peers={2: node(2, online=True), 3: node(3)}, users={1: UserProfile(1, "u@e")})


def after(*updates: MapUpdate, base: NetMap | None = BASE) -> NetMap:
    netmap = base
    for update in updates:
        netmap = merge(netmap, update, NOW)
    assert netmap is not None
    return netmap


def test_the_first_message_must_bring_our_node() -> None:
    with pytest.raises(MalformedError):
        merge(None, MapUpdate(peers=(node(2),)), NOW)
    assert merge(None, MapUpdate(node=SELF), NOW) == NetMap(SELF)


def test_an_empty_update_changes_nothing() -> None:
    assert after(MapUpdate()) == BASE


def test_our_node_is_replaced_whole() -> None:
    assert after(MapUpdate(node=node(1, home_region=9))).self_node.home_region == 9


def test_what_went_in_is_left_as_it_was() -> None:
    before = attrs.evolve(BASE)
    after(MapUpdate(peers_removed=(2,), online={3: True}, users=(UserProfile(9, "z"),), domain="d"))
    assert before == BASE
    assert set(BASE.peers) == {2, 3}


@pytest.mark.parametrize(
    ("update", "peers"),
    [
        (MapUpdate(peers=()), {2, 3}),  # an empty list is no word about peers
        (MapUpdate(peers=(node(5),)), {5}),
        (MapUpdate(peers=(node(5),), peers_removed=(5,), peers_changed=(node(6),)), {5}),  # deltas beside it are void
        (MapUpdate(peers_removed=(2, 3)), set()),
        (MapUpdate(peers_removed=(9,)), {2, 3}),
        (MapUpdate(peers_changed=(node(4),)), {2, 3, 4}),
        (MapUpdate(peers_removed=(4,), peers_changed=(node(4),)), {2, 3, 4}),  # removal comes first
    ],
)
def test_lists_of_peers(update: MapUpdate, peers: set[int]) -> None:
    assert set(after(update).peers) == peers


def test_a_changed_peer_is_replaced_whole() -> None:
    assert after(MapUpdate(peers_changed=(node(2, home_region=5),))).peers[2] == node(2, home_region=5)


def test_seen_online_and_patches_come_in_this_order() -> None:
    update = MapUpdate(
        peers_changed=(node(2, online=True),),
        peers_seen={2: True, 3: False, 9: True},
        online={2: False, 9: True},
        patches=(PeerChange(2, {"online": True, "home_region": 7}), PeerChange(9, {"online": True})),
    )
    peers = after(update).peers
    assert peers[2] == node(2, online=True, last_seen=NOW, home_region=7)
    assert peers[3].last_seen is None
    assert set(peers) == {2, 3}


def test_not_seen_any_more() -> None:
    assert after(MapUpdate(peers_seen={2: True}), MapUpdate(peers_seen={2: False})).peers[2].last_seen is None


def test_a_patch_may_change_the_key_and_keeps_the_rest() -> None:
    change = PeerChange(2, {"key": NodeKey(b"\x09" * 32), "endpoints": (UdpAddress("1.2.3.4", 5),)})
    peer = after(MapUpdate(patches=(change,))).peers[2]
    assert (peer.key, peer.online, peer.name) == (NodeKey(b"\x09" * 32), True, "n2.x")


@pytest.mark.parametrize(
    ("updates", "expected"),
    [
        ([MapUpdate()], None),  # never told: deny
        ([MapUpdate(packet_filter=DENY_ALL)], ()),
        ([MapUpdate(packet_filter=ALLOW)], ALLOW),
        ([MapUpdate(packet_filter=ALLOW), MapUpdate()], ALLOW),
        ([MapUpdate(packet_filter=ALLOW), MapUpdate(packet_filter=DENY_ALL)], ()),
        ([MapUpdate(packet_filters={"base": ALLOW})], ALLOW),
        ([MapUpdate(packet_filter=ALLOW), MapUpdate(packet_filters={"*": None})], ()),
        ([MapUpdate(packet_filter=ALLOW), MapUpdate(packet_filters={"x": ALLOW, "*": None})], ALLOW),
        ([MapUpdate(packet_filter=ALLOW, packet_filters={"*": None})], ()),  # named ones are applied after
        ([MapUpdate(packet_filter=ALLOW), MapUpdate(packet_filters={"base": None})], ()),
        ([MapUpdate(packet_filter=ALLOW), MapUpdate(packet_filters={"x": None})], ALLOW),
    ],
)
def test_packet_filters(updates: list[MapUpdate], expected: tuple[FilterRule, ...] | None) -> None:
    assert after(*updates).packet_filter == expected


def test_named_filters_are_joined_by_name() -> None:
    b, a = FilterRule(("b",)), FilterRule(("a",))
    assert after(MapUpdate(packet_filters={"b": (b,), "a": (a,)})).packet_filter == (a, b)


def test_derp_map() -> None:
    regions, other = {1: DerpRegion(1)}, {2: DerpRegion(2)}
    first = MapUpdate(derp_map=DerpMapUpdate(regions, None, True))
    assert after(first).derp_map == DerpMap(regions, {}, True)
    scored = MapUpdate(derp_map=DerpMapUpdate(None, {1: 0.5}))
    assert after(first, scored).derp_map == DerpMap(regions, {1: 0.5}, True)
    assert after(first, scored, MapUpdate(derp_map=DerpMapUpdate(other))).derp_map == DerpMap(other, {1: 0.5}, False)
    assert after(first, MapUpdate()).derp_map == DerpMap(regions, {}, True)


def test_users_are_added_and_replaced_never_removed() -> None:
    users = after(MapUpdate(users=(UserProfile(2, "v@e"), UserProfile(1, "new@e")))).users
    assert {number: user.login_name for number, user in users.items()} == {1: "new@e", 2: "v@e"}


def test_dns_domain_and_health_are_replaced_when_given() -> None:
    told = MapUpdate(dns=DnsConfig(proxied=True), domain="d", health=("bad",), control_time=5.0)
    netmap = after(told, MapUpdate())
    assert (netmap.dns.proxied, netmap.domain, netmap.health, netmap.control_time) == (True, "d", ("bad",), 5.0)
    assert after(told, MapUpdate(health=())).health == ()


def test_display_messages() -> None:
    a, b = {"Title": "a"}, {"Title": "b"}
    told = MapUpdate(display_messages={"a": a, "b": b})
    assert after(told, MapUpdate(display_messages={"a": None})).display_messages == {"b": b}
    assert after(told, MapUpdate(display_messages={"c": a, "*": None})).display_messages == {"c": a}
