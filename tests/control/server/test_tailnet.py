"""The embedded tailnet's state: every operation, and that each moves `generation` when a node could be told of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import DiscoKey, MachineKey, NodeKey
from tsnet.control.messages import MapRequest
from tsnet.control.server.members import MAX_HOST, Member
from tsnet.control.server.policy import Policy
from tsnet.control.server.tailnet import LOGIN_LIFETIME, MAX_LOGINS, AuthKey, Refusal, TailnetState
from tsnet.netmap.model import DerpMap, DnsConfig
from tsnet.netmap.whois import TAGGED_DEVICES

NOW = 1_790_000_000.0


def key(number: int) -> NodeKey:
    return NodeKey(bytes([number]) * 32)


def machine(number: int) -> MachineKey:
    return MachineKey(bytes([number]) * 32)


def tailnet(**options: Any) -> TailnetState:
    return TailnetState(entropy=random.Random(1).randbytes, base_domain="tail.example", **options)


def admit(net: TailnetState, number: int, name: str = "shop", user: str = "alice@example.com", **fields: Any) -> Member:
    fields.setdefault("disco_key", DiscoKey(bytes([number]) * 32))
    return net.admit(machine(number), key(number), net.add_user(user).id, {"Hostname": name}, NOW, **fields)


def lite(number: int, **fields: Any) -> MapRequest:
    return MapRequest(key(number), fields.pop("disco", None), version=fields.pop("version", 0), **fields)


# --- users and keys -----------------------------------------------------------------------------------------------


def test_a_login_is_one_user() -> None:
    net = tailnet()
    alice, bob = net.add_user("alice@example.com", "Alice A."), net.add_user("bob@example.com")
    assert (alice.id, alice.display_name) == (1, "Alice A.")
    assert (bob.id, bob.display_name) == (2, "bob")
    assert net.add_user("alice@example.com") is alice
    assert net.add_user("tagged-devices") is TAGGED_DEVICES


def test_auth_keys_are_unlike_and_hide_their_text() -> None:
    net = tailnet()
    one, other = net.create_auth_key(), net.create_auth_key("bob@example.com")
    assert one.text != other.text
    assert one.text.startswith("tskey-auth-")
    assert one.text not in repr(one)
    assert net.users[one.user].login_name == "user@tail.example"


@pytest.mark.parametrize(
    ("options", "is_used", "refusal"),
    [
        ({}, False, None),
        ({}, True, "already used"),
        ({"reusable": True}, True, None),
        ({"expires_at": NOW + 1}, False, None),
        ({"expires_at": NOW}, False, "expired"),
    ],
)
def test_what_a_key_is_good_for(options: dict[str, Any], is_used: bool, refusal: str | None) -> None:
    net = tailnet()
    auth_key = net.create_auth_key(**options)
    auth_key.is_used = is_used
    if refusal is None:
        assert net.redeem(auth_key.text, NOW) is auth_key
    else:
        with pytest.raises(Refusal, match=refusal):
            net.redeem(auth_key.text, NOW)


def test_an_unknown_key() -> None:
    with pytest.raises(Refusal, match="invalid"):
        tailnet().redeem("tskey-auth-nobody", NOW)


# --- logins -------------------------------------------------------------------------------------------------------


def test_a_login_is_approved_or_rejected() -> None:
    net = tailnet()
    login = net.begin_login(machine(1), key(1), "shop", NOW)
    net.approve(login.auth_id, "alice@example.com")
    assert net.logins[login.auth_id].user == net.add_user("alice@example.com").id
    net.reject(login.auth_id, "not you")
    assert net.logins[login.auth_id].refused == "not you"
    with pytest.raises(KeyError):
        net.approve("nobody", "alice@example.com")


def test_a_new_login_replaces_the_keys_old_one_and_those_out_of_time() -> None:
    net = tailnet()
    first = net.begin_login(machine(1), key(1), "shop", NOW)
    again = net.begin_login(machine(1), key(1), "shop", NOW + 1)
    other = net.begin_login(machine(2), key(2), "shop", NOW + 2)
    assert list(net.logins) == [again.auth_id, other.auth_id]
    assert first.auth_id != again.auth_id
    net.begin_login(machine(3), key(3), "shop", NOW + 1 + LOGIN_LIFETIME)
    assert again.auth_id not in net.logins
    assert other.auth_id in net.logins


# --- members ------------------------------------------------------------------------------------------------------


def test_members_get_ids_names_and_addresses_of_their_own() -> None:
    net = tailnet()
    one, other = admit(net, 1, "Shop"), admit(net, 2, "shop")
    assert (one.id, one.name, str(one.addresses[0])) == (1, "shop", "100.64.0.1/32")
    assert (other.id, other.name, str(other.addresses[0])) == (2, "shop-1", "100.64.0.2/32")
    assert net.find(key(2)) is other
    assert net.find(None) is None
    assert net.named("shop-1") is net.named("shop-1.tail.example.") is other
    assert net.of_machine(machine(1), one.user) is one
    assert net.of_machine(machine(1), 99) is None


def test_addresses_of_services_are_passed_over() -> None:
    net = tailnet()
    members = [admit(net, number, str(number)) for number in range(1, 0x55)]
    assert str(members[0x51].addresses[1]) == "fd7a:115c:a1e0::52/128"
    assert str(members[0x52].addresses[1]) == "fd7a:115c:a1e0::54/128"


def test_a_deleted_members_id_and_address_are_not_given_again() -> None:
    net = tailnet()
    net.delete(admit(net, 1))
    again = admit(net, 1)
    assert (again.id, again.name) == (2, "shop")
    assert str(again.addresses[0]) == "100.64.0.2/32"
    assert net.peers_of(again) == {}


def test_a_new_key_is_the_same_node_and_lives_again() -> None:
    net = tailnet()
    member = admit(net, 1)
    net.expire(member, NOW)
    assert net.self_node(member).expired
    net.rekey(member, key(9))
    assert net.find(key(1)) is None
    assert net.find(key(9)) is member
    assert not member.is_expired(NOW)
    assert (net.self_node(member).key, net.self_node(member).id) == (key(9), 1)


def test_a_lite_update_is_stored() -> None:
    net = tailnet()
    member = admit(net, 1, disco_key=None)
    hostinfo = {"Hostname": "shop", "OS": "linux", "NetInfo": {"PreferredDERP": 900}}
    endpoints = (UdpAddress("192.0.2.1", 41641), UdpAddress("fe80::1", 41641))
    disco = DiscoKey(bytes([7]) * 32)
    net.update(member, lite(1, disco=disco, version=131, hostinfo=hostinfo, endpoints=endpoints))
    node = net.self_node(member)
    assert (node.disco_key, node.home_region, node.capability_version) == (disco, 900, 131)
    assert node.endpoints == (UdpAddress("192.0.2.1", 41641),)
    assert node.hostinfo == hostinfo


def test_what_an_update_lacks_is_kept() -> None:
    net = tailnet()
    member = admit(net, 1)
    net.update(member, lite(1, hostinfo={"Hostname": "shop", "NetInfo": {"PreferredDERP": 900}}))
    net.update(member, lite(1, hostinfo={"Hostname": "shop", "OS": "linux"}))
    net.update(member, lite(1, hostinfo={"Hostname": "shop", "NetInfo": {"PreferredDERP": 0}}))
    net.update(member, lite(1))
    assert member.home_region == 900
    assert member.disco_key is not None
    assert member.hostname == "shop"


def test_another_hostname_is_another_name() -> None:
    net = tailnet()
    admit(net, 1, "shop")
    member = admit(net, 2, "cafe")
    net.update(member, lite(2, hostinfo={"Hostname": "Shop"}))
    assert member.name == "shop-1"
    net.update(member, lite(2, hostinfo={"Hostname": "Shop", "OS": "linux"}))
    assert member.name == "shop-1"


def test_a_hostname_that_is_no_text() -> None:
    net = tailnet()
    member = net.admit(machine(1), key(1), net.add_user("a@b").id, {"Hostname": 7, "NetInfo": "x"}, NOW)
    net.update(member, lite(1, hostinfo={"Hostname": None, "NetInfo": [1], "OS": 3}))
    assert member.name == "node"


@pytest.mark.parametrize("home", [True, 1 << 31, 10**300, -1, 0, "900", None, 9.5])
def test_a_home_that_is_no_region_number(home: object) -> None:
    net = tailnet()
    member = admit(net, 1)
    net.update(member, lite(1, hostinfo={"Hostname": "shop", "NetInfo": {"PreferredDERP": home}}))
    assert member.home_region == 0


def test_logins_that_nobody_comes_for_are_bounded() -> None:
    net = tailnet()
    logins = [net.begin_login(machine(1), NodeKey(number.to_bytes(32)), "x", NOW) for number in range(MAX_LOGINS + 5)]
    assert list(net.logins.values()) == logins[5:]


# --- what a node may know -----------------------------------------------------------------------------------------


def test_a_node_is_shown_whole_to_itself_and_reduced_to_others() -> None:
    net = tailnet()
    member = admit(net, 1)
    net.update(member, lite(1, hostinfo={"Hostname": "shop", "NetInfo": {"PreferredDERP": 900}}))
    other = admit(net, 2, "cafe")
    own, shown = net.self_node(member), net.peers_of(other)[1]
    assert own.name == "shop.tail.example"
    assert (own.machine, shown.machine) == (machine(1), None)
    assert ("NetInfo" in own.hostinfo, "NetInfo" in shown.hostinfo) == (True, False)
    assert shown.home_region == 900


def test_others_are_told_nothing_that_go_would_choke_on() -> None:
    net = tailnet()
    member, other = admit(net, 1), admit(net, 2, "cafe")
    net.update(member, lite(1, hostinfo={"Hostname": "shop", "OS": 5, "Services": [{"Port": "80"}], "os": {}}))
    assert net.peers_of(other)[1].hostinfo == {"Hostname": "shop"}


def test_a_node_is_kept_until_something_changes() -> None:
    net = tailnet()
    member = admit(net, 1)
    own = net.self_node(member)
    assert net.self_node(member) is own, "kept until something changes"


def test_a_peer_that_cannot_be_reached_is_not_shown() -> None:
    net = tailnet()
    member = admit(net, 1)
    silent = admit(net, 2, "cafe", disco_key=None)
    assert net.peers_of(member) == {}
    net.update(silent, lite(2, disco=DiscoKey(bytes([7]) * 32)))
    assert list(net.peers_of(member)) == [2]


def test_a_plain_wireguard_peer() -> None:
    net = tailnet()
    member = admit(net, 1)
    net.add_wireguard_peer("exit", key(7), UdpAddress("192.0.2.7", 51820))
    (peer,) = net.peers_of(member).values()
    assert (peer.is_wireguard_only, peer.endpoints, peer.online) == (True, (UdpAddress("192.0.2.7", 51820),), True)


def test_a_tagged_node_belongs_to_its_tags() -> None:
    net = tailnet(policy=Policy.parse([{"src": ["tag:web"], "dst": ["bob@example.com:80"]}]))
    web, bob, alice = admit(net, 1, tags=("tag:web",)), admit(net, 2, user="bob@example.com"), admit(net, 3)
    assert net.self_node(web).user == TAGGED_DEVICES.id
    assert [sorted(net.peers_of(one)) for one in (web, bob, alice)] == [[2], [1], []]
    assert net.rules_for(bob)[0].sources == ("100.64.0.1", "fd7a:115c:a1e0::1")
    assert net.rules_for(web) == ()
    net.change(alice, tags=("tag:web",))
    assert sorted(net.peers_of(bob)) == [1, 3]


def test_routes_are_allowed_and_primary() -> None:
    net = tailnet()
    member = admit(net, 1)
    net.change(member, routes=(ip_network("10.0.0.0/8"),))
    node = net.self_node(member)
    assert node.allowed_ips == (*node.addresses, ip_network("10.0.0.0/8"))
    assert node.primary_routes == (ip_network("10.0.0.0/8"),)


def test_the_last_address_is_the_last() -> None:
    net = tailnet()
    net._last_host = MAX_HOST - 1
    assert str(admit(net, 1).addresses[0]) == "100.127.255.255/32"
    with pytest.raises(Refusal, match="addresses"):
        admit(net, 2)
    assert set(net.members) == {1}


def test_an_extended_key_is_good_again() -> None:
    net = tailnet()
    member = admit(net, 1)
    net.expire(member, NOW)
    net.extend(member, NOW + 60)
    assert (member.is_expired(NOW), member.is_expired(NOW + 60)) == (False, True)
    net.extend(member)
    assert not member.is_expired(NOW + 60)
    assert not net.self_node(member).expired


CHANGES: dict[str, Callable[[TailnetState, Member], object]] = {
    "policy": lambda net, _member: setattr(net, "policy", Policy()),
    "derp map": lambda net, _member: setattr(net, "derp_map", DerpMap()),
    "dns": lambda net, _member: setattr(net, "dns", DnsConfig()),
    "admit": lambda net, _member: admit(net, 2),
    "rekey": lambda net, member: net.rekey(member, key(9)),
    "update": lambda net, _member: net.update(_member, lite(1, version=7)),
    "refresh": lambda net, member: net.refresh(member, {"Hostname": "cafe"}, 0),
    "change": lambda net, member: net.change(member, capabilities={"a": ()}),
    "rename": lambda net, member: net.rename(member, "cafe"),
    "online": lambda net, member: net.set_online(member, True, NOW),
    "expire": lambda net, member: net.expire(member, NOW),
    "extend": lambda net, member: net.extend(member, NOW),
    "delete": lambda net, member: net.delete(member),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_a_node_could_be_told_moves_the_generation(change: Callable[[TailnetState, Member], object]) -> None:
    net = tailnet()
    member = admit(net, 1)
    before = net.generation
    change(net, member)
    assert net.generation > before


KEPT: dict[str, Callable[[TailnetState, Member], object]] = {
    **{name: change for name, change in CHANGES.items() if name not in ("derp map", "dns")},
    "user": lambda net, _member: net.add_user("new@example.com"),
    "auth key": lambda net, _member: net.create_auth_key(),
    "use": lambda net, _member: net.use(AuthKey("text", 1)),
    "plain WireGuard": lambda net, _member: net.add_wireguard_peer("x", key(7), UdpAddress("192.0.2.7", 51820)),
}


@pytest.mark.parametrize("change", KEPT.values(), ids=KEPT)
def test_whatever_outlives_a_restart_moves_the_revision(change: Callable[[TailnetState, Member], object]) -> None:
    net = tailnet()
    member = admit(net, 1)
    net.kept = before = net.revision
    assert net.is_kept
    change(net, member)
    assert net.revision > before
    assert not net.is_kept
    assert net.await_kept() == net.awaited == net.revision


def test_what_whoever_starts_it_sets_is_not_kept() -> None:
    net = tailnet()
    before = net.revision
    net.derp_map, net.dns = DerpMap(), DnsConfig()
    login = net.begin_login(machine(1), key(1), "shop", NOW)
    net.reject(login.auth_id)
    net.add_user("user@tail.example")
    assert net.revision == before + 1, "that of the user"


def test_where_nothing_is_kept_nobody_waits() -> None:
    net = tailnet()
    admit(net, 1)
    assert net.is_kept


def test_what_changes_nothing_does_not() -> None:
    net = tailnet()
    member = admit(net, 1)
    before = net.generation
    net.update(member, lite(1))
    net.refresh(member, {"Hostname": "shop"}, 0)
    net.rename(member, "SHOP")
    net.set_online(member, False, NOW)
    net.create_auth_key()
    assert net.generation == before


# --- approval and given names -------------------------------------------------------------------------------------


def test_a_node_that_nobody_approved_of_has_no_peers_and_is_none() -> None:
    net = tailnet()
    one, other = admit(net, 1), admit(net, 2, is_authorized=False)
    assert not net.peers_of(one)
    assert not net.peers_of(other)
    assert net.rules_for(other) == ()
    assert not net.self_node(other).machine_authorized
    before = net.generation
    net.authorize(other)
    assert net.generation > before
    assert (list(net.peers_of(one)), list(net.peers_of(other))) == ([2], [1])
    assert net.rules_for(other)
    before = net.generation
    net.authorize(other)
    assert net.generation == before


def test_a_given_name_outlasts_hostnames_until_it_is_taken_away() -> None:
    net = tailnet()
    member = admit(net, 1)
    net.give_name(member, "till")
    net.refresh(member, {"Hostname": "desk"}, 0)
    assert (member.name, member.hostname) == ("till", "desk")
    net.give_name(member, "")
    assert member.name == "desk"
    net.refresh(member, {"Hostname": "shop"}, 0)
    assert member.name == "shop"
