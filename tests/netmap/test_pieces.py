"""A change in pieces comes to what it is as a whole."""

from __future__ import annotations

from random import Random

import attrs
import pytest

from tests.netmap.test_merge import NOW, node
from tsnet.netmap.changes import Changes
from tsnet.netmap.merge import MapUpdate, begin
from tsnet.netmap.model import FilterRule, NetMap
from tsnet.netmap.pieces import in_pieces


def netmap(chance: Random, last: NetMap | None = None) -> NetMap:
    peers = tuple(node(number, home_region=chance.randrange(2)) for number in chance.sample(range(2, 40), 20))
    rules = (FilterRule((str(chance.random()),)),)
    return begin(last, MapUpdate(node=node(1), peers=peers, packet_filter=rules, domain="d"), NOW)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("is_first", [True, False])
def test_pieces_come_to_the_whole(seed: int, is_first: bool) -> None:
    chance = Random(seed)
    before = None if is_first else netmap(chance)
    changes = Changes.between(before, netmap(chance, before))
    pieces = list(in_pieces(changes, 3))
    assert pieces[0].before is before
    assert pieces[-1].after is changes.after
    for piece, following in zip(pieces, [*pieces[1:], None], strict=True):
        assert piece.peers == Changes.between(piece.before, piece.after).peers
        assert len(piece.peers) <= 3
        assert following is None or following.before is piece.after
    assert dict(pair for piece in pieces for pair in piece.peers.items()) == changes.peers


def test_who_leaves_goes_first_and_no_peer_meets_a_filter_from_before_its_time() -> None:
    chance = Random(1)
    before = netmap(chance)
    changes = Changes.between(before, netmap(chance, before))
    rules = changes.after.packet_filter
    for piece in in_pieces(changes, 2):
        left = any(after is None for _, after in piece.peers.values())
        has_come = any(after is not None for _, after in piece.peers.values())
        assert not (left and has_come)
        assert (piece.after.packet_filter == rules) == (not left)
        assert not has_come or (piece.before is not None and piece.before.packet_filter == rules)


def test_a_small_change_is_one_piece() -> None:
    before = netmap(Random(1))
    changes = Changes.between(before, attrs.evolve(before, domain="e"))
    assert list(in_pieces(changes)) == [changes]


def test_many_that_leave_and_nothing_else() -> None:
    before = netmap(Random(1))
    changes = Changes.between(before, begin(before, MapUpdate(node=node(1)), NOW))
    assert [len(piece.peers) for piece in in_pieces(changes, 8)] == [8, 8, 4, 0, 0]
