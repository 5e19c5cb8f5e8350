"""The table of `serverkey`, then the client with a control server whose key is swapped."""

from __future__ import annotations

from typing import Any

import pytest

from tests.control.scripted import CONTROL, SELF, WELCOME, Scripted
from tsnet.base.crypto import machine_public
from tsnet.base.keys import MachineKey, MachinePrivateKey
from tsnet.control.client import facts
from tsnet.control.client.address import ControlAddress
from tsnet.control.client.facts import ControlKey, NewControlKey
from tsnet.control.client.serverkey import ASK_AFTER, ServerKey
from tsnet.control.messages import ControlKeys, MapResponse, RegisterResponse
from tsnet.errors import ControlKeyChanged, ControlUnreachable, NotAControlServer
from tsnet.netmap.merge import MapUpdate

HTTP = "http://192.168.1.5:8080"
KEY = machine_public(CONTROL)
OTHER_PRIVATE = MachinePrivateKey(b"\x23" * 32)
OTHER = machine_public(OTHER_PRIVATE)
THIRD = MachineKey(b"\x09" * 32)


def swap(control: Scripted, private: MachinePrivateKey) -> None:
    """Another server answers at that address from now on; who shakes hands with the wrong key is sent away."""
    control.key_private = private
    control.pages["/key"] = (200, ControlKeys(machine_public(private)).encode(), {})


def changed(control: Scripted) -> list[facts.Problem]:
    return [told for told in control.told(facts.Problem) if isinstance(told.error, ControlKeyChanged)]


# --- by itself --------------------------------------------------------------------------------------------------


def test_a_key_is_trusted_when_proved_and_told_when_we_are_taken_in() -> None:
    one = ServerKey(pinned=None, known=None, verified=False)
    assert one.connecting(met=False) == (None, True)
    one.proven(KEY)
    assert (one.trusted, one.known) == (KEY, None)
    assert one.taken_in() == ControlKey(KEY)
    assert one.taken_in() is None
    assert one.connecting(met=True) == (KEY, False)


@pytest.mark.parametrize("options", [{"known": OTHER, "verified": True}, {"known": OTHER, "pinned": KEY}])
def test_another_key_than_before_is_told_as_such(options: dict[str, Any]) -> None:
    one = ServerKey(**{"pinned": None, "verified": False, **options})
    one.proven(KEY)
    assert one.taken_in() == NewControlKey(KEY, OTHER)


def test_the_key_is_asked_for_at_first_and_after_failures() -> None:
    one = ServerKey(pinned=None, known=KEY, verified=True)
    assert [one.connecting(met=False) for _ in range(2)] == [(KEY, True)] * 2
    one.proven(KEY)
    asked = [one.connecting(met=True) for _ in range(ASK_AFTER + 2)]
    assert asked == [(KEY, False)] * ASK_AFTER + [(KEY, True)] * 2


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, None),
        ({"known": KEY}, None),
        ({"known": OTHER}, ControlKeyChanged),
        ({"known": OTHER, "verified": True}, None),
        ({"known": OTHER, "pinned": KEY}, None),
        ({"pinned": OTHER}, NotAControlServer),
        ({"known": KEY, "pinned": OTHER}, NotAControlServer),
        ({"known": KEY, "pinned": OTHER, "verified": True}, NotAControlServer),
    ],
)
def test_what_is_against_a_key(options: dict[str, Any], error: type[Exception] | None) -> None:
    one = ServerKey(**{"pinned": None, "known": None, "verified": False, **options})
    objection = one.objection(ControlAddress.parse(HTTP), KEY)
    assert (None if objection is None else type(objection[1])) == error


def test_a_key_that_was_proved_is_defended_before_it_is_told() -> None:
    one = ServerKey(pinned=None, known=None, verified=False)
    one.proven(OTHER)
    objection = one.objection(ControlAddress.parse(HTTP), KEY)
    assert objection is not None
    assert type(objection[1]) is ControlKeyChanged


def test_from_scratch_only_what_was_told_is_remembered() -> None:
    one = ServerKey(pinned=None, known=None, verified=False)
    one.proven(KEY)
    one.from_scratch()
    assert one.trusted is None
    one.proven(KEY)
    one.taken_in()
    one.from_scratch()
    assert one.trusted == KEY


def test_a_change_is_news_once_until_we_are_taken_in() -> None:
    one = ServerKey(pinned=None, known=KEY, verified=False)
    assert [one.is_news(ControlKeyChanged("a")) for _ in range(3)] == [True, False, False]
    assert one.is_news(ControlKeyChanged("b"))
    assert one.is_news(ControlUnreachable("x"))
    assert one.is_news(ControlUnreachable("x"))
    one.taken_in()
    assert one.is_news(ControlKeyChanged("b"))


# --- at the start -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"url": HTTP}, {"tls_verified": False}])
def test_a_changed_key_at_the_start_is_fatal_and_sees_nothing(options: dict[str, Any]) -> None:
    control = Scripted()
    swap(control, OTHER_PRIVATE)
    client = control.client(auth_key="tskey-hidden", known_control_key=KEY, **options)
    control.wind(3600)
    (told,) = control.told(facts.Problem)
    assert told.fatal
    assert isinstance(told.error, ControlKeyChanged)
    assert "control_key=" in str(told.error)
    assert str(KEY) in str(told.error)
    assert str(OTHER) in str(told.error)
    assert sorted(path for _at, path in control.asked) == ["/key", "/ts2021"]
    assert not control.waiting  # the one handshake was sealed to the key that we know: nothing was asked
    assert control.peers == {}
    swap(control, CONTROL)
    client.retry(control.now)
    control.run()
    assert control.find("register").register.auth_key == "tskey-hidden"


def test_over_verified_https_a_new_key_is_taken_and_told() -> None:
    control = Scripted()
    swap(control, OTHER_PRIVATE)
    control.join(known_control_key=KEY)
    assert control.facts[0] == NewControlKey(OTHER, KEY)
    assert control.told(facts.Connected)


def test_the_known_key_is_no_news() -> None:
    control = Scripted()
    control.join(url=HTTP, known_control_key=KEY)
    assert not control.told(ControlKey) + control.told(NewControlKey)


def test_a_state_without_a_key_learns_it_when_the_node_is_accepted() -> None:
    control = Scripted()
    control.client(url=HTTP, enrolled=True)
    control.run()
    assert not control.told(ControlKey)
    control.answer("register", WELCOME.encode())
    assert control.told(ControlKey) == [ControlKey(KEY)]


def test_a_server_that_does_not_take_us_in_is_not_remembered() -> None:
    control = Scripted()
    client = control.client(url=HTTP, auth_key="key")
    control.run()
    control.answer("register", RegisterResponse(error="no").encode())
    assert not control.told(ControlKey)
    swap(control, OTHER_PRIVATE)
    client.retry(control.now)
    control.run()
    control.answer("register", WELCOME.encode())
    assert control.told(ControlKey) == [ControlKey(OTHER)]


@pytest.mark.parametrize("cut_while", ["registering", "waiting"])
def test_what_was_begun_with_one_server_is_not_shown_to_another(cut_while: str) -> None:
    """Met a moment ago, and not taken us in yet: still the only one to see the auth key, or the login URL."""
    control = Scripted()
    control.client(url=HTTP, auth_key="key")
    control.run()
    if cut_while == "waiting":
        control.answer("register", RegisterResponse(auth_url="https://control.example/a/1").encode())
    swap(control, OTHER_PRIVATE)
    control.cut()
    control.wind(60)
    assert changed(control)[0].fatal
    assert not control.waits("register")


def test_the_pinned_key_overrides_the_known_one() -> None:
    control = Scripted()
    control.join(url=HTTP, known_control_key=THIRD, control_key=KEY)
    assert control.told(NewControlKey) == [NewControlKey(KEY, THIRD)]
    control = Scripted()
    control.client(url=HTTP, auth_key="key", known_control_key=KEY, control_key=THIRD)
    control.wind(60)
    (told,) = control.told(facts.Problem)
    assert isinstance(told.error, NotAControlServer)
    assert sorted(path for _at, path in control.asked) == ["/key", "/ts2021"]
    assert not control.waiting


# --- while it runs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"url": HTTP}, {"tls_verified": False}])
def test_a_running_node_keeps_its_map_and_recovers_when_the_old_key_answers(options: dict[str, Any]) -> None:
    control = Scripted()
    client = control.join(netmap=MapUpdate(node=SELF, domain="ours"), **options)
    before = control.netmap
    swap(control, OTHER_PRIVATE)
    control.cut()
    control.asked.clear()
    control.wind(600)
    assert len(changed(control)) == 1
    assert not any(told.fatal for told in control.told(facts.Problem))
    assert control.netmap is before
    assert not control.told(NewControlKey)
    assert not control.waits("register")
    assert not control.waits("poll")
    assert 10 < len(control.asked) < 120
    assert "/machine/map" not in [path for _at, path in control.asked]
    client.login(control.now, "another secret")
    control.wind(60)
    assert not control.waits("register")
    swap(control, CONTROL)
    control.wind(60)
    assert control.waits("register")
    control.send_map(MapResponse(MapUpdate(node=SELF, domain="again")))
    assert control.netmap.domain == "again"
    assert len(control.told(facts.Connected)) == 2


def test_a_running_node_takes_a_new_key_over_verified_https() -> None:
    control = Scripted()
    control.join()
    swap(control, OTHER_PRIVATE)
    control.cut()
    control.wind(60)
    control.send_map(MapResponse(MapUpdate(node=SELF)))
    assert control.told(NewControlKey) == [NewControlKey(OTHER, KEY)]
    assert changed(control) == []


def test_a_change_is_told_again_after_the_old_key_was_back() -> None:
    control = Scripted()
    control.join(url=HTTP)
    for times in (1, 2):
        swap(control, OTHER_PRIVATE)
        control.cut()
        control.wind(60)
        assert len(changed(control)) == times
        swap(control, CONTROL)
        control.wind(60)
        control.send_map(MapResponse(MapUpdate(node=SELF)))
