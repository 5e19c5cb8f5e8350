"""A node of ours restarts while Go talks to it directly: it takes its last port again, and Go finds it there at once.

Go trusts the address that it last had a pong from for 6.5 s, and sends nowhere else. At another port nobody hears it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.interop.harness import ours
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.hub import Hub
from tests.interop.harness.ours import serve_echo, until
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene, inside
from tests.interop.harness.testcontrol import Derper, TestControl
from tsnet import Server
from tsnet.edge.io.store import MemoryStore
from tsnet.engine.saved import UDP_PORT

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


class Lab:
    def __init__(self, control: TestControl, go: GoPeer) -> None:
        self.control, self.go = control, go
        self.store = MemoryStore()

    def node(self) -> Server:
        return ours.node(self.control, "ours", auth_key="any", state=self.store, allow_http=True)


@pytest.fixture
def lab(scene: Scene) -> Iterator[Lab]:
    need("testcontrol", "derper", "tsnetpeer")
    hub = Hub(scene)
    go_place, our_place = hub.machine("go", v6=False), hub.machine("ours", v6=False)
    with (
        Derper(scene, host=hub.v4) as derper,
        TestControl(scene, derper, host=hub.v4) as control,
        GoPeer(scene, control, "go", auth_key="any", namespace=go_place.namespace) as go,
        inside(our_place.namespace),
    ):
        go.up()
        yield Lab(control, go)


@pytest.mark.parametrize("keeps", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_go_goes_on_after_a_restart(lab: Lab, keeps: bool) -> None:
    go = lab.go
    with lab.node() as node, serve_echo(node, 7):
        node.reachable()
        until(lambda: (go.peer("ours") or {}).get("Relay"), 10)
        there = f"{node.addresses[0]}:7"
        until(lambda: go.send(there, 1000) and go.path_to("ours"), 10)
        port = node._handle.pump._udp.local_port
    if not keeps:
        del lab.store.values[UDP_PORT]
    with lab.node() as node, serve_echo(node, 7):
        begun = time.monotonic()
        sent, received = go.send(there, 1000, timeout=30)
        seconds = time.monotonic() - begun
        assert received.sha256 == sent.sha256
        print(f"first echo {seconds:.2f} s after the restart, port kept: {keeps}")
        assert (node._handle.pump._udp.local_port == port) is keeps
        assert seconds < (3.0 if keeps else 15.0)
