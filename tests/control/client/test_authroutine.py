from __future__ import annotations

import math
from typing import Any

import pytest

from tests.control.scripted import NODE_KEY, WELCOME, Scripted
from tsnet.base.crypto import node_public
from tsnet.base.keys import NodeKey
from tsnet.control.client import facts
from tsnet.control.messages import RegisterResponse

# --- logging in by a person -------------------------------------------------------------------------------------


def test_without_a_key_the_url_is_told_and_waited_for_with_the_same_node_key() -> None:
    control = Scripted()
    control.client()
    control.run()
    url = "https://control.example/a/1"
    control.answer("register", RegisterResponse(auth_url=url).encode())
    assert control.facts == [facts.LoginUrl(url)]
    request = control.find("register").register
    assert (request.followup, request.node_key) == (url, NODE_KEY)
    control.wind(200)  # a person takes their time
    control.answer("register", WELCOME.encode())
    assert control.told(facts.LoggedIn)


def test_the_same_url_again_is_asked_with_a_backoff_and_told_once() -> None:
    control = Scripted()
    control.client()
    control.run()
    answer = RegisterResponse(auth_url="https://control.example/a/1").encode()
    for _ in range(5):
        control.answer("register", answer)
        control.wind(1)
    assert len(control.told(facts.LoginUrl)) == 1


def test_a_new_url_is_told() -> None:
    control = Scripted()
    control.client()
    control.run()
    for number in (1, 2):
        control.answer("register", RegisterResponse(auth_url=f"https://control.example/a/{number}").encode())
    control.wind(0.1)
    assert [fact.url[-1] for fact in control.told(facts.LoginUrl)] == ["1", "2"]
    assert control.find("register").register.followup.endswith("2")


def test_a_login_survives_a_broken_connection() -> None:
    control = Scripted()
    control.client()
    control.run()
    control.answer("register", RegisterResponse(auth_url="https://control.example/a/1").encode())
    control.cut()
    control.wind(1)
    assert control.find("register").register.followup == "https://control.example/a/1"


def test_a_followup_nobody_answers_is_asked_again_on_a_new_connection() -> None:
    control = Scripted()
    control.client()
    control.run()
    control.answer("register", RegisterResponse(auth_url="https://control.example/a/1").encode())
    control.wind(301)
    assert len([one for one in control.opens if one.link[1] == "noise"]) == 2
    assert control.find("register").register.followup
    assert not [fact for fact in control.facts if isinstance(fact, facts.Problem)], "a person takes their time"


# --- leaving --------------------------------------------------------------------------------------------------


def test_logout() -> None:
    control = Scripted()
    client = control.join()
    client.logout(control.now)
    control.run()
    request = control.find("register").register
    assert (request.expiry, request.node_key) == (123.0, NODE_KEY)
    control.answer("register", RegisterResponse(node_key_expired=True).encode())
    assert control.facts[-1] == facts.LoggedOut()
    control.wind(3600)
    assert len(control.opens) == 2
    assert client.dropped == {}


@pytest.mark.parametrize("status", [404, 400, 401])
def test_a_logout_of_a_node_nobody_knows_is_done(status: int) -> None:
    control = Scripted()
    client = control.join()
    client.logout(control.now)
    control.run()
    control.answer("register", b"?", status)
    assert control.facts[-1] == facts.LoggedOut()


@pytest.mark.parametrize("purpose", ["update", "poll"])
@pytest.mark.parametrize("ephemeral", [True, False])
def test_a_404_while_we_are_leaving_is_no_removal(purpose: str, ephemeral: bool) -> None:
    """Control forgets the node at our wish; what else was under way may hear of it first."""
    control = Scripted()
    client = control.join(ephemeral=ephemeral)
    control.updates_pass = False
    client.set_net_info({"PreferredDERP": 900}, control.now)
    if purpose == "poll":
        control.send(b"", end=True)
        control.wind(1)
    client.logout(control.now)
    control.run()
    control.answer(purpose, b"node not found", 404)
    control.answer("register", RegisterResponse(node_key_expired=True).encode())
    control.wind(10)
    assert control.told(facts.NodeRemoved) == []
    assert control.facts[-1] == facts.LoggedOut()
    assert control.peers == {}


def test_a_node_that_asked_for_nothing_has_nothing_to_log_out_from() -> None:
    control = Scripted()
    client = control.client(auth_key="key")
    client.logout(control.now)
    control.run()
    assert control.facts == [facts.LoggedOut()]
    assert control.opens == []
    control.wind(3600)
    assert control.opens == []


def test_after_a_logout_a_login_is_another_node() -> None:
    control = Scripted()
    client = control.join()
    client.logout(control.now)
    control.run()
    control.answer("register", WELCOME.encode())
    client.login(control.now)
    control.run()
    request = control.find("register").register
    assert request.old_node_key is None
    assert request.node_key != NODE_KEY


def test_a_logout_is_repeated_until_control_has_heard_it() -> None:
    control = Scripted()
    client = control.join()
    client.logout(control.now)
    control.run()
    control.cut()
    control.wind(1)
    control.answer("register", b"", 500)
    control.wind(1)
    control.answer("register", WELCOME.encode())
    assert control.facts[-1] == facts.LoggedOut()


# --- leaving while a registration is under way ------------------------------------------------------------------


def leaving(by: float = math.inf, **options: Any) -> Scripted:
    """Its registration waits for an answer, and it is told to leave within `by` seconds."""
    control = Scripted()
    client = control.client(**{"auth_key": "key", "ephemeral": True, **options})
    control.run()
    assert control.waits("register")
    client.logout(control.now, by=control.now + by)
    control.run()
    return control


def logouts(control: Scripted) -> list[NodeKey]:
    found = [waiting.register for waiting in control.waiting if waiting.kind == "register"]
    return [request.node_key for request in found if request.expiry is not None]


def test_a_registration_under_way_is_waited_for_then_logged_out() -> None:
    """Headscale answers after 0.85 s; a logout before that would find nobody."""
    control = leaving(by=1.5)
    control.wind(0.85)
    assert logouts(control) == []
    assert control.facts == []
    control.answer("register", WELCOME.encode())
    assert logouts(control) == [NODE_KEY]
    assert not control.waits("poll")
    assert control.told(facts.LoggedIn)
    assert not control.told(facts.LoggedOut)
    control.answer("register", RegisterResponse(node_key_expired=True).encode())
    assert control.facts[-1] == facts.LoggedOut()
    assert control.peers == {}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (RegisterResponse(error="no").encode(), 200),
        (RegisterResponse(auth_url="https://control.example/a/1").encode(), 200),
        (b"", 401),
        (b"slow down", 429),
    ],
)
def test_a_registration_that_is_refused_leaves_nothing_to_log_out(body: bytes, status: int) -> None:
    control = leaving()
    control.answer("register", body, status)
    assert control.facts[-1] == facts.LoggedOut()
    assert not control.waits("register")
    control.wind(600)
    assert len(control.opens) == 2


def test_a_rotation_that_is_refused_leaves_the_old_key_to_log_out() -> None:
    control = Scripted()
    client = control.join()
    client.login(control.now, "another")
    control.run()
    client.logout(control.now)
    control.answer("register", RegisterResponse(error="no").encode())
    assert logouts(control) == [NODE_KEY]
    control.answer("register", RegisterResponse(node_key_expired=True).encode())
    assert control.facts[-1] == facts.LoggedOut()
    assert not control.told(facts.Problem)


def test_a_registration_nobody_answers_in_time_is_logged_out_unheard() -> None:
    control = leaving(by=1.5)
    control.wind(1.49)
    assert logouts(control) == []
    control.wind(0.02)
    assert logouts(control) == [NODE_KEY]
    control.reply(control.waiting[-1], RegisterResponse(node_key_expired=True).encode())
    assert control.facts[-1] == facts.LoggedOut()


def test_an_answer_that_comes_after_all_is_logged_out_again() -> None:
    """The logout may have overtaken the registration: control had nobody to log out then."""
    control = leaving(by=1.0)
    control.wind(1.0)
    registration, logout = control.waiting
    control.reply(registration, WELCOME.encode())
    control.reply(logout, RegisterResponse(node_key_expired=True).encode())
    assert control.told(facts.LoggedOut) == []
    assert logouts(control) == [NODE_KEY]
    control.answer("register", RegisterResponse(node_key_expired=True).encode())
    assert control.facts[-1] == facts.LoggedOut()


@pytest.mark.parametrize("status", [0, 500])
def test_a_registration_that_breaks_may_have_been_heard(status: int) -> None:
    control = leaving()
    if status:
        control.answer("register", b"", status)
    else:
        control.cut()
        control.wind(1)
    assert logouts(control) == [NODE_KEY]
    control.answer("register", b"?", 404)
    assert control.facts[-1] == facts.LoggedOut()


def test_a_registration_that_was_lost_before_is_logged_out_too() -> None:
    control = Scripted()
    client = control.client(auth_key="key")
    control.run()
    control.refuse = "refused"
    control.cut()
    client.logout(control.now)
    control.refuse = ""
    control.wind(1)
    assert logouts(control) == [NODE_KEY]


def test_both_keys_of_an_interrupted_rotation_are_logged_out() -> None:
    control = Scripted()
    client = control.join()
    client.login(control.now, "another")
    control.run()
    attempt = control.find("register").register.node_key
    client.logout(control.now, by=control.now + 1)
    control.wind(1)
    assert logouts(control) == [attempt]
    control.reply(control.waiting[-1], RegisterResponse(node_key_expired=True).encode())
    assert logouts(control) == [NODE_KEY]
    control.reply(control.waiting[-1], RegisterResponse(node_key_expired=True).encode())
    assert control.facts[-1] == facts.LoggedOut()


@pytest.mark.parametrize("connected", [True, False])
def test_a_login_that_waits_for_a_person_is_not_waited_for(connected: bool) -> None:
    """Where control can be asked at once it is asked, for the person may just have been there."""
    control = Scripted()
    client = control.client()
    control.run()
    control.answer("register", RegisterResponse(auth_url="https://control.example/a/1").encode())
    if not connected:
        control.refuse = "refused"
        control.cut()
    client.logout(control.now)
    control.run()
    assert logouts(control) == ([NODE_KEY] if connected else [])
    if connected:
        control.answer("register", RegisterResponse(auth_url="https://control.example/a/2").encode())
    assert control.facts[-1] == facts.LoggedOut()


def test_a_rate_limited_logout_waits_as_told() -> None:
    control = Scripted()
    client = control.join()
    client.logout(control.now)
    control.run()
    control.answer("register", b"slow down", 429, retry_after="20")
    assert control.told(facts.LoggedOut) == []
    control.wind(19.9)
    assert not control.waits("register")
    control.wind(2.2)
    control.answer("register", WELCOME.encode())
    assert control.facts[-1] == facts.LoggedOut()


# --- a new attempt after a fatal problem ------------------------------------------------------------------------


def test_a_retry_shows_the_auth_key_again_to_a_control_that_has_not_accepted_it() -> None:
    control = Scripted()
    client = control.client(auth_key="key")
    control.run()
    control.answer("register", RegisterResponse(error="not yet").encode())
    assert control.told(facts.Problem)[-1].fatal
    control.wind(60)
    assert not control.waits("register")
    client.retry(control.now)
    control.run()
    request = control.find("register").register
    assert (request.auth_key, request.node_key) == ("key", NODE_KEY)
    control.answer("register", WELCOME.encode())
    assert control.waits("poll")


def test_a_retry_while_something_is_under_way_does_nothing() -> None:
    control = Scripted()
    client = control.client(auth_key="key")
    control.run()
    for _ in range(3):
        client.retry(control.now)
        control.run()
    control.answer("register", WELCOME.encode())
    client.retry(control.now)
    control.run()
    assert [kind.kind for kind in control.waiting] == ["poll"]
    assert len(control.opens) == 2


def test_a_logout_is_for_good() -> None:
    control = Scripted()
    client = control.join()
    client.logout(control.now)
    control.run()
    client.retry(control.now)  # nor while it is under way
    control.answer("register", WELCOME.encode())
    client.retry(control.now)
    control.wind(600)
    assert len(control.opens) == 2


@pytest.mark.parametrize("auth_key", ["", "key"])
def test_a_removed_node_retries_as_a_new_process_would(auth_key: str) -> None:
    control = Scripted()
    client = control.join(auth_key=auth_key)
    control.send(b"", end=True)
    control.wind(1)
    control.answer("poll", b"node not found", 404)
    assert control.told(facts.NodeRemoved)
    client.retry(control.now)
    control.run()
    request = control.find("register").register
    assert (request.node_key, request.old_node_key, request.auth_key) == (NODE_KEY, None, auth_key)
    control.answer("register", WELCOME.encode())
    assert control.waits("poll")


# --- a key that is not saved ------------------------------------------------------------------------------------


def test_a_registration_waits_for_its_key_to_be_saved() -> None:
    control = Scripted()
    control.saves = False
    client = control.join()
    client.login(control.now, "another")
    control.run()
    control.answer("register", WELCOME.encode())
    assert control.told(facts.NodeKeyRotated)
    client.login(control.now, "a third")
    control.wind(60)
    assert not control.waits("register")
    assert client.deadline() == math.inf
    client.key_saved(control.now)
    control.run()
    assert control.waits("register")


def test_a_rotated_key_is_used_once_it_is_saved() -> None:
    control = Scripted()
    control.saves = False
    client = control.join()
    client.login(control.now, "another")
    control.run()
    control.updates.clear()
    control.answer("register", WELCOME.encode())
    (rotated,) = control.told(facts.NodeKeyRotated)
    client.set_net_info({"PreferredDERP": 900}, control.now)
    control.wind(600)
    assert not control.waits("poll")
    assert control.updates == []
    client.key_saved(control.now)
    control.run()
    assert control.find("poll").map.node_key == node_public(rotated.private)
    assert control.updates[-1].node_key == node_public(rotated.private)


def test_a_rotated_key_that_was_never_saved_can_be_logged_out() -> None:
    control = Scripted()
    control.saves = False
    client = control.join()
    client.login(control.now, "another")
    control.run()
    control.answer("register", WELCOME.encode())
    (rotated,) = control.told(facts.NodeKeyRotated)
    client.logout(control.now)
    control.run()
    assert logouts(control) == [node_public(rotated.private)]


# --- a control that keeps us busy -------------------------------------------------------------------------------


def test_another_url_for_each_attempt_is_asked_for_less_and_less() -> None:
    control = Scripted()
    control.client()
    control.run()
    until, answered = control.now + 6, 0
    while control.now < until:
        if control.waits("register"):
            answered += 1
            control.answer("register", RegisterResponse(auth_url=f"https://control.example/a/{answered}").encode())
        else:
            control.wind(0.005)
    assert answered < 25


@pytest.mark.parametrize("status", [429, 503])
def test_a_login_does_not_cut_short_what_control_asks_for(status: int) -> None:
    control = Scripted()
    client = control.client(auth_key="key")
    control.run()
    control.answer("register", b"slow down", status, retry_after="20")
    client.login(control.now, "another")
    client.retry(control.now)
    control.wind(19.9)
    assert not control.waits("register")
    control.wind(2.2)
    assert control.find("register").register.auth_key == "another"
