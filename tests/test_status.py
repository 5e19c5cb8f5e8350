from __future__ import annotations

from ipaddress import ip_network

import attrs

from tests.engine.pair import netmap, node
from tests.house import House
from tsnet.netmap.model import UserProfile
from tsnet.netmap.whois import Whois
from tsnet.status import Status, peers_of

A = node(1, "a")


def test_what_is_known_of_a_peer() -> None:
    peer = attrs.evolve(
        node(2, "b"),
        user=7,
        online=True,
        home_region=900,
        hostinfo={"OS": "linux"},
        allowed_ips=(*node(2, "b").allowed_ips, ip_network("10.0.0.0/8")),
    )
    known = attrs.evolve(netmap(A, peer), users={7: UserProfile(7, "ada@example.com", "Ada")})
    (status,) = peers_of(known, Whois(known))
    assert (status.name, status.fqdn) == ("b", "b.tailnet.test")
    assert status.addresses == peer.ips
    assert (status.user_login, status.user_name, status.tags) == ("ada@example.com", "Ada", ())
    assert (status.online, status.home_region, status.os) == (True, 900, "linux")
    assert status.routes == ("10.0.0.0/8",)


def test_what_control_does_not_say_is_empty() -> None:
    known = netmap(A, node(2, "b"))
    (status,) = peers_of(known, Whois(known))
    assert (status.user_login, status.online, status.last_seen, status.os, status.routes) == ("", None, None, "", ())


def test_peers_are_sorted_by_name() -> None:
    known = netmap(A, node(2, "z"), node(3, "m"), node(4, "b"))
    assert [peer.name for peer in peers_of(known, Whois(known))] == ["b", "m", "z"]


def test_before_up_there_is_a_state_and_what_was_asked_for() -> None:
    assert Status("stopped", "shop", "https://control").peers == ()


def test_a_snapshot_does_not_follow_the_node() -> None:
    house = House()
    a = house.up("a")
    assert a.view is not None
    before = peers_of(a.view.netmap, a.view.whois)
    house.up("b")
    assert before == ()
    assert [peer.name for peer in peers_of(a.view.netmap, a.view.whois)] == ["b"]
