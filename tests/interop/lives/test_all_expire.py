"""Control lets every key of the tailnet expire at once, and takes it back: Tailscale's own control server for tests.

| meanwhile a node   | what it says                        | once the keys are extended                          |
|--------------------|-------------------------------------|-----------------------------------------------------|
| runs               | `expired`; dials are refused        | runs again by itself; what streams held arrives     |
| was restarted      | KeyExpired or AuthKeyRejected       | runs again by itself, or at the next `up`           |
| is new             | AuthKeyRejected                     | the next `up` lets it in                            |

A Go node beside ours says NeedsLogin meanwhile, and runs again, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.ours import follow, serve_echo, until
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.interop.harness.testcontrol import Derper, TestControl
from tsnet.events import Running

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]


@attrs.define
class Lab:
    scene: Scene
    control: TestControl


@pytest.fixture
def lab(scene: Scene) -> Iterator[Lab]:
    need("testcontrol", "derper")
    with Derper(scene) as derper, TestControl(scene, derper) as control:
        yield Lab(scene, control)


def test_running_nodes_expire_and_run_again_by_themselves(lab: Lab) -> None:
    need("tsnetpeer")
    control = lab.control
    with (
        ours.node(control, "a", auth_key="any") as a,
        ours.node(control, "b", auth_key="any") as b,
        GoPeer(lab.scene, control, "go", auth_key="any") as go,
        serve_echo(b, 7),
    ):
        go.up()
        b.reachable()
        with a.dial("b", 7, timeout=10) as stream:
            stream.settimeout(20)
            stream.sendall(b"before")
            assert stream.recv(100) == b"before"
            for _ in range(2):
                run = [follow(node, Running) for node in (a, b)]
                control.expire_all()
                until(lambda: {node.status().state for node in (a, b)} == {"expired"}, 5)
                until(lambda: go.status()["BackendState"] == "NeedsLogin", 10)
                for node in (a, b):
                    with pytest.raises(tsnet.KeyExpired):
                        node.dial("go", 7, timeout=5)
                    with pytest.raises(tsnet.KeyExpired):
                        node.up(timeout=5)
                stream.sendall(b"meanwhile")

                control.expire_all(False)
                until(lambda: {node.status().state for node in (a, b)} == {"running"}, 5)
                until(lambda: go.status()["BackendState"] == "Running", 10)
                assert stream.recv(100) == b"meanwhile"
                until(lambda run=run: all(run), 5)  # type: ignore[misc]
                a.dial("b", 7, timeout=10).close()


@pytest.mark.parametrize("key", ["any", ""])
@pytest.mark.parametrize("asked", [True, False])
def test_a_node_that_was_restarted_meanwhile(lab: Lab, tmp_path: Path, key: str, asked: bool) -> None:
    with ours.node(lab.control, "again", auth_key="any", state=tmp_path / "state") as node:
        addresses = node.addresses
    lab.control.expire_all()
    node = ours.node(lab.control, "again", auth_key=key, state=tmp_path / "state")
    try:
        with pytest.raises((tsnet.KeyExpired, tsnet.NeedsLogin, tsnet.AuthKeyRejected)) as raised:
            node.up(timeout=5)
        print(f"{type(raised.value).__name__}: {raised.value}")
        lab.control.expire_all(False)
        if asked:
            until(lambda: comes_up(node), 10)
        until(lambda: node.status().state == "running", 10)
        assert node.addresses == addresses
    finally:
        node.close()


def test_a_new_node_gets_in_once_it_is_over(lab: Lab) -> None:
    lab.control.expire_all()
    node = ours.node(lab.control, "new", auth_key="any")
    try:
        with pytest.raises((tsnet.KeyExpired, tsnet.AuthKeyRejected)):
            node.up(timeout=5)
        lab.control.expire_all(False)
        until(lambda: comes_up(node), 10)
        assert node.status().state == "running"
    finally:
        node.close()


def comes_up(node: tsnet.Server) -> bool:
    with contextlib.suppress(tsnet.KeyExpired, tsnet.AuthKeyRejected, tsnet.NeedsLogin):
        node.up(timeout=10)
        return True
    return False
