"""Device approval at Tailscale's own control server for tests: a new node waits for an administrator, Go's and ours.

| moment                    | ours                                             | Go's             |
|---------------------------|--------------------------------------------------|------------------|
| registered, not approved  | `needs-approval`, ApprovalPending within 5 s     | NeedsMachineAuth |
| `up` at its timeout       | NeedsApproval; a dial raises it at once          |                  |
| approved                  | runs by itself, with its peers                   | Running          |
| restarted, not approved   | the same as before, under the same addresses     |                  |
| approval taken back       | waits again; its streams end                     | NeedsMachineAuth |
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.ours import follow, peer_of, serve_echo, until
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.interop.harness.testcontrol import Derper, TestControl
from tsnet.events import ApprovalPending, Running

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]


@attrs.define
class Lab:
    scene: Scene
    control: TestControl

    def key(self, name: str) -> str:
        return str(self.control.node(name)["Key"])

    def knows(self, name: str) -> bool:
        return any(node.get("Name", "").startswith(f"{name}.") for node in self.control.nodes())


@pytest.fixture
def lab(scene: Scene) -> Iterator[Lab]:
    need("testcontrol", "derper")
    with Derper(scene) as derper, TestControl(scene, derper, settings={"RequireMachineAuth": True}) as control:
        yield Lab(scene, control)


def test_a_node_waits_says_so_and_runs_once_it_is_approved(lab: Lab) -> None:
    node = ours.node(lab.control, "waits", auth_key="any")
    try:
        pending, running = follow(node, ApprovalPending), follow(node, Running)
        begun = time.monotonic()
        node.start()
        until(lambda: pending, 5)
        assert time.monotonic() - begun < 5
        assert node.status().state == "needs-approval"
        assert isinstance(pending[0].error, tsnet.NeedsApproval)
        with pytest.raises(tsnet.NeedsApproval):
            node.up(timeout=1)
        at_once = time.monotonic()
        with pytest.raises(tsnet.NeedsApproval):
            node.dial("100.64.0.9", 80, timeout=10)
        assert time.monotonic() - at_once < 1
        assert not running

        with ThreadPoolExecutor(1) as pool:
            rising = pool.submit(node.up, timeout=20)
            assert lab.control.approve(lab.key("waits"))
            rising.result()
        assert node.status().state == "running"
        until(lambda: running, 5)
        assert len(pending) == 1
    finally:
        node.close()


def test_go_and_ours_wait_and_run_alike(lab: Lab) -> None:
    need("tsnetpeer")
    node = ours.node(lab.control, "ours", auth_key="any")
    with GoPeer(lab.scene, lab.control, "go", auth_key="any") as go:
        try:
            rising = go.start("up")
            node.start()
            until(lambda: lab.knows("go") and lab.knows("ours"), 10)
            until(lambda: node.status().state == "needs-approval", 5)
            until(lambda: go.status()["BackendState"] == "NeedsMachineAuth", 5)
            with pytest.raises(tsnet.NeedsApproval):
                node.dial("go", 80, timeout=5)
            for name in ("go", "ours"):
                assert lab.control.approve(lab.key(name))
            rising.result(10)
            node.up(timeout=10)
            until(lambda: peer_of(node, "go"), 10)
            with serve_echo(node, 7):
                node.reachable()
                stream = go.open("ours:7")
                go.write(stream, b"approved")
                assert go.read(stream, 8) == b"approved"
                go.close_stream(stream)

            for name in ("go", "ours"):
                lab.control.update(lab.key(name), MachineAuthorized=False)
            until(lambda: node.status().state == "needs-approval", 5)
            until(lambda: go.status()["BackendState"] == "NeedsMachineAuth", 5)
            assert lab.control.approve(lab.key("ours"))
            until(lambda: node.status().state == "running", 5)
        finally:
            node.close()


@pytest.mark.parametrize("key", ["any", ""])
def test_a_restart_changes_nothing_about_it(lab: Lab, tmp_path: Path, key: str) -> None:
    node = ours.node(lab.control, "again", auth_key="any", state=tmp_path / "state")
    with pytest.raises(tsnet.NeedsApproval):
        node.up(timeout=1)
    number = lab.control.node("again")["ID"]
    node.close()

    node = ours.node(lab.control, "again", auth_key=key, state=tmp_path / "state")
    try:
        with pytest.raises(tsnet.NeedsApproval):
            node.up(timeout=1)
        lab.control.approve(lab.key("again"))
        node.up(timeout=10)
        assert lab.control.node("again")["ID"] == number
        assert lab.control.count() == 1
    finally:
        node.close()
    with ours.node(lab.control, "again", auth_key=key, state=tmp_path / "state") as node:
        assert node.status().state == "running"
