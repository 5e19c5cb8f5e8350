"""A control server that takes a node in and breaks off, or asks for patience: it is not asked again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator

import attrs
import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.ours import until
from tests.interop.harness.proxy import Proxy
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.interop.harness.testcontrol import Derper, TestControl

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

A_FIRST_MAP = 1000  # bytes; what precedes it in a new connection is less, and it is more
PATIENCE = 4  # seconds
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n" % PATIENCE


@attrs.define
class Lab:
    control: TestControl
    proxy: Proxy

    def node(self) -> tsnet.Server:
        self.control.url = self.proxy.url
        return ours.node(self.control, "ours", auth_key="any", ephemeral=True)


@pytest.fixture
def lab(scene: Scene) -> Iterator[Lab]:
    need("testcontrol", "derper")
    with Derper(scene) as derper, TestControl(scene, derper, port=8080) as control, Proxy(8081, 8080) as proxy:
        yield Lab(control, proxy)


def test_a_control_that_cuts_each_connection_after_its_first_map(lab: Lab) -> None:
    with lab.node() as node:
        lab.proxy.cut_after = A_FIRST_MAP
        lab.proxy.cut()
        begun, before = time.monotonic(), lab.proxy.connected
        until(lambda: time.monotonic() - begun > 6)
        print(f"{lab.proxy.cuts} maps by {lab.proxy.connected - before} connections in 6 s")
        assert lab.proxy.cuts >= 2
        assert lab.proxy.connected - before <= 20
        assert node.status().state == "running"
        lab.proxy.cut_after = None
        until(lambda: lab.control.polls() == 1, 30, "a connection that holds is kept")


def test_a_front_end_that_asks_for_patience(lab: Lab) -> None:
    """At the start, and while the node runs. An attempt is at most two connections at once."""
    lab.proxy.answer = BUSY
    node = lab.node()
    try:
        begun = time.monotonic()
        with pytest.raises(tsnet.ControlUnreachable, match="503"):
            node.up(timeout=2)
        assert lab.proxy.connected <= 2
        lab.proxy.answer = b""
        node.up(timeout=10)
        assert time.monotonic() - begun >= PATIENCE

        lab.proxy.answer = BUSY
        lab.proxy.cut()
        begun, before = time.monotonic(), lab.proxy.connected
        until(lambda: lab.proxy.connected > before, 10)
        lab.proxy.answer = b""
        until(lambda: lab.control.polls() == 1, 20)
        assert time.monotonic() - begun >= PATIENCE
        assert lab.proxy.connected - before <= 4
    finally:
        node.close()
