from __future__ import annotations

import math

import attrs
import pytest

from tsnet.base.keys import NodeKey
from tsnet.netmap.expiry import BELIEVABLE_SINCE, control_clock_offset, expire
from tsnet.netmap.model import NetMap, Node

NOW = 1_790_000_000.0
KEY = NodeKey(b"\x05" * 32)


def peer(number: int, expiry: float | None, *, expired: bool = False) -> Node:
    return Node(number, str(number), "x", KEY, home_region=3, key_expiry=expiry, expired=expired)


@pytest.mark.parametrize(
    ("control_time", "offset"),
    [
        (None, 0.0),
        (NOW, 0.0),
        (NOW + 60, 0.0),
        (NOW + 61, 61.0),
        (NOW - 3600, -3600.0),
        (1_596_412_800.0, 0.0),  # testcontrol lives in August 2020
        (BELIEVABLE_SINCE, BELIEVABLE_SINCE - NOW),
    ],
)
def test_how_far_control_is_believed(control_time: float | None, offset: float) -> None:
    assert control_clock_offset(control_time, NOW) == offset


def test_expired_peers_cannot_be_reached() -> None:
    peers = {1: peer(1, NOW), 2: peer(2, NOW + 5), 3: peer(3, None), 4: peer(4, None, expired=True)}
    netmap, next_at = expire(NetMap(peer(9, NOW - 1), peers=peers), NOW)
    assert next_at == NOW + 5
    assert {number: p.expired for number, p in netmap.peers.items()} == {1: True, 2: False, 3: False, 4: True}
    spoiled = netmap.peers[1]
    assert (spoiled.home_region, spoiled.endpoints) == (0, ())
    assert spoiled.key == bytes((109, 167, 116, 213, 215, 116)) + KEY[6:]
    assert not netmap.self_node.expired  # ours goes by our own clock


def test_nothing_to_expire_is_the_same_netmap() -> None:
    netmap = NetMap(peer(9, None), peers={3: peer(3, None)})
    assert expire(netmap, NOW) == (netmap, math.inf)


def test_marking_twice_is_marking_once() -> None:
    netmap, _ = expire(NetMap(peer(9, None), peers={1: peer(1, NOW)}), NOW)
    assert expire(netmap, NOW)[0] == attrs.evolve(netmap)
