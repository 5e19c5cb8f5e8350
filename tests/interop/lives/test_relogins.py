"""A node logs out and in again as the same user and as another one, at a real Headscale and across restarts.

| before the restart | the next process logs in as | what Headscale has then                              |
|--------------------|-----------------------------|------------------------------------------------------|
| logged out         | the same user               | the same node, with a new node key                   |
| logged out         | another user                | a second node; the first stays with its user, expired |
| running            | another user, by `login`    | a second node, as above; the identity is one         |
| key expired        | the same user               | the same node, with a new node key                   |
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.headscale import Headscale
from tests.interop.harness.ours import until
from tsnet.events import LoggedIn, LoginUrl

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


def known(headscale: Headscale, name: str) -> dict[str, dict[str, Any]]:
    """Its nodes of that hostname, by user."""
    return {node["user"]["name"]: node for node in headscale.nodes() if node["name"] == name}


@pytest.mark.parametrize("user", ["u1", "u2"])
def test_logged_out_and_in_again_by_the_next_process(headscale: Headscale, tmp_path: Path, user: str) -> None:
    name, state = f"back-as-{user}", tmp_path / "state"
    with ours.node(headscale, name, auth_key=headscale.auth_key("u1"), state=state) as node:
        before, addresses = known(headscale, name)["u1"], node.addresses
        node.logout()
    stranger = ours.node(headscale, name, state=state)
    with pytest.raises(tsnet.NeedsLogin):
        stranger.up(timeout=10)
    stranger.close()

    with ours.node(headscale, name, auth_key=headscale.auth_key(user), state=state) as node:
        now = known(headscale, name)
        assert node.status().user_login == user
        assert (node.addresses == addresses) == (user == "u1")
        assert set(now) == {"u1", user}
        assert (now[user]["id"] == before["id"]) == (user == "u1")
        assert now[user]["node_key"] != before["node_key"]
        addresses = node.addresses
    with ours.node(headscale, name, state=state) as node:  # the kept identity is that of the last login
        assert (node.addresses, node.status().user_login) == (addresses, user)
    assert set(known(headscale, name)) == {"u1", user}


def test_another_user_takes_the_state_of_a_running_node(headscale: Headscale, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with ours.node(headscale, "handed", auth_key=headscale.auth_key("u1"), state=state):
        pass
    with ours.node(headscale, "handed", auth_key=headscale.auth_key("u2"), state=state) as node:
        assert node.status().user_login == "u1"  # a node with an identity uses no key
        told = ours.follow(node, LoggedIn)
        node.login(auth_key=headscale.auth_key("u2"))
        assert node.status().user_login == "u2"
        until(lambda: [event.user.login_name for event in told][-1:] == ["u2"], 5)
        addresses = node.addresses
    with ours.node(headscale, "handed", state=state) as node:
        assert (node.addresses, node.status().user_login) == (addresses, "u2")
    assert set(known(headscale, "handed")) == {"u1", "u2"}


def test_an_expired_node_is_logged_in_by_the_next_process_as_itself(headscale: Headscale, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with ours.node(headscale, "renewed", auth_key=headscale.auth_key("u1"), state=state) as node:
        addresses, before = node.addresses, known(headscale, "renewed")["u1"]
        headscale.expire_node("renewed")
        until(lambda: node.status().state == "expired", 10)
        node.login(auth_key=headscale.auth_key("u1"))  # while it runs
        assert (node.status().state, node.addresses) == ("running", addresses)
        assert known(headscale, "renewed")["u1"]["node_key"] != before["node_key"]
        headscale.expire_node("renewed")
        until(lambda: node.status().state == "expired", 10)
    with ours.node(headscale, "renewed", auth_key=headscale.auth_key("u1"), state=state) as node:
        assert node.addresses == addresses
        assert known(headscale, "renewed")["u1"]["id"] == before["id"]


@pytest.mark.parametrize("user", ["u1", "u2"])
def test_a_person_logs_the_node_in_again(headscale: Headscale, tmp_path: Path, user: str) -> None:
    """The URL comes by the callback, as an event and in the status, at the first login and after a logout."""
    name = f"web-{user}"
    shown: list[str] = []
    node = ours.node(headscale, name, state=tmp_path / "state", on_auth_url=shown.append)
    try:
        told = ours.follow(node, LoginUrl)
        node.start()
        until(lambda: shown and told, 10)
        assert [event.url for event in told] == shown == [node.status().login_url]
        assert node.status().state == "needs-login"
        assert shown[0].startswith(f"{headscale.url}/register/")
        headscale.register(shown[0], user="u1")
        node.up(timeout=20)
        assert node.status().user_login == "u1"
        assert node.status().login_url == ""
        before = known(headscale, name)["u1"]["id"]

        node.logout()
        with ThreadPoolExecutor(1) as pool:
            logging_in = pool.submit(node.login, timeout=20)
            until(lambda: len(shown) == 2 and len(told) == 2, 10)
            assert shown[1] != shown[0]
            headscale.register(shown[1], user=user)
            logging_in.result()
        assert node.status().user_login == user
        assert (known(headscale, name)[user]["id"] == before) == (user == "u1")
    finally:
        node.close()
