"""What control tells reaches the rooms of the node, and its owner, in order."""

from __future__ import annotations

from ipaddress import ip_address

import attrs
import pytest

from tests.engine.alone import NOW, A, B, bare, running
from tests.engine.pair import netmap, node
from tsnet.control.client import facts as told
from tsnet.engine import facts
from tsnet.engine.controlword import NOT_CHECKED
from tsnet.errors import NotAControlServer
from tsnet.netmap.model import UserProfile


def test_a_page_that_control_wants_opened_is_told_to_people() -> None:
    some = bare()
    some.word.tell(told.BrowserRequested("https://control.test/approve/1"), NOW)
    [notice] = some.take_facts()
    assert isinstance(notice, facts.Notice)
    assert "https://control.test/approve/1" in notice.text


@pytest.mark.parametrize("fatal", [False, True])
def test_a_problem_is_told_and_a_fatal_one_leaves_nothing_to_log_out(fatal: bool) -> None:
    some = running()
    error = NotAControlServer("it is none")
    some.word.tell(told.Problem(error, fatal), NOW)
    assert some.take_facts() == [facts.Problem(error, fatal)]
    assert some.leaving.is_over is fatal


def test_what_control_displays_is_health_until_control_takes_it_back() -> None:
    some = running()
    before = some.netmap
    assert before is not None
    for messages in ({"expires": {"Title": "The key expires soon"}}, {}):
        some.word.tell(told.NetMapChanged(attrs.evolve(before, display_messages=messages)), NOW)
        sentences = ("The key expires soon",) if messages else ()
        assert facts.Health(sentences) in some.take_facts()
        assert some.view is not None
        assert some.view.health == sentences
        assert some.control.health == sentences, "what control may ask for"


def test_who_is_logged_in_is_remembered() -> None:
    some = bare()
    some.word.tell(told.LoggedIn(UserProfile(1, "ann@example.com")), NOW)
    save, logged_in = some.take_facts()
    assert isinstance(save, facts.Save)
    assert isinstance(logged_in, facts.LoggedIn)
    assert (some.identity.registered, some.identity.login_name) == (True, "ann@example.com")


def test_what_follows_a_netmap_that_is_under_way_waits_for_it() -> None:
    some = running()
    some.adoption.begin(netmap(A, B, node(3, "c", is_wireguard_only=False)), some.view)
    some.word._untold.append(told.DuplicateNode("twice"))
    some.word.take(NOW)
    assert some.word.has_more
    assert not any(isinstance(fact, facts.DuplicateNode) for fact in some.take_facts())
    while some.word.has_more:
        some.word.adopt(NOW)
        some.word.take(NOW)
    assert isinstance(some.take_facts()[-1], facts.DuplicateNode)
    assert some.calls.resolve("c") == ip_address("100.64.0.3")


def test_a_tailnet_with_tailnet_lock_is_told_of() -> None:
    some = running()
    some.word.tell(told.NetMapChanged(attrs.evolve(netmap(A, B), is_locked=True)), NOW)
    assert [*some.health.messages] == [NOT_CHECKED]
    some.word.tell(told.NetMapChanged(netmap(A, B)), NOW)
    assert not some.health.messages
