"""An administrator deletes a node at Headscale, while it runs and while it is away, and lets it in again.

| the node             | what it is told                       | how it comes back                                    |
|----------------------|---------------------------------------|------------------------------------------------------|
| runs                 | Problem with NodeRemoved, fatal       | `login(auth_key=…)`, or `up` if its own key is good  |
| runs, ephemeral      | nothing                               | by itself, while its key is good                     |
| was away             | NeedsLogin, or the fate of its key    | `login(auth_key=…)`, or `up` if its own key is good  |

It is a new node each time. Its peers see the old one leave and the new one come.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.headscale import Headscale
from tests.interop.harness.ours import follow, peer_of, serve_echo, until
from tsnet.events import PeerAppeared, PeerLeft, Problem

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


def names(found: list[PeerLeft] | list[PeerAppeared]) -> list[str]:
    return [event.peer.name.partition(".")[0] for event in found]


def test_deleted_while_it_runs_and_let_in_with_a_new_key(headscale: Headscale) -> None:
    with (
        ours.node(headscale, "friend", auth_key=headscale.auth_key("u1")) as friend,
        ours.node(headscale, "gone", auth_key=headscale.auth_key("u1", reusable=False)) as node,
        serve_echo(node, 7),
    ):
        until(lambda: peer_of(friend, "gone"), 10)
        left, came, told = follow(friend, PeerLeft), follow(friend, PeerAppeared), follow(node, Problem)
        stream = friend.dial("gone", 7, timeout=10)
        stream.settimeout(15)
        number = headscale.node("gone")["id"]
        headscale.delete_node("gone")

        until(lambda: told, 10)
        assert told[0].fatal
        assert isinstance(told[0].error, tsnet.NodeRemoved)
        assert node.status().state == "failed"
        until(lambda: names(left) == ["gone"], 10)
        with stream, pytest.raises(OSError, match=r"became unreachable"):
            stream.recv(1)

        with pytest.raises(tsnet.AuthKeyRejected, match="already used"):
            node.up(timeout=10)  # its own key is spent
        node.login(auth_key=headscale.auth_key("u1"))
        assert node.status().state == "running"
        assert headscale.node("gone")["id"] != number
        until(lambda: names(came) == ["gone"], 10)
        with friend.dial("gone", 7, timeout=10) as stream:
            stream.settimeout(10)
            stream.sendall(b"the same listener")
            assert stream.recv(100) == b"the same listener"


def test_deleted_while_it_runs_and_its_own_key_is_still_good(headscale: Headscale) -> None:
    with ours.node(headscale, "twice", auth_key=headscale.auth_key("u1")) as node:
        number = headscale.node("twice")["id"]
        headscale.delete_node("twice")
        until(lambda: node.status().state == "failed", 10)
        node.up(timeout=10)
        assert headscale.node("twice")["id"] != number


@pytest.mark.parametrize("key", ["none", "spent", "good"])
def test_deleted_while_it_was_away(headscale: Headscale, tmp_path: Path, key: str) -> None:
    state, name = tmp_path / "state", f"away-{key}"
    first = headscale.auth_key("u1", reusable=key == "good")
    with ours.node(headscale, name, auth_key=first, state=state):
        number = headscale.node(name)["id"]
    headscale.delete_node(name)
    node = ours.node(headscale, name, auth_key="" if key == "none" else first, state=state)
    try:
        if key == "good":
            node.up(timeout=10)
        else:
            wanted = tsnet.NeedsLogin if key == "none" else tsnet.AuthKeyRejected
            with pytest.raises(wanted):
                node.up(timeout=10)
            node.login(auth_key=headscale.auth_key("u2"))
            assert node.status().user_login == "u2"
        assert node.status().state == "running"
        assert headscale.node(name)["id"] != number
    finally:
        node.close()
    with ours.node(headscale, name, state=state):  # what is kept is the new node
        assert len([known for known in headscale.nodes() if known["name"] == name]) == 1
