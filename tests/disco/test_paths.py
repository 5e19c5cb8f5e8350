"""Paths: which destination each peer has, after every kind of news."""

from __future__ import annotations

import math

import pytest

from tests.disco.fourpeers import (
    BUDGET,
    DISCO,
    OTHER_UDP,
    OURS,
    UDP,
    A,
    B,
    datagram,
    entropy,
    new_paths,
    node,
    set_peers,
    via,
)
from tsnet.base.addresses import UdpAddress
from tsnet.base.crypto import disco_public
from tsnet.disco.changes import RoutesChanged
from tsnet.disco.derproutes import DERP_IDLE_CLOSE
from tsnet.disco.messages import Ping
from tsnet.disco.paths import Paths
from tsnet.netmap.model import Node

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
    assert paths.deadline() == 1.0 + DERP_IDLE_CLOSE  # early by a second, which a look mends
    assert paths.transmit(61.0, BUDGET) == []
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
