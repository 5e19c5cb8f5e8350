from __future__ import annotations

import contextlib
import itertools
import math
from typing import Any

import attrs
import pytest

from tests.attacks.maps import GROWING
from tests.control.scripted import DISCO_KEY, SELF, WALL
from tsnet.base.keys import DiscoKey, NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.control.client.facts import (
    ControlHealth,
    DuplicateNode,
    Fact,
    KeyExpired,
    KeyExpiring,
    KeyExtended,
    NetMapChanged,
)
from tsnet.control.client.mapsession import EXPIRY_SLACK, MAX_FACTS, MapSession
from tsnet.control.messages import decode_map
from tsnet.netmap import limits
from tsnet.netmap.merge import DerpMapUpdate, MapUpdate
from tsnet.netmap.model import DerpRegion, NetMap, Node, UserProfile

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
    (first,) = one.take_facts()
    one.apply(MapUpdate(peers_changed=(PEER,)), NOW)
    (second,) = one.take_facts()
    assert isinstance(first, NetMapChanged)
    assert isinstance(second, NetMapChanged)
    assert (first.netmap.peers, second.netmap.peers) == ({}, {2: PEER})
    assert one.take_facts() == []
    assert one.expiry_at == math.inf


def test_a_new_stream_must_bring_our_node_and_its_peers() -> None:
    one = session()
    one.apply(MapUpdate(node=SELF, peers=(PEER,)), NOW)
    one.begin()
    with pytest.raises(MalformedError):
        one.apply(MapUpdate(peers=(PEER,)), NOW)
    with pytest.raises(MalformedError):  # the second is no better
        one.apply(MapUpdate(domain="d"), NOW)
    one.apply(MapUpdate(node=SELF), NOW)
    told = one.take_facts()[-1]
    assert isinstance(told, NetMapChanged)
    assert told.netmap.peers == {}


def test_netmaps_that_nobody_took_are_one() -> None:
    one = session()
    one.apply(MapUpdate(node=SELF), NOW)
    for number in range(1000):
        one.apply(MapUpdate(domain=f"d{number}"), NOW)
    (told,) = one.take_facts()
    assert isinstance(told, NetMapChanged)
    assert told.netmap.domain == "d999"


def test_a_control_that_changes_its_mind_for_ever_is_refused() -> None:
    one = session()
    changes = [MapUpdate(node=attrs.evolve(SELF, expired=expired)) for expired in (True, False)]
    for number in range(MAX_FACTS // 2 + 1):
        one.apply(changes[number % 2], NOW)
    with pytest.raises(MalformedError):
        one.apply(MapUpdate(node=SELF), NOW)
    assert len(one.take_facts()) <= MAX_FACTS + 2
    one.apply(MapUpdate(node=SELF), NOW)


@pytest.mark.parametrize("said", [None, DerpMapUpdate({})])
def test_a_new_stream_without_relays_keeps_those_of_the_last(said: DerpMapUpdate | None) -> None:
    one = session()
    one.apply(MapUpdate(node=SELF, derp_map=DerpMapUpdate({900: DerpRegion(900)})), NOW)
    one.begin()
    one.apply(MapUpdate(node=SELF, derp_map=said), NOW)
    told = one.take_facts()[-1]
    assert isinstance(told, NetMapChanged)
    assert set(told.netmap.derp_map.regions) == {900}


def test_what_is_forgotten_is_not_taken_over() -> None:
    one = session()
    one.apply(MapUpdate(node=attrs.evolve(SELF, expired=True), derp_map=DerpMapUpdate({900: DerpRegion(900)})), NOW)
    one.forget()
    assert (one.expired, one.expiry_at) == (False, math.inf)
    one.take_facts()
    one.apply(MapUpdate(node=SELF), NOW)
    assert one.take_facts() == [NetMapChanged(NetMap(SELF))]


def test_our_expiry_is_told_once_before_the_netmap() -> None:
    one = session()
    one.apply(MapUpdate(node=attrs.evolve(SELF, key_expiry=WALL + 50)), NOW)
    one.take_facts()
    assert one.expiry_at == NOW + 45
    one.tick(NOW + 44)
    assert one.take_facts() == []
    one.tick(NOW + 45)
    assert one.take_facts()[0] == KeyExpiring(WALL + 50)
    assert one.expiry_at == NOW + 50
    one.tick(NOW + 49)
    assert one.take_facts() == []
    one.tick(NOW + 50)
    assert kinds(one.take_facts()) == [KeyExpired, NetMapChanged]
    assert one.expiry_at == math.inf
    one.apply(MapUpdate(domain="d"), NOW + 51)
    assert kinds(one.take_facts()) == [NetMapChanged]
    one.apply(MapUpdate(node=SELF), NOW + 52)
    assert kinds(one.take_facts()) == [KeyExtended, NetMapChanged]


DAY = 86_400.0


@pytest.mark.parametrize("wrong", [-DAY, -100.0, 100.0, DAY])
def test_our_expiry_goes_by_controls_clock(wrong: float) -> None:
    """Ours is wrong; set right later, it changes nothing."""
    one = MapSession(DISCO_KEY, WALL - NOW + wrong)
    one.apply(MapUpdate(node=attrs.evolve(SELF, key_expiry=WALL + 50), control_time=WALL), NOW)
    assert KeyExpired not in kinds(one.take_facts())
    assert one.expiry_at == NOW + 45
    one.set_wall_offset(WALL - NOW, NOW + 10)
    assert kinds(one.take_facts()) == [ControlHealth, NetMapChanged]
    assert one.expiry_at == NOW + 45
    one.tick(NOW + 45)
    assert kinds(one.take_facts()) == [KeyExpiring, NetMapChanged]
    assert one.expiry_at == NOW + 50
    one.tick(NOW + 50)
    assert kinds(one.take_facts()) == [KeyExpired, NetMapChanged]


def test_a_clock_that_is_set_right_takes_an_expiry_back() -> None:
    """Where control says no time of its own."""
    one = MapSession(DISCO_KEY, WALL - NOW + DAY)
    peer = attrs.evolve(PEER, key_expiry=WALL + 3600)
    one.apply(MapUpdate(node=attrs.evolve(SELF, key_expiry=WALL + 3600), peers=(peer,)), NOW)
    assert kinds(one.take_facts()) == [KeyExpired, NetMapChanged]
    one.set_wall_offset(WALL - NOW, NOW)
    extended, told = one.take_facts()
    assert extended == KeyExtended()
    assert isinstance(told, NetMapChanged)
    assert told.netmap.peers == {2: peer}
    assert one.expiry_at == NOW + 3600
    one.set_wall_offset(WALL - NOW, NOW)
    assert one.take_facts() == []
    one.set_wall_offset(WALL - NOW + DAY, NOW)
    assert kinds(one.take_facts()) == [KeyExpired, NetMapChanged]


def test_the_wall_may_be_set_before_there_is_a_netmap() -> None:
    one = session()
    one.set_wall_offset(0.0, NOW)
    assert one.take_facts() == []


def test_an_expiry_between_two_streams_is_told() -> None:
    one = session()
    one.apply(MapUpdate(node=attrs.evolve(SELF, key_expiry=WALL + 50)), NOW)
    one.begin()
    one.take_facts()
    one.tick(NOW + 50)
    assert KeyExpired() in one.take_facts()
    assert one.expiry_at > NOW + 50


def test_whose_node_it_is() -> None:
    one = session()
    assert one.own_user == UserProfile(0, "")
    one.apply(MapUpdate(node=SELF), NOW)
    assert one.own_user == UserProfile(1, "")
    one.apply(MapUpdate(users=(UserProfile(1, "u@example.com"),)), NOW)
    assert one.own_user.login_name == "u@example.com"


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
    healths = [fact for fact in one.take_facts() if isinstance(fact, ControlHealth)]
    assert len(healths) == 2
    assert "ahead of control's" in healths[0].messages[0]
    assert healths[1] == ControlHealth(())
    one.apply(MapUpdate(control_time=WALL + 100), NOW)
    assert any(isinstance(fact, ControlHealth) and "100 s behind" in fact.messages[0] for fact in one.take_facts())


def test_before_any_map_the_date_of_an_answer_tells_of_a_wrong_clock_and_of_nothing_else() -> None:
    one = session()
    one.hear_date(WALL - 3, NOW)
    assert one.take_facts() == []
    one.hear_date(WALL + 86_400, NOW + 1)
    (fact,) = one.take_facts()
    assert isinstance(fact, ControlHealth)
    assert "86399 s behind control's" in fact.messages[0]
    one.set_wall_offset(WALL - NOW + 86_400, NOW + 2)
    assert one.take_facts() == [ControlHealth(())]
    one.set_wall_offset(WALL - NOW, NOW + 3)
    assert isinstance(one.take_facts()[0], ControlHealth)
    one.apply(MapUpdate(node=attrs.evolve(SELF, key_expiry=WALL + 1000)), NOW + 4)
    assert not one.expired, "who answers over http could say any time"
    one.apply(MapUpdate(control_time=WALL + 5), NOW + 5)
    assert ControlHealth(()) in one.take_facts()
    one.hear_date(WALL + 86_400, NOW + 6)
    assert one.take_facts() == [], "control's own word counts from then on"


def of(node: Node | None = SELF, **fields: Any) -> MapUpdate:
    return MapUpdate(node=node, **fields)


def test_users_that_no_node_names_make_room_before_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_USERS", 10)
    one = session()
    owned = attrs.evolve(PEER, user=3)
    one.apply(of(peers=(owned,)), NOW)
    for number in range(1, 100):
        one.apply(MapUpdate(users=(UserProfile(number, "u"),)), NOW)
    assert one.netmap is not None
    assert 3 in one.netmap.users
    assert 99 in one.netmap.users
    assert len(one.netmap.users) <= 10


@pytest.mark.parametrize("name", GROWING)
def test_no_table_grows_for_ever(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits are a hundredth of what they are, so that this ends soon."""
    for limit in ("MAX_PEERS", "MAX_USERS", "MAX_MESSAGES", "MAX_FILTERS", "MAX_WEIGHT"):
        monkeypatch.setattr(limits, limit, getattr(limits, limit) // 100)
    one = session()
    heaviest = count = 0
    with contextlib.suppress(MalformedError):
        for document in itertools.islice(GROWING[name](), 1500):
            one.apply(decode_map(document).update, NOW)
            one.take_facts()
            heaviest, count = max(heaviest, one._scale.weight), count + 1
    assert heaviest <= limits.MAX_WEIGHT
    assert count < 1500 or name == "users", name
    assert one.netmap is not None
    assert len(one.netmap.users) <= limits.MAX_USERS


def test_after_a_refusal_the_netmap_is_the_one_before_and_a_whole_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PEERS", 3)
    one = session()
    peers = [attrs.evolve(PEER, id=number) for number in range(2, 8)]
    one.apply(of(peers=tuple(peers[:3])), NOW)
    before = one.netmap
    for refused in (MapUpdate(peers_changed=(peers[4],)), MapUpdate(peers=tuple(peers))):
        with pytest.raises(MalformedError, match="peers, and may have 3"):
            one.apply(refused, NOW)
        assert one.netmap is before
    one.begin()
    one.apply(of(peers=tuple(peers[3:])), NOW)
    assert one.netmap is not None
    assert list(one.netmap.peers) == [5, 6, 7]
