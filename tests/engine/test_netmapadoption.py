"""A netmap in pieces: what packets meet in between, what other threads see, and that it comes to the whole."""

from __future__ import annotations

import gc
import itertools
from typing import Any

import pytest

from tests.attacks.bombs import tailnet
from tests.engine.alone import NOW, A, bare
from tests.engine.pair import ALLOW_ALL, netmap
from tsnet.control.client import facts as told
from tsnet.control.messages import decode_map
from tsnet.engine import facts
from tsnet.engine.factqueue import FACTS_A_TURN
from tsnet.engine.node import Node
from tsnet.netmap.filterrules import NOTHING_ALLOWED, TEXTS_A_STEP
from tsnet.netmap.model import FilterRule, NetMap
from tsnet.netmap.persistent import CHUNKS
from tsnet.netmap.pieces import PEERS
from tsnet.prefs import Prefs

MANY = 5 * PEERS


def large(first: int = 2, count: int = MANY, rules: tuple[FilterRule, ...] = ALLOW_ALL, **fields: Any) -> NetMap:
    return netmap(A, *decode_map(tailnet(count, first=first, **fields)).update.peers, rules=rules)


def take(node: Node, *given: told.Fact) -> int:
    """Let control tell this, and turn until nothing is due. Returns how many turns that took."""
    node.word._untold += given
    for turn in itertools.count(1):
        node.receive((), (), NOW)
        if not node.adoption.is_under_way and not node.word._untold:
            return turn
        assert node.deadline() <= NOW
    raise AssertionError


def taken(node: Node) -> list[facts.Fact]:
    found: list[facts.Fact] = []
    while some := node.take_facts():
        assert len(some) <= FACTS_A_TURN
        found += some
    return found


def same(node: Node, other: Node) -> bool:
    """Whether the two have come to the same."""
    assert node.view is not None
    assert other.view is not None
    ours, theirs = node.engine, other.engine
    keys = [set(engine.device.peers) for engine in (ours, theirs)]
    views = [(view.netmap, view.names._index, view.whois._by_address) for view in (node.view, other.view)]
    rooms = [(engine.peers.routes, engine.peers._keys, engine.peers._prefixes) for engine in (ours, theirs)]
    return keys[0] == keys[1] and views[0] == views[1] and rooms[0] == rooms[1]


def test_a_small_change_takes_no_turn_of_its_own() -> None:
    node = bare()
    assert take(node, told.NetMapChanged(large(count=PEERS))) == 1
    assert take(node, told.NetMapChanged(large(count=PEERS - 1))) == 1


def test_a_large_one_comes_to_what_it_is_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    node = bare()
    maps = large(), large(HomeDERP=9), large(first=20_000), netmap(A), large()
    for number, told_map in enumerate(maps):
        turns = take(node, told.NetMapChanged(told_map))
        assert turns >= MANY // PEERS, number
        once = bare()
        monkeypatch.setattr("tsnet.engine.netmapadoption.in_pieces", lambda changes: [changes])
        take(once, told.NetMapChanged(told_map))
        monkeypatch.undo()
        assert same(node, once), number


def test_other_threads_see_the_netmap_from_before_until_all_of_it_is_there() -> None:
    node = bare()
    before, after = large(), large(first=20_000)
    take(node, told.NetMapChanged(before))
    view = node.view
    node.word._untold.append(told.NetMapChanged(after))
    while True:
        node.receive((), (), NOW)
        if not node.adoption.is_under_way:
            break
        assert node.view is view
        assert node.calls.names is view.names if view is not None else False
    assert node.view is not None
    assert node.view.netmap is after
    assert node.calls.names is node.view.names


def test_what_control_says_next_waits_for_it() -> None:
    node = bare()
    take(node, told.NetMapChanged(large()), told.LoginUrl("https://a.test"), told.NetMapChanged(netmap(A)))
    found = taken(node)
    kinds = [type(fact) for fact in found if not isinstance(fact, facts.PeerLeft | facts.Save)]
    assert kinds == [facts.Running, facts.LoginUrl, facts.NetMapChanged]
    assert len([fact for fact in found if isinstance(fact, facts.PeerLeft)]) == MANY


def test_many_facts_are_told_some_in_each_turn() -> None:
    node = bare()
    take(node, told.NetMapChanged(large(count=FACTS_A_TURN + 300)))
    taken(node)
    take(node, told.NetMapChanged(netmap(A)))
    assert len(node.take_facts()) == FACTS_A_TURN
    assert node.deadline() <= NOW
    assert isinstance(node.take_facts()[-1], facts.NetMapChanged)
    assert node.take_facts() == []
    assert not node._facts.has_more


def test_many_rules_are_compiled_in_steps() -> None:
    node = bare()
    sources = [f"100.64.{number >> 8}.{number & 255}" for number in range(2000)]
    rules = tuple(FilterRule((source,), ALLOW_ALL[0].destinations) for source in sources)
    turns = take(node, told.NetMapChanged(netmap(A, rules=rules)))
    assert turns > 4000 // TEXTS_A_STEP
    assert node.engine.packet_filter.rules.allows(6, bytes((100, 64, 3, 9)), bytes((100, 64, 0, 1)), 80)
    assert take(node, told.NetMapChanged(netmap(A, rules=rules))) == 1, "they are the same"


def test_shields_that_are_raised_meanwhile_stay_up() -> None:
    node = bare()
    node.word._untold.append(told.NetMapChanged(large()))
    node.receive((), (), NOW)
    node.receive((), (), NOW)
    assert node.adoption.is_under_way
    node.engine.set_shields_up(True)
    take(node)
    assert not node.engine.packet_filter.rules.allows(6, bytes((100, 64, 0, 9)), bytes((100, 64, 0, 1)), 80)


def test_shields_that_are_lowered_meanwhile_show_no_rules_of_a_netmap_that_nobody_sees_yet() -> None:
    node = bare()
    node.set_prefs(Prefs("a", shields_up=True), NOW)
    take(node, told.NetMapChanged(netmap(A, rules=())))
    node.word._untold.append(told.NetMapChanged(large()))
    while not (node.engine.peers.netmap and node.engine.peers.netmap.packet_filter):
        node.receive((), (), NOW)
    assert node.adoption.is_under_way
    assert node.view is not None
    node.set_prefs(Prefs("a"), NOW)
    assert node.view.netmap.packet_filter == ()
    assert node.view.whois._rules is NOTHING_ALLOWED
    take(node)
    assert node.view.whois._rules is node.engine.packet_filter.rules is not NOTHING_ALLOWED


def test_of_a_peer_and_of_a_rule_the_collector_sees_one_object_each() -> None:
    """A full collection holds all threads while it looks at every one."""
    document = tailnet(MANY, rules=MANY)
    node = bare()
    gc.collect()
    before = len(gc.get_objects())
    update = decode_map(document).update
    take(node, told.NetMapChanged(netmap(A, *update.peers, rules=update.packet_filter)))
    taken(node)
    node.transmit(NOW, 1 << 20)
    del update
    gc.collect()
    gc.collect()  # the first one stops looking at tuples in tuples from the inside out
    users, chunks = 300, 6 * CHUNKS
    assert len(gc.get_objects()) - before < 2 * MANY + users + chunks
