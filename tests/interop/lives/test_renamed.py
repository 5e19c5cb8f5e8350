"""An administrator renames a node at Headscale while it runs: it, its peer and Go's peer know the new name at once.

The addresses and the streams stay. The old name is nobody's; who dials it is told so.
"""

from __future__ import annotations

import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.headscale import BASE_DOMAIN, Headscale
from tests.interop.harness.ours import follow, peer_of, serve_echo, until
from tests.interop.harness.requirements import need
from tsnet.events import PeerChanged

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]


def test_the_node_its_peer_and_gos_peer_see_the_new_name(headscale: Headscale) -> None:
    need("tsnetpeer")
    key = headscale.auth_key("u1")
    with (
        ours.node(headscale, "before", auth_key=key) as node,
        ours.node(headscale, "friend", auth_key=key) as friend,
        GoPeer(headscale.scene, headscale, "go", auth_key=key) as go,
        serve_echo(node, 7),
    ):
        go.up()
        node.reachable()
        changed = follow(friend, PeerChanged)
        addresses = node.addresses
        until(lambda: go.peer("before"), 10)
        with friend.dial("before", 7, timeout=10) as stream:
            stream.settimeout(10)
            headscale.rename_node("before", "after")
            until(lambda: node.name == "after", 10)
            assert (node.fqdn, node.addresses) == (f"after.{BASE_DOMAIN}", addresses)
            assert node.status().fqdn == f"after.{BASE_DOMAIN}"
            until(lambda: peer_of(friend, "after") and not peer_of(friend, "before"), 10)
            until(lambda: any(event.before.name != event.peer.name for event in changed), 10)
            until(lambda: go.peer("after") and not go.peer("before"), 10)
            stream.sendall(b"still there")
            assert stream.recv(100) == b"still there"

        assert friend.resolve("after") == addresses
        for name in ("after", f"after.{BASE_DOMAIN}"):
            with friend.dial(name, 7, timeout=10) as stream:
                stream.settimeout(10)
                stream.sendall(b"hello")
                assert stream.recv(100) == b"hello"
        theirs = go.open("after:7")
        go.write(theirs, b"hello")
        assert go.read(theirs, 5) == b"hello"
        go.close_stream(theirs)
        with pytest.raises(tsnet.NotOnTailnet):
            friend.dial("before", 7, timeout=5)
        found = friend.whois(str(addresses[0]))
        assert found is not None
        assert found.name == "after"


def test_a_name_given_by_an_administrator_outlives_a_restart(headscale: Headscale, tmp_path_factory: object) -> None:
    """The node goes on to ask for its hostname; Headscale's given name is what it gets."""
    assert isinstance(tmp_path_factory, pytest.TempPathFactory)
    state, key = tmp_path_factory.mktemp("state"), headscale.auth_key("u1")
    with ours.node(headscale, "asks", auth_key=key, state=state) as node:
        headscale.rename_node("asks", "given")
        until(lambda: node.name == "given", 10)
    with ours.node(headscale, "asks", auth_key=key, state=state) as node:
        assert (node.name, node.fqdn) == ("given", f"given.{BASE_DOMAIN}")
        assert node.status().hostname == "asks"
