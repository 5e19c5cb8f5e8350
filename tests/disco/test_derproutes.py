"""DerpRoutes: the region of a peer, and the regions that are wanted."""

from __future__ import annotations

import math

import pytest

from tsnet.base.addresses import DerpAddress
from tsnet.base.keys import NodeKey
from tsnet.disco.derproutes import DERP_IDLE_CLOSE, DerpRoutes

A, B = NodeKey(b"a" * 32), NodeKey(b"b" * 32)


@pytest.mark.parametrize(
    ("home", "learnt", "connected", "expected"),
    [
        (1, 0, (), 1),
        (1, 2, (), 2),
        (1, 2, (2,), 2),
        (1, 2, (1,), 1),
        (1, 2, (1, 2), 1),
        (0, 2, (), 2),
        (0, 0, (1,), None),
    ],
)
def test_the_region_of_a_peer(home: int, learnt: int, connected: tuple[int, ...], expected: int | None) -> None:
    routes = DerpRoutes()
    for region in connected:
        routes.connected(region)
    if learnt:
        assert routes.learn(A, learnt)
        assert not routes.learn(A, learnt)
    assert routes.address(A, home) == (expected and DerpAddress(expected, A))


@pytest.mark.parametrize(
    ("learnt", "doubted", "expected"), [(2, 1, 2), (2, 2, 1), (1, 1, 1), (0, 1, 1)], ids=lambda number: str(number)
)
def test_a_silent_relay_is_passed_by_if_there_is_another_way(learnt: int, doubted: int, expected: int) -> None:
    routes = DerpRoutes()
    for region in (1, 2):
        routes.connected(region)
    if learnt:
        routes.learn(A, learnt)
    routes.doubted(doubted, True)
    assert routes.address(A, 1) == DerpAddress(expected, A)
    routes.doubted(doubted, False)
    assert routes.address(A, 1) == DerpAddress(1, A)


def test_a_silent_relay_that_is_dialled_anew_counts_as_answering() -> None:
    routes = DerpRoutes()
    routes.learn(A, 2)
    for restart in (routes.connected, routes.disconnected):
        routes.connected(1)
        routes.doubted(1, True)
        assert routes.address(A, 1) == DerpAddress(2, A)
        restart(1)
        routes.connected(1)
        assert routes.address(A, 1) == DerpAddress(1, A)


def test_what_was_learnt_ends_with_its_connection_or_with_the_peer() -> None:
    routes = DerpRoutes()
    routes.connected(2)
    routes.learn(A, 2)
    routes.learn(B, 3)
    assert routes.is_connected(2)
    routes.disconnected(2)
    assert not routes.is_connected(2)
    assert routes.learnt == {B: 3}
    assert not routes.forget(B, 2)
    assert routes.forget(B, 3)
    routes.learn(A, 2)
    assert routes.forget(A)
    assert not routes.forget(A)


def test_regions_are_wanted_for_a_minute_and_the_home_for_good() -> None:
    routes = DerpRoutes()
    assert (routes.wanted(0.0), routes.deadline()) == (set(), math.inf)
    routes.set_home(3, 0.0)
    routes.wrote(5, 1.0)
    assert routes.wanted(2.0) == {3, 5}
    assert routes.deadline() == 1.0 + DERP_IDLE_CLOSE
    routes.set_home(4, 10.0)
    assert routes.wanted(61.0) == {3, 4}
    routes.expire(61.0)
    assert routes.deadline() == 10.0 + DERP_IDLE_CLOSE
