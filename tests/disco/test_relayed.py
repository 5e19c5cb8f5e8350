"""Relayed: the region of a peer, and the regions that are wanted."""

from __future__ import annotations

import math

import pytest

from tsnet.base.addresses import DerpAddress
from tsnet.base.keys import NodeKey
from tsnet.disco.relayed import DERP_IDLE_CLOSE, Relayed

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
    relayed = Relayed()
    for region in connected:
        relayed.connected(region)
    if learnt:
        assert relayed.learn(A, learnt)
        assert not relayed.learn(A, learnt)
    assert relayed.address(A, home) == (expected and DerpAddress(expected, A))


def test_what_was_learnt_ends_with_its_connection_or_with_the_peer() -> None:
    relayed = Relayed()
    relayed.connected(2)
    relayed.learn(A, 2)
    relayed.learn(B, 3)
    assert relayed.is_connected(2)
    relayed.disconnected(2)
    assert not relayed.is_connected(2)
    assert relayed.learnt == {B: 3}
    assert not relayed.forget(B, 2)
    assert relayed.forget(B, 3)
    relayed.learn(A, 2)
    assert relayed.forget(A)
    assert not relayed.forget(A)


def test_regions_are_wanted_for_a_minute_and_the_home_for_good() -> None:
    relayed = Relayed()
    assert (relayed.wanted(0.0), relayed.deadline()) == (set(), math.inf)
    relayed.set_home(3, 0.0)
    relayed.wrote(5, 1.0)
    assert relayed.wanted(2.0) == {3, 5}
    assert relayed.deadline() == 1.0 + DERP_IDLE_CLOSE
    relayed.set_home(4, 10.0)
    assert relayed.wanted(61.0) == {3, 4}
    relayed.expire(61.0)
    assert relayed.deadline() == 10.0 + DERP_IDLE_CLOSE
