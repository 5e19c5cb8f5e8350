"""What each kind of Headscale's auth keys gives a node, what a refused one says, and what a node keeps of it.

| key       | the first node                     | another node                | the same node, restarted  |
|-----------|------------------------------------|-----------------------------|---------------------------|
| reusable  | in, the key's user                 | in, a node of its own       | in                        |
| one-off   | in                                 | AuthKeyRejected             | in: it needs no key       |
| expired   | AuthKeyRejected                    | the same                    | in                        |
| tagged    | in, tagged, nobody's node          | the same                    | in, tagged                |
| ephemeral | in; gone when it closes            | the same                    | a new node                |

Whether a node is ephemeral is the key's decision at Headscale, whatever the node asks for. So a node that was not told
leaves as one that means to come back, and Headscale removes it by its timeout; a node that believes it is ephemeral and
has a lasting key is told to be logged out, not removed.

Source: Headscale 0.29.3 hscontrol/auth.go handleLogout, hscontrol/types/node.go IsEphemeral.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.headscale import Headscale
from tests.interop.harness.ours import peer_of, until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


def names(headscale: Headscale, beginning: str) -> list[str]:
    return sorted(node["given_name"] for node in headscale.nodes() if node["given_name"].startswith(beginning))


def test_a_reusable_key_lets_any_number_in(headscale: Headscale) -> None:
    key = headscale.auth_key("u1", reusable=True)
    with (
        ours.node(headscale, "many", auth_key=key) as one,
        ours.node(headscale, "many", auth_key=key) as two,
        ours.node(headscale, "more", auth_key=key) as three,
    ):
        assert {node.status().user_login for node in (one, two, three)} == {"u1"}
        assert len({address for node in (one, two, three) for address in node.addresses}) == 6
        assert one.name == "many"
        assert two.name.startswith("many-")
        assert names(headscale, "m") == sorted([one.name, two.name, "more"])


def test_a_one_off_key_is_spent_by_the_first_node_which_needs_none_to_come_back(
    headscale: Headscale, tmp_path: Path
) -> None:
    key, state = headscale.auth_key("u1", reusable=False), tmp_path / "state"
    with ours.node(headscale, "spender", auth_key=key, state=state) as node:
        addresses = node.addresses
        late = ours.node(headscale, "late", auth_key=key)
        with pytest.raises(tsnet.AuthKeyRejected, match="already used") as refused:
            late.up(timeout=10)
        late.close()
    assert "one-off" in str(refused.value) or "Create a new auth key" in str(refused.value)
    assert key not in str(refused.value)
    for again in (key, ""):
        with ours.node(headscale, "spender", auth_key=again, state=state) as node:
            assert node.addresses == addresses
    assert names(headscale, "late") == []


def test_a_refused_node_gets_in_with_a_better_key_without_a_restart(headscale: Headscale) -> None:
    expired = headscale.auth_key("u1")
    headscale.expire_auth_key(expired)
    node = ours.node(headscale, "patient", auth_key=expired)
    try:
        with pytest.raises(tsnet.AuthKeyRejected, match="expired"):
            node.up(timeout=10)
        assert node.status().state == "failed"
        node.login(auth_key=headscale.auth_key("u2", reusable=False))
        assert (node.status().state, node.status().user_login) == ("running", "u2")
    finally:
        node.close()


def test_a_key_that_expires_later_does_not_matter_to_the_node(headscale: Headscale, tmp_path: Path) -> None:
    key = headscale.auth_key("u1")
    with ours.node(headscale, "inside", auth_key=key, state=tmp_path / "state") as node:
        headscale.expire_auth_key(key)
        addresses = node.addresses
    with ours.node(headscale, "inside", auth_key=key, state=tmp_path / "state") as node:
        assert node.addresses == addresses


def test_a_tagged_key_makes_nobodys_node(headscale: Headscale, tmp_path: Path) -> None:
    key = headscale.auth_key("u1", tags=["tag:ci"])
    with ours.node(headscale, "observer", auth_key=headscale.auth_key("u1")) as observer:
        for _ in ("first", "restarted"):
            with ours.node(headscale, "tagged", auth_key=key, state=tmp_path / "state") as node:
                status = node.status()
                assert (status.tags, status.user_login, status.key_expiry) == (("tag:ci",), "tagged-devices", None)
                until(lambda: (found := peer_of(observer, "tagged")) and found.tags == ("tag:ci",), 10)
                peer = observer.whois(str(node.addresses[0]))
                assert peer is not None
                assert (peer.tags, peer.user_login) == (("tag:ci",), "tagged-devices")
        assert names(headscale, "tagged") == ["tagged"]


def test_an_ephemeral_key_and_a_node_that_knows(headscale: Headscale, tmp_path: Path) -> None:
    key, state = headscale.auth_key("u1", ephemeral=True), tmp_path / "state"
    found = set()
    for _ in range(2):
        with ours.node(headscale, "brief", auth_key=key, ephemeral=True, state=state):
            found.add(headscale.node("brief")["id"])
        assert names(headscale, "brief") == []
    assert len(found) == 2


def test_an_ephemeral_key_and_a_node_that_was_not_told(headscale: Headscale, tmp_path: Path) -> None:
    """It leaves without a logout, and is itself when it comes back before the timeout."""
    key, state = headscale.auth_key("u1", ephemeral=True), tmp_path / "state"
    with ours.node(headscale, "unaware", auth_key=key, state=state) as node:
        addresses, number = node.addresses, headscale.node("unaware")["id"]
    assert names(headscale, "unaware") == ["unaware"]
    with ours.node(headscale, "unaware", auth_key=key, state=state) as node:
        assert (node.addresses, headscale.node("unaware")["id"]) == (addresses, number)
        headscale.delete_node("unaware")  # what the timeout does
        until(lambda: node.status().state == "failed", 10)


def test_a_lasting_key_and_a_node_that_calls_itself_ephemeral(headscale: Headscale) -> None:
    """Headscale goes by the key: it logs the node out when that closes, and keeps it, expired."""
    with ours.node(headscale, "believer", auth_key=headscale.auth_key("u1"), ephemeral=True):
        assert "expiry" not in headscale.node("believer")
    assert headscale.node("believer")["expiry"] is not None
    until(lambda: not headscale.node("believer").get("online"), 20)
    headscale.delete_node("believer")
