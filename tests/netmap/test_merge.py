from __future__ import annotations

from typing import Any

import attrs
import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.netmap.merge import DerpMapUpdate, MapUpdate, PeerChange, begin, merge
from tsnet.netmap.model import DerpMap, DerpRegion, DnsConfig, FilterRule, NetMap, Node, UserProfile

NOW = 1_790_000_000.0


def node(number: int, **fields: Any) -> Node:
    return Node(id=number, stable_id=f"n{number}", name=f"n{number}.x", key=NodeKey(bytes([number]) * 32), **fields)


SELF = node(1)
ALLOW, DENY_ALL = (FilterRule(("*",)),), ()
BASE = NetMap(SELF, peers={2: node(2, online=True), 3: node(3)}, users={1: UserProfile(1, "u@e")})


def after(*updates: MapUpdate, base: NetMap = BASE) -> NetMap:
    netmap = base
    for update in updates:
        netmap = merge(netmap, update, NOW)
    return netmap


# --- the first message of a stream ------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [None, BASE])
def test_the_first_message_must_bring_our_node(last: NetMap | None) -> None:
    with pytest.raises(MalformedError):
        begin(last, MapUpdate(peers=(node(2),)), NOW)
    assert begin(None, MapUpdate(node=SELF), NOW) == NetMap(SELF)


LAST = NetMap(
    node(1, user=1),
    peers={2: node(2, user=2), 3: node(3, user=3)},
    users={number: UserProfile(number, f"u{number}@e") for number in (1, 2, 3)},
    derp_map=DerpMap({900: DerpRegion(900)}, {900: 0.5}),
    packet_filter=(FilterRule(("*",)),),
    named_filters={"base": (FilterRule(("*",)),)},
    dns=DnsConfig(proxied=True),
    domain="tail.example",
    health=("bad",),
    display_messages={"a": {"Title": "a"}},
    control_time=NOW,
    is_locked=True,
)


@pytest.mark.parametrize(
    ("field", "stays"),
    [
        ("derp_map", True),
        ("dns", True),
        ("domain", True),
        ("control_time", True),
        ("peers", False),
        ("packet_filter", False),
        ("named_filters", False),
        ("health", False),
        ("display_messages", False),
        ("is_locked", False),
    ],
)
def test_what_a_first_message_leaves_out(field: str, stays: bool) -> None:
    netmap = begin(LAST, MapUpdate(node=node(1, user=1)), NOW)
    assert getattr(netmap, field) == getattr(LAST if stays else NetMap(SELF), field)


def test_every_field_of_a_netmap_has_its_rule_for_a_first_message() -> None:
    ruled = {"self_node", "users", "derp_map", "dns", "domain", "control_time", "peers", "packet_filter"}
    ruled |= {"named_filters", "health", "display_messages", "is_locked"}
    assert {field.name for field in attrs.fields(NetMap)} == ruled


@pytest.mark.parametrize("said", [None, DerpMapUpdate(), DerpMapUpdate({}), DerpMapUpdate({}, {900: 0.5})])
def test_no_word_about_relays_keeps_the_last_ones(said: DerpMapUpdate | None) -> None:
    assert begin(LAST, MapUpdate(node=SELF, derp_map=said), NOW).derp_map == LAST.derp_map
    assert after(MapUpdate(derp_map=said), base=LAST).derp_map == LAST.derp_map


def test_what_a_first_message_says_replaces_the_last() -> None:
    said = MapUpdate(node=SELF, derp_map=DerpMapUpdate({1: DerpRegion(1)}), dns=DnsConfig(), domain="other")
    netmap = begin(LAST, said, NOW)
    assert (netmap.derp_map, netmap.dns, netmap.domain) == (
        DerpMap({1: DerpRegion(1)}, {900: 0.5}),
        DnsConfig(),
        "other",
    )


def test_users_outlive_a_stream_as_long_as_a_node_names_them() -> None:
    said = MapUpdate(node=node(1, user=1), peers=(node(2, user=9, sharer=2),), users=(UserProfile(7, "seven"),))
    assert set(begin(LAST, said, NOW).users) == {1, 2, 7}


def test_another_node_takes_over_the_relays_alone() -> None:
    netmap = begin(LAST, MapUpdate(node=node(5, user=1)), NOW)
    assert netmap == NetMap(node(5, user=1), derp_map=LAST.derp_map, control_time=NOW)


# --- every later one --------------------------------------------------------------------------------------------


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
