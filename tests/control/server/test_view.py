"""What a node is told: the least that turns one telling into the next, judged by the client's own merge."""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs
import pytest

from tests.control.server.test_tailnet import NOW, admit, key, lite, tailnet
from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import DiscoKey
from tsnet.control.messages import MapResponse, decode_map
from tsnet.control.server.members import Member
from tsnet.control.server.policy import ALLOW_ALL, Policy
from tsnet.control.server.tailnet import TailnetState
from tsnet.control.server.view import View, difference, first, view
from tsnet.netmap.merge import MapUpdate, begin, merge
from tsnet.netmap.model import DerpMap, DerpRegion, DnsConfig, NetMap


def told(update: MapUpdate, before: NetMap | None = None) -> NetMap:
    """The client's netmap after the message, which goes there as bytes."""
    told = decode_map(MapResponse(update).encode()).update
    return begin(None, told, NOW) if before is None else merge(before, told, NOW)


def change(action: Callable[[TailnetState, Member, Member], object]) -> MapUpdate | None:
    """What member 1 is told when this happens in a tailnet of two."""
    net = tailnet()
    one, other = admit(net, 1, "one"), admit(net, 2, "other", user="bob@example.com")
    before = view(net, one)
    action(net, one, other)
    return difference(before, view(net, one))


def test_the_first_message_is_whole_and_in_order() -> None:
    net = tailnet(derp_map=DerpMap({900: DerpRegion(900)}))
    members = [admit(net, number, str(number)) for number in (1, 2, 3)]
    update = first(view(net, members[1]), NOW)
    assert update.node is not None
    assert update.node.id == 2
    assert [peer.id for peer in update.peers] == [1, 3]
    assert [user.login_name for user in update.users] == ["alice@example.com"]
    assert update.derp_map is not None
    assert update.packet_filter == net.rules_for(members[1])
    assert (update.domain, update.control_time) == ("tail.example", NOW)


def test_nothing_new_is_no_message() -> None:
    assert change(lambda net, one, other: None) is None
    assert change(lambda net, one, other: net.set_online(one, True, NOW)) is None
    hostinfo = {"Hostname": "other", "NetInfo": {"DERPLatency": {"900-v4": 0.1}}}
    assert change(lambda net, one, other: net.update(other, lite(2, hostinfo=hostinfo))) is None


def test_what_a_node_knows_of_itself_is_not_told_back() -> None:
    def update(net: TailnetState, one: Member, _other: Member) -> None:
        hostinfo = {"Hostname": "one", "OS": "linux", "NetInfo": {"PreferredDERP": 900}}
        net.update(one, lite(1, endpoints=(UdpAddress("192.0.2.1", 1),), hostinfo=hostinfo))

    assert change(update) is None


def test_a_node_hears_of_a_disco_key_in_its_name() -> None:
    update = change(lambda net, one, other: net.update(one, lite(1, disco=DiscoKey(bytes([9]) * 32))))
    assert update is not None
    assert update.node is not None


def test_small_changes_are_patches() -> None:
    def update(net: TailnetState, _one: Member, other: Member) -> None:
        net.set_online(other, True, NOW)
        net.update(other, lite(2, endpoints=(UdpAddress("192.0.2.1", 1),)))

    found = change(update)
    assert found is not None
    (patch,) = found.patches
    assert patch.node_id == 2
    assert set(patch.fields) == {"online", "endpoints"}
    assert found == MapUpdate(patches=(patch,))


def test_only_who_is_offline_was_last_seen_at_a_time() -> None:
    """tailscale-rs does not know a node's state when it is online and has such a time."""
    net = tailnet()
    one, other = admit(net, 1, "one"), admit(net, 2, "other")
    fields = []
    for online, now in ((True, NOW), (False, NOW + 9), (True, NOW + 20)):
        before = view(net, one)
        net.set_online(other, online, now)
        update = difference(before, view(net, one))
        assert update is not None
        fields.append(dict(update.patches[0].fields))
        shown = view(net, one).peers[2]
        assert (shown.online, shown.last_seen) == (online, None if online else now)
    assert fields == [{"online": True}, {"online": False, "last_seen": NOW + 9}, {"online": True}]


def test_endpoints_in_another_order_are_no_news() -> None:
    net = tailnet()
    one, other = admit(net, 1, "one"), admit(net, 2, "other")
    endpoints = [UdpAddress("192.0.2.1", port) for port in range(1, 9)]
    net.update(other, lite(2, endpoints=tuple(endpoints)))
    before, generation = view(net, one), net.generation
    for _ in range(8):
        endpoints.append(endpoints.pop(0))
        net.update(other, lite(2, endpoints=(*endpoints, endpoints[0])))
    assert net.generation == generation
    assert difference(before, view(net, one)) is None
    net.update(other, lite(2, endpoints=tuple(endpoints[1:])))
    update = difference(before, view(net, one))
    assert update is not None
    assert update.patches[0].fields == {"endpoints": tuple(endpoints[1:])}


def test_each_change_of_where_a_node_is_is_one_patch() -> None:
    def move(net: TailnetState, _one: Member, other: Member) -> None:
        hostinfo = {**other.hostinfo, "NetInfo": {"PreferredDERP": 901}}
        net.update(other, lite(2, endpoints=(UdpAddress("::1", 1),), hostinfo=hostinfo, disco=DiscoKey(b"\7" * 32)))

    found = change(move)
    assert found is not None
    shown = {name for patch in found.patches for name in patch.fields} | {peer.id for peer in found.peers_changed}
    assert shown in ({"endpoints", "home_region", "disco_key"}, {2})


@pytest.mark.parametrize(
    "action",
    [
        lambda net, one, other: net.rekey(other, key(9)),
        lambda net, one, other: net.rename(other, "third"),
        lambda net, one, other: net.update(other, lite(2, hostinfo={"Hostname": "other", "OS": "plan9"})),
        lambda net, one, other: net.expire(other, NOW),
        lambda net, one, other: net.change(other, capabilities={"a": ()}),
    ],
)
def test_other_changes_bring_the_whole_node(action: Callable[[TailnetState, Member, Member], object]) -> None:
    update = change(action)
    assert update is not None
    assert [peer.id for peer in update.peers_changed] == [2]
    assert update.patches == ()


def test_what_became_nothing_brings_the_whole_node() -> None:
    net = tailnet()
    one, other = admit(net, 1, "one"), admit(net, 2, "other", key_expiry=NOW)
    before = view(net, one)
    net.change(other, key_expiry=None)
    update = difference(before, view(net, one))
    assert update is not None
    assert [peer.id for peer in update.peers_changed] == [2]


def test_no_peers_left_is_said_by_removal() -> None:
    update = change(lambda net, one, other: net.delete(other))
    assert update == MapUpdate(peers_removed=(2,))


def test_a_newcomer_comes_with_its_user_and_what_it_changes_in_the_filter() -> None:
    net = tailnet(policy=Policy.parse([{"src": ["bob@example.com"], "dst": ["*:80"]}]))
    one = admit(net, 1, "one")
    before = view(net, one)
    admit(net, 2, "other", user="bob@example.com")
    update = difference(before, view(net, one))
    assert update is not None
    assert [user.login_name for user in update.users] == ["bob@example.com"]
    assert [peer.id for peer in update.peers_changed] == [2]
    assert update.packet_filter is not None
    assert update.packet_filter[0].sources == ("100.64.0.2", "fd7a:115c:a1e0::2")


def test_an_emptied_filter_is_told_as_empty() -> None:
    update = change(lambda net, one, other: setattr(net, "policy", Policy()))
    assert update is not None
    assert update.packet_filter == ()
    assert update.peers_removed == (2,)


def test_shared_things() -> None:
    update = change(lambda net, one, other: setattr(net, "dns", DnsConfig(domains=("x",))))
    assert update == MapUpdate(dns=DnsConfig(domains=("x",)))
    update = change(lambda net, one, other: setattr(net, "derp_map", DerpMap({7: DerpRegion(7)})))
    assert update is not None
    assert update.derp_map is not None
    assert list(update.derp_map.regions or ()) == [7]


# --- the property -------------------------------------------------------------------------------------------------


def disturb(rng: random.Random, net: TailnetState, number: int) -> None:
    """Something happens to somebody."""
    member = rng.choice(list(net.members.values()))
    match rng.randrange(12):
        case 0:
            admit(net, number, rng.choice(["shop", "cafe"]), rng.choice(["alice@example.com", "bob@example.com"]))
        case 1 if member.id != 1:
            net.delete(member)
        case 2:
            net.rekey(member, key(number))
        case 3:
            net.set_online(member, rng.random() < 0.5, NOW + number)
        case 4:
            endpoints = tuple(UdpAddress("192.0.2.1", 1000 + port) for port in range(rng.randrange(3)))
            net.update(member, attrs.evolve(lite(1), node_key=member.key, endpoints=endpoints))
        case 5:
            home = {"Hostname": member.hostname, "NetInfo": {"PreferredDERP": rng.randrange(900, 903)}}
            net.update(member, attrs.evolve(lite(1), node_key=member.key, hostinfo=home))
        case 6:
            net.rename(member, rng.choice(["shop", "cafe", "bar"]))
        case 7:
            net.expire(member, NOW)
        case 8:
            net.change(member, tags=rng.choice([(), ("tag:web",)]))
        case 9:
            rules = [{"src": [rng.choice(["tag:web", "shop"])], "dst": ["bob@example.com:*"]}]
            net.policy = rng.choice([ALLOW_ALL, Policy.parse(rules), Policy()])
        case 10:
            net.derp_map = DerpMap({900 + rng.randrange(3): DerpRegion(900)})
        case _:
            net.change(member, key_expiry=rng.choice([None, NOW + number]))


def as_told(now: View) -> NetMap:
    return told(first(now, NOW))


@pytest.mark.parametrize("seed", range(25))
def test_first_then_differences_tell_the_same_as_first_alone(seed: int) -> None:
    rng = random.Random(seed)
    net = tailnet()
    member = admit(net, 1, "one")
    before = view(net, member)
    netmap = as_told(before)
    for number in range(2, 40):
        for _ in range(rng.randrange(3)):
            disturb(rng, net, number)
            number += 60
        now = view(net, member)
        update = difference(before, now)
        if update is not None:
            netmap = told(update, netmap)
        before, expected = now, as_told(now)
        assert netmap.peers == expected.peers
        assert netmap.packet_filter == expected.packet_filter
        assert netmap.users.items() >= expected.users.items()
        assert (netmap.derp_map, netmap.dns) == (expected.derp_map, expected.dns)
        assert (netmap.self_node.name, netmap.self_node.key) == (expected.self_node.name, expected.self_node.key)
