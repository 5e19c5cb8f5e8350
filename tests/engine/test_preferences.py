"""What a change of preferences does within a node: filter, control and store in one step, none waiting for another."""

from __future__ import annotations

from ipaddress import ip_address

import attrs
import pytest

from tests.engine.alone import NOW, A, B, bare, running
from tests.engine.pair import netmap
from tsnet.control.client import facts as told
from tsnet.engine import facts
from tsnet.engine.node import Node
from tsnet.engine.preferences import Preferences
from tsnet.engine.saved import PREFS, decode_prefs
from tsnet.errors import KeyExpired, StateError
from tsnet.prefs import Prefs

SHUT = Prefs("shop", shields_up=True)
KEPT = {"hostname": "shop", "shields_up": True}


def hostinfo(some: Node) -> dict[str, object]:
    return some.control._publisher.hostinfo


# --- one step ---------------------------------------------------------------------------------------------------


def test_filter_control_and_store_are_told_in_one_step() -> None:
    some = running(tags=["tag:ci"])
    assert not some.engine.packet_filter.shields_up
    some.set_prefs(SHUT, NOW, kept=KEPT)
    assert some.engine.packet_filter.shields_up
    assert hostinfo(some) == {"OS": "test", "Hostname": "shop", "ShieldsUp": True, "RequestTags": ["tag:ci"]}
    changed, save = some.take_facts()
    assert changed == facts.PrefsChanged(SHUT, Prefs("a"))
    assert isinstance(save, facts.Save)
    assert (save.key, decode_prefs(save.value)) == (PREFS, KEPT)
    assert some.preferences.current == SHUT


def test_control_is_asked_at_once() -> None:
    some = running()
    some._control.rest()
    some._control.at = NOW + 100
    some.set_prefs(SHUT, NOW)
    assert some._control.is_due(NOW)


def test_the_same_again_is_saved_and_tells_nobody() -> None:
    some = running()
    some.set_prefs(Prefs("a"), NOW, kept={})
    assert [type(fact) for fact in some.take_facts()] == [facts.Save]
    some.set_prefs(Prefs("a"), NOW)
    assert some.take_facts() == []


def test_shields_that_are_up_from_the_start_stay_up_with_every_netmap() -> None:
    some = bare(prefs=SHUT)
    assert hostinfo(some)["ShieldsUp"] is True
    for _ in range(2):
        some.word.tell(told.NetMapChanged(netmap(A, B)), NOW)
        assert some.engine.packet_filter.shields_up
    some.set_prefs(attrs.evolve(SHUT, shields_up=False), NOW)
    assert not some.engine.packet_filter.shields_up
    assert "ShieldsUp" not in hostinfo(some)


def test_shields_may_change_before_the_first_netmap() -> None:
    some = bare()
    some.set_prefs(SHUT, NOW)
    some.word.tell(told.NetMapChanged(netmap(A, B)), NOW)
    assert some.engine.packet_filter.shields_up


def test_whois_grants_what_the_filter_grants() -> None:
    some = running()
    before = some.view
    assert before is not None
    some.set_prefs(attrs.evolve(SHUT, hostname="a"), NOW)
    assert some.view is not None
    assert some.view.whois.peer(ip_address("100.64.0.2")) is not None
    assert some.view.whois._rules is some.engine.packet_filter.rules is not before.whois._rules


def test_an_expired_key_names_the_node_as_it_is_called_now() -> None:
    some = running()
    some.set_prefs(SHUT, NOW)
    some.word.tell(told.KeyExpired(), NOW)
    assert isinstance(some.calls.refusal, KeyExpired)
    assert "the key of shop has expired" in str(some.calls.refusal)


# --- saved ------------------------------------------------------------------------------------------------------


def test_that_they_are_saved_is_told_and_a_failure_is_known_until_it_is_mended() -> None:
    some = running()
    some.set_prefs(SHUT, NOW, kept=KEPT)
    first = some.take_facts()[1]
    assert isinstance(first, facts.Save)
    assert not some.remembered.has_prefs
    full = StateError("no space is left")
    some.saved(first.ticket, full, NOW)
    assert some.remembered.prefs_failure is full
    assert facts.Problem(full, fatal=False) in some.take_facts()
    some.remembered.tick(some.remembered.deadline())
    (again,) = some.take_facts()
    assert isinstance(again, facts.Save)
    assert again.value == first.value
    some.saved(again.ticket, None, NOW + 2)
    assert facts.PrefsSaved(KEPT) in some.take_facts()
    assert some.remembered.has_prefs
    assert some.remembered.prefs_failure is None


# --- taken ------------------------------------------------------------------------------------------------------


def test_that_control_has_taken_them_is_told_once_for_each_change() -> None:
    found: list[facts.Fact] = []
    preferences = Preferences(Prefs("a"), {}, (), told=found)
    preferences.published(False)
    assert found == []
    for _ in range(2):
        preferences.published(True)
    assert found == [facts.PrefsTaken(Prefs("a"))]
    assert preferences.change(SHUT)
    preferences.published(False)
    preferences.published(True)
    preferences.published(True)
    assert found[1:] == [facts.PrefsChanged(SHUT, Prefs("a")), facts.PrefsTaken(SHUT)]


@pytest.mark.parametrize("tags", [(), ("tag:a", "tag:b")])
def test_tags_are_asked_for_whatever_changes(tags: tuple[str, ...]) -> None:
    preferences = Preferences(Prefs("a"), {"OS": "test"}, tags, told=[])
    preferences.change(Prefs("b"))
    assert preferences.hostinfo == {"OS": "test", "Hostname": "b", "RequestTags": list(tags) or None}
