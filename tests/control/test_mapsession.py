from __future__ import annotations

import math

import attrs
import pytest

from tests.control.scripted import DISCO_KEY, SELF, WALL
from tsnet.base.keys import DiscoKey, NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.control.facts import DuplicateNode, Fact, Health, KeyExpired, KeyExtended, NetMapChanged
from tsnet.control.mapsession import EXPIRY_SLACK, MapSession
from tsnet.netmap.merge import MapUpdate
from tsnet.netmap.model import Node

NOW = 1000.0
FOREIGN = DiscoKey(b"\x09" * 32)
PEER = Node(2, "n2", "db.example", NodeKey(b"\x08" * 32), home_region=1)


def session() -> MapSession:
    return MapSession(DISCO_KEY, WALL - NOW)


def kinds(facts: list[Fact]) -> list[type]:
    return [type(fact) for fact in facts]


def test_every_message_is_a_whole_netmap() -> None:
    one = session()
    one.apply(MapUpdate(node=SELF), NOW)
    one.apply(MapUpdate(peers_changed=(PEER,)), NOW)
    first, second = one.take_facts()
    assert isinstance(first, NetMapChanged)
    assert isinstance(second, NetMapChanged)
    assert (first.netmap.peers, second.netmap.peers) == ({}, {2: PEER})
    assert one.take_facts() == []
    assert one.expiry_at == math.inf


def test_a_new_stream_starts_afresh() -> None:
    one = session()
    one.apply(MapUpdate(node=SELF, peers=(PEER,)), NOW)
    one.begin()
    with pytest.raises(MalformedError):
        one.apply(MapUpdate(peers=(PEER,)), NOW)


def test_our_expiry_goes_by_our_clock_and_is_told_once() -> None:
    one = session()
    one.apply(MapUpdate(node=attrs.evolve(SELF, key_expiry=WALL + 50), control_time=WALL + 9999), NOW)
    one.take_facts()
    assert one.expiry_at == NOW + 50
    one.tick(NOW + 49)
    assert one.take_facts() == []
    one.tick(NOW + 50)
    assert kinds(one.take_facts()) == [NetMapChanged, KeyExpired]
    assert one.expiry_at == math.inf
    one.apply(MapUpdate(domain="d"), NOW + 51)
    assert kinds(one.take_facts()) == [NetMapChanged]
    one.apply(MapUpdate(node=SELF), NOW + 52)
    assert kinds(one.take_facts()) == [NetMapChanged, KeyExtended]


def test_control_may_say_itself_that_we_have_expired() -> None:
    one = session()
    one.apply(MapUpdate(node=attrs.evolve(SELF, expired=True)), NOW)
    assert KeyExpired() in one.take_facts()


def test_a_peers_expiry_goes_by_controls_clock() -> None:
    one = session()
    peer = attrs.evolve(PEER, key_expiry=WALL + 1000)
    one.apply(MapUpdate(node=SELF, peers=(peer,), control_time=WALL + 900), NOW)
    one.take_facts()
    assert one.expiry_at == NOW + 100 + EXPIRY_SLACK
    one.tick(one.expiry_at)
    (told,) = [fact for fact in one.take_facts() if isinstance(fact, NetMapChanged)]
    assert told.netmap.peers[2].expired
    assert told.netmap.peers[2].home_region == 0
    one.apply(MapUpdate(peers_changed=(PEER,)), NOW)  # the mark is no part of what later deltas build on
    (told,) = [fact for fact in one.take_facts() if isinstance(fact, NetMapChanged)]
    assert told.netmap.peers[2] == PEER


@pytest.mark.parametrize(
    ("keys", "duplicates"),
    [
        ([DISCO_KEY, FOREIGN], 1),
        ([DISCO_KEY, FOREIGN, FOREIGN], 1),
        ([DISCO_KEY, FOREIGN, DISCO_KEY, FOREIGN], 2),
        ([FOREIGN, FOREIGN], 0),  # that of our own last process
        ([FOREIGN, DISCO_KEY], 0),
        ([DISCO_KEY, None, DISCO_KEY], 0),
    ],
)
def test_a_duplicate_shows_by_its_disco_key(keys: list[DiscoKey | None], duplicates: int) -> None:
    one = session()
    for key in keys:
        one.apply(MapUpdate(node=attrs.evolve(SELF, disco_key=key)), NOW)
    assert kinds(one.take_facts()).count(DuplicateNode) == duplicates


def test_clocks_that_differ_are_a_warning_until_they_agree() -> None:
    one = session()
    one.apply(MapUpdate(node=SELF, control_time=1_596_412_800.0), NOW)
    one.apply(MapUpdate(control_time=1_596_412_801.0), NOW)
    one.apply(MapUpdate(control_time=WALL - 30), NOW)
    healths = [fact for fact in one.take_facts() if isinstance(fact, Health)]
    assert len(healths) == 2
    assert "ahead of control's" in healths[0].messages[0]
    assert healths[1] == Health(())
    one.apply(MapUpdate(control_time=WALL + 100), NOW)
    assert any(isinstance(fact, Health) and "100 s behind" in fact.messages[0] for fact in one.take_facts())
