from __future__ import annotations

import math
import random

import attrs
import pytest

from tsnet.base.keys import NodeKey
from tsnet.netmap.expiry import BELIEVABLE_SINCE, LEFT_OVER, Expiries, control_clock_offset
from tsnet.netmap.model import NetMap, Node
from tsnet.netmap.persistent import PersistentMap, differences

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
    netmap, next_at = Expiries().mark(NetMap(peer(9, NOW - 1), peers=peers), NOW)
    assert next_at == NOW + 5
    assert {number: p.expired for number, p in netmap.peers.items()} == {1: True, 2: False, 3: False, 4: True}
    spoiled = netmap.peers[1]
    assert (spoiled.home_region, spoiled.endpoints) == (0, ())
    assert spoiled.key == bytes((109, 167, 116, 213, 215, 116)) + KEY[6:]
    assert not netmap.self_node.expired  # ours goes by our own clock


def test_nothing_to_expire_is_the_same_netmap() -> None:
    netmap = NetMap(peer(9, None), peers={3: peer(3, None)})
    assert Expiries().mark(netmap, NOW) == (netmap, math.inf)


def test_marking_twice_is_marking_once() -> None:
    netmap, _ = Expiries().mark(NetMap(peer(9, None), peers={1: peer(1, NOW)}), NOW)
    assert Expiries().mark(netmap, NOW)[0] == attrs.evolve(netmap)


# --- one netmap after the other ---------------------------------------------------------------------------------


def netmap(*peers: Node) -> NetMap:
    return NetMap(peer(9, None), peers=PersistentMap((each.id, each) for each in peers))


def test_time_alone_marks_who_expires_in_it() -> None:
    expiries, known = Expiries(), netmap(peer(1, NOW + 5), peer(2, NOW + 9), peer(3, None))
    assert expiries.mark(known, NOW) == (known, NOW + 5)
    marked, next_at = expiries.mark(known, NOW + 5)
    assert ([number for number, each in marked.peers.items() if each.expired], next_at) == ([1], NOW + 9)
    assert expiries.mark(known, NOW + 9)[1] == math.inf


def test_a_clock_that_is_set_back_unmarks() -> None:
    expiries, known = Expiries(), netmap(peer(1, NOW + 5), peer(2, NOW + 9))
    expiries.mark(known, NOW + 100)
    assert expiries.mark(known, NOW) == (known, NOW + 5)
    assert [each.expired for each in expiries.mark(known, NOW + 7)[0].peers.values()] == [True, False]


def test_who_is_marked_and_does_not_change_stays_the_same_object() -> None:
    expiries, known = Expiries(), netmap(peer(1, NOW), peer(2, None))
    before = expiries.mark(known, NOW)[0]
    changed = attrs.evolve(known, peers=known.peers.changed({2: peer(2, NOW + 5)}))  # type: ignore[attr-defined]
    after = expiries.mark(changed, NOW + 1)[0]
    assert after.peers[1] is before.peers[1]
    assert differences(before.peers, after.peers) == {2: (peer(2, None), peer(2, NOW + 5))}


def test_an_expiry_that_control_moves_again_and_again_takes_no_more_memory() -> None:
    expiries = Expiries()
    for step in range(1000):
        known = netmap(peer(1, NOW + 1000 + step % 100), peer(2, NOW + 50))
        assert expiries.mark(known, NOW)[1] == NOW + 50
    assert len(expiries._due) <= LEFT_OVER + 5


@pytest.mark.parametrize("seed", range(10))
def test_whole_lists_and_single_changes_are_marked_as_if_nothing_had_been_known(seed: int) -> None:
    chance = random.Random(seed)
    expiries, now, peers = Expiries(), 1e9, PersistentMap[int, Node]()
    for _ in range(20):
        some = range(chance.choice([2, 300]))
        made = {
            number: peer(number, chance.choice([None, now - 1, now + 5]), expired=number % 9 == 0) for number in some
        }
        if chance.random() < 0.4:
            peers = peers.replaced(made.items())
        else:
            peers = peers.changed(made, chance.sample([*peers], len(peers) // 9))
        now += chance.choice([0, 3, 10, -7])
        told = attrs.evolve(netmap(), peers=peers)
        assert expiries.mark(told, now) == Expiries().mark(told, now)
