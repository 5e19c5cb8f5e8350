"""A node whose key an administrator lets expire at Headscale, and extends again; its peer is Go's.

A Go peer keeps the streams of a node that has expired, as our own side does, and as ours does as a peer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.headscale import Headscale
from tests.interop.harness.ours import until
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]


@attrs.define
class Lab:
    scene: Scene
    headscale: Headscale


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, _swept: None) -> Iterator[Lab]:
    """The peer "b" is online and echoes at port 7."""
    need("root", "headscale", "tsnetpeer")
    with (
        Scene(tmp_path_factory.mktemp("expiry")) as scene,
        Headscale(scene) as headscale,
        GoPeer(scene, headscale, "b", auth_key=headscale.auth_key()) as go,
    ):
        go.up()
        go.listen(":7", "echo")
        yield Lab(scene, headscale)


def echoes(node: tsnet.Server, data: bytes) -> bool:
    with node.dial("b", 7, timeout=10) as stream:
        stream.settimeout(10)
        stream.sendall(data)
        return stream.recv(100) == data


def test_a_key_that_expires_while_the_node_runs(lab: Lab) -> None:
    """Dials are refused meanwhile; what a stream was given waits, and arrives once the key is extended."""
    with ours.node(lab.headscale, "a", auth_key=lab.headscale.auth_key()) as a, a.dial("b", 7) as stream:
        stream.settimeout(30)
        stream.sendall(b"before")
        assert stream.recv(100) == b"before"

        lab.headscale.expire_node("a")
        until(lambda: a.status().state == "expired", 10)
        with pytest.raises(tsnet.KeyExpired, match="extend it at control"):
            a.dial("b", 7, timeout=5)
        with pytest.raises(tsnet.KeyExpired):
            a.up(timeout=5)
        stream.sendall(b"meanwhile")

        lab.headscale.extend_node("a")
        until(lambda: a.status().state == "running", 10)
        assert echoes(a, b"anew")
        assert stream.recv(100) == b"meanwhile"


@pytest.mark.parametrize("name", ["asked", "left-alone"])
def test_a_node_that_was_restarted_with_an_expired_key(lab: Lab, tmp_path: Path, name: str) -> None:
    """As a new process would be: nothing but its state directory is left of it."""
    with ours.node(lab.headscale, name, auth_key=lab.headscale.auth_key(), state=tmp_path / "state") as node:
        addresses = node.addresses
    lab.headscale.expire_node(name)
    node = ours.node(lab.headscale, name, state=tmp_path / "state")
    try:
        with pytest.raises((tsnet.KeyExpired, tsnet.NeedsLogin)):
            node.up(timeout=10)
        lab.headscale.extend_node(name)
        if name == "asked":
            until(lambda: comes_up(node), 15)
        else:
            until(lambda: node.status().state == "running", 15)
        assert node.addresses == addresses
        assert echoes(node, b"again")
    finally:
        node.close()


def comes_up(node: tsnet.Server) -> bool:
    """The answer to an extension takes a moment."""
    try:
        node.up(timeout=10)
    except (tsnet.KeyExpired, tsnet.NeedsLogin):
        return False
    return True
