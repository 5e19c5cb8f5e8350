"""The state of a real tailscaled and of a real Go tsnet, taken over: the same node, with its address, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.control import ControlAt
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.ours import serve_echo, until
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.interop.harness.tailscaled import Tailscaled
from tests.interop.harness.testcontrol import Derper, TestControl
from tsnet.edge.io.store import MemoryStore
from tsnet.engine.saved import IDENTITY, decode_identity
from tsnet.testing.tailnet import Tailnet

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]


@pytest.fixture
def control(scene: Scene) -> Iterator[TestControl]:
    need("testcontrol", "derper", "tsnetpeer")
    with Derper(scene) as derper, TestControl(scene, derper) as control:
        yield control


def public(folder: Path) -> str:
    store = MemoryStore()
    tsnet.import_go_state(folder, store)
    return decode_identity(store.values[IDENTITY]).public.text()


def test_a_go_tsnet_node_comes_back_as_ours(scene: Scene, control: TestControl, tmp_path: Path) -> None:
    """Its peer, which knew it as a Go node, reaches it under its address. No key is shown to control again."""
    with GoPeer(scene, control, "left", auth_key="any") as left, GoPeer(scene, control, "peer", auth_key="any") as peer:
        granted, _ = left.up(), peer.up()
        left.close()
        go_state = scene.folder / "go-left" / "tailscaled.state"
        before = go_state.read_bytes()
        assert tsnet.import_go_state(go_state, tmp_path / "ours") == control.url
        assert go_state.read_bytes() == before
        assert public(scene.folder / "go-left") == granted.key
        with (
            ours.node(control, "left", state=tmp_path / "ours", allow_http=True, auth_key="") as node,
            serve_echo(node, 7),
        ):
            assert sorted(map(str, node.addresses)) == sorted(granted.addresses)
            assert sorted(each["Name"].split(".")[0] for each in control.nodes()) == ["left", "peer"]
            assert control.node("left")["Key"] == granted.key
            node.reachable()
            until(lambda: (peer.peer("left") or {}).get("Relay"), 10)
            sent, received = peer.send(f"{granted.v4}:7", 1000, timeout=30)
            assert received.sha256 == sent.sha256


def test_a_tailscaled_comes_back_as_ours_on_our_control(scene: Scene, tmp_path: Path) -> None:
    need("tailscaled", "tailscale")
    with Tailnet() as tailnet:
        daemon = Tailscaled(scene, ControlAt(tailnet.control_url), "daemon")
        with daemon:
            daemon.up(tailnet.create_auth_key("ann@example.com"))
            daemon.tailscale("set", "--shields-up")
            told = daemon.status()["Self"]
        assert tsnet.import_go_state(daemon.folder, tmp_path / "ours") == tailnet.control_url
        assert public(daemon.folder) == told["PublicKey"]
        node = tsnet.Server(control_url=tailnet.control_url, state=tmp_path / "ours")
        with node:
            assert sorted(map(str, node.addresses)) == sorted(told["TailscaleIPs"])
            assert node.name == "daemon"
            assert node.prefs == tsnet.Prefs(hostname="daemon", shields_up=True)
            assert node.status().user_login == "ann@example.com"
            assert len(tailnet.nodes()) == 1


def test_a_node_that_has_logged_out_is_refused(scene: Scene, control: TestControl, tmp_path: Path) -> None:
    with GoPeer(scene, control, "left", auth_key="any") as left:
        left.up()
        left.logout()
    with pytest.raises(tsnet.StateError, match=r"tailscaled\.state has no"):
        tsnet.import_go_state(scene.folder / "go-left", tmp_path / "ours")
    assert not (tmp_path / "ours").exists()
