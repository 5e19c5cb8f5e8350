from __future__ import annotations

from typing import Any

import pytest

from tests.control.scripted import NODE_KEY, NODE_PRIVATE, WELCOME
from tsnet.base.crypto import node_public
from tsnet.base.keys import LockKey
from tsnet.control.client.login import Accepted, Again, Denied, Login, Outcome, Waiting
from tsnet.control.messages import RegisterResponse

URL = "https://control.example/a/1"
LOCK = LockKey(b"\x03" * 32)


def login(**options: Any) -> Login:
    fixed: dict[str, Any] = {"auth_key": "", "enrolled": False, "ephemeral": False, "lock_key": LOCK}
    return Login(NODE_PRIVATE, **{**fixed, **options}, entropy=lambda size: b"\x09" * size)


# What a login that holds this key, and is known or not, makes of an answer.
@pytest.mark.parametrize(
    ("options", "response", "outcome"),
    [
        ({}, WELCOME, Accepted(WELCOME.user, False, None)),
        ({}, RegisterResponse(auth_url=URL), Waiting(URL, False)),
        ({}, RegisterResponse(error="no", auth_url=URL), Denied("no")),
        ({}, RegisterResponse(node_key_expired=True), Again()),
        ({"auth_key": "k"}, RegisterResponse(auth_url=URL), Waiting(URL, False)),
        ({"auth_key": "k", "enrolled": True}, RegisterResponse(auth_url=URL), Again()),
        ({"auth_key": "k", "enrolled": True}, RegisterResponse(node_key_expired=True), Again()),
        ({"enrolled": True}, RegisterResponse(auth_url=URL), Waiting(URL, False)),
    ],
)
def test_answers(options: dict[str, Any], response: RegisterResponse, outcome: Outcome) -> None:
    assert login(**options).accept(response) == outcome


def test_a_fresh_login_shows_its_key() -> None:
    request = login(auth_key="k", ephemeral=True).request({"Hostname": "h"})
    assert (request.auth_key, request.ephemeral, request.lock_key) == ("k", True, LOCK)
    assert (request.node_key, request.old_node_key, request.followup) == (NODE_KEY, None, "")
    assert request.hostinfo == {"Hostname": "h"}


def test_a_known_node_holds_its_auth_key_back_until_asked() -> None:
    node = login(auth_key="k", enrolled=True)
    assert node.request({}).auth_key == ""
    node.accept(RegisterResponse(auth_url=URL))
    assert (node.request({}).auth_key, node.request({}).followup) == ("k", "")


def test_waiting_and_the_same_url_again() -> None:
    node = login()
    assert node.accept(RegisterResponse(auth_url=URL)) == Waiting(URL, False)
    assert node.request({}).followup == URL
    assert node.accept(RegisterResponse(auth_url=URL)) == Waiting(URL, True)
    assert node.accept(WELCOME) == Accepted(WELCOME.user, False, None)
    assert not node.wanted


def test_an_expired_key_is_replaced_and_committed_on_success_only() -> None:
    node = login()
    node.accept(RegisterResponse(node_key_expired=True))
    request = node.request({})
    assert request.old_node_key == NODE_KEY
    assert request.node_key != NODE_KEY
    assert node.private == NODE_PRIVATE
    assert node.accept(WELCOME) == Accepted(WELCOME.user, True, NODE_PRIVATE)
    assert node_public(node.private) == request.node_key
    assert node.request({}).old_node_key is None


def test_a_new_key_that_has_expired_is_denied() -> None:
    node = login()
    node.accept(RegisterResponse(node_key_expired=True))
    assert node.accept(RegisterResponse(node_key_expired=True)) == Denied(
        "control says that a new node key has expired already", key_expired=True
    )


def test_renewing_names_the_old_key_and_may_bring_an_auth_key() -> None:
    node = login()
    node.accept(WELCOME)
    node.renew("k")
    request = node.request({})
    assert node.wanted
    assert (request.old_node_key, request.auth_key) == (NODE_KEY, "k")


def test_a_key_that_control_never_knew_is_tried_again() -> None:
    node = login()
    node.accept(RegisterResponse(error="no"))
    node.renew("k")
    request = node.request({})
    assert (request.node_key, request.old_node_key, request.auth_key) == (NODE_KEY, None, "k")


def test_starting_over_names_nobody() -> None:
    node = login(auth_key="k", enrolled=True)
    node.accept(WELCOME)
    node.start_over()
    request = node.request({})
    assert (request.old_node_key, request.auth_key) == (None, "k")
    assert request.node_key != NODE_KEY


def test_tailnet_lock_is_not_guessed_at() -> None:
    outcome = login().accept(RegisterResponse(node_key_signature=b"x"))
    assert outcome == Denied("this tailnet uses Tailnet Lock and wants the node key signed anew")


def test_a_refusal_forgets_the_url() -> None:
    node = login()
    node.accept(RegisterResponse(auth_url=URL))
    node.accept(RegisterResponse(error="rejected"))
    assert node.request({}).followup == ""


def test_logout_is_about_the_key_control_knows() -> None:
    node = login(enrolled=True)
    node.renew()
    request = node.logout_request(node.private, {})
    assert (request.node_key, request.expiry, request.followup) == (NODE_KEY, 123.0, "")


def test_a_recheck_shows_nothing_but_the_nodes_own_key() -> None:
    node = login(auth_key="k", enrolled=True)
    node.accept(RegisterResponse(node_key_expired=True))
    node.accept(RegisterResponse(auth_url=URL))
    request = node.recheck_request({"Hostname": "h"})
    assert (request.node_key, request.old_node_key) == (NODE_KEY, None)
    assert (request.auth_key, request.followup, request.expiry) == ("", "", None)


def test_an_expired_key_is_known_as_such_until_another_is_accepted_or_it_is_good_again() -> None:
    node = login(enrolled=True)
    node.accept(RegisterResponse(node_key_expired=True))
    assert (node.expired, node.wanted) == (True, True)
    node.accept(WELCOME)
    assert not node.expired
    node.accept(RegisterResponse(node_key_expired=True))
    node.resume()
    assert (node.expired, node.wanted, node.followup) == (False, False, "")
    assert node.attempt == node.private


def test_giving_up_keeps_the_nodes_key() -> None:
    node = login(enrolled=True)
    node.accept(RegisterResponse(node_key_expired=True))
    node.accept(RegisterResponse(auth_url=URL))
    node.give_up()
    assert (node.wanted, node.followup, node.attempt, node.expired) == (False, "", NODE_PRIVATE, True)


@pytest.mark.parametrize("enrolled", [True, False])
def test_a_restart_asks_as_a_new_process_would(enrolled: bool) -> None:
    node = login(auth_key="k", enrolled=enrolled)
    node.accept(RegisterResponse(node_key_expired=True))
    node.accept(RegisterResponse(error="no"))
    node.restart()
    request = node.request({})
    assert node.wanted
    assert (request.node_key, request.old_node_key) == (NODE_KEY, None)
    assert request.auth_key == ("" if enrolled else "k")


# --- a login that can have an auth key made ---------------------------------------------------------------------


def test_a_minted_key_is_shown_once() -> None:
    node = login(mints=True)
    assert node.needs_key
    node.take_key("m1")
    assert not node.needs_key
    assert node.request({}).auth_key == "m1"
    assert node.needs_key, "the server may have taken the first one"


def test_a_known_node_needs_no_key_until_control_asks_for_one() -> None:
    node = login(mints=True, enrolled=True)
    assert not node.needs_key
    assert node.request({}).auth_key == ""
    assert node.accept(RegisterResponse(auth_url=URL)) == Again()
    assert node.needs_key
    node.take_key("m1")
    assert (node.request({}).auth_key, node.request({}).followup) == ("m1", "")


def test_an_expired_node_needs_a_key() -> None:
    node = login(mints=True, enrolled=True)
    assert node.accept(RegisterResponse(node_key_expired=True)) == Again()
    assert node.needs_key
    node.take_key("m1")
    assert isinstance(node.accept(WELCOME), Accepted)
    assert not node.needs_key


def test_a_login_that_is_asked_for_needs_another_key() -> None:
    node = login(mints=True)
    node.take_key("m1")
    node.request({})
    node.accept(WELCOME)
    node.renew()
    assert node.needs_key
    node.take_key("m2")
    assert node.request({}).auth_key == "m2"


def test_a_key_of_the_application_goes_before() -> None:
    assert not login(auth_key="k", mints=True).needs_key
    node = login(mints=True)
    node.renew("k")
    assert not node.needs_key
    assert node.request({}).auth_key == node.request({}).auth_key == "k"


def test_who_waits_for_a_person_needs_no_key() -> None:
    node = login(mints=True)
    node.take_key("m1")
    node.request({})
    assert node.accept(RegisterResponse(auth_url=URL)) == Waiting(URL, False)
    assert not node.needs_key
    assert node.request({}).auth_key == ""


def test_an_attempt_that_begins_again_shows_no_key_of_the_one_before() -> None:
    node = login(mints=True)
    node.take_key("m1")
    node.restart()
    assert node.needs_key
    assert node.request({}).auth_key == ""
