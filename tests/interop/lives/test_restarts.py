"""Headscale restarts under many nodes, behind a front end that asks for patience meanwhile."""

from __future__ import annotations

import contextlib
import time

import pytest

from tests.interop.harness import ours
from tests.interop.harness.headscale import Headscale
from tests.interop.harness.ours import until
from tests.interop.harness.proxy import Proxy
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene

pytestmark = pytest.mark.interop

PATIENCE = 7  # seconds
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n" % PATIENCE
LINKS = 2  # of one attempt, at most: for the key, and for what follows


@pytest.mark.parametrize(
    ("nodes", "restarts"),
    [
        pytest.param(5, 1, marks=pytest.mark.timeout(120)),
        pytest.param(30, 10, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_all_come_back_and_none_before_it_was_told_to(scene: Scene, nodes: int, restarts: int) -> None:
    need("headscale")
    with contextlib.ExitStack() as stack:
        headscale = stack.enter_context(Headscale(scene))
        proxy = stack.enter_context(Proxy(8081, 8080))
        key = headscale.auth_key(ephemeral=True)
        headscale.url = proxy.url
        all_nodes = [ours.node(headscale, f"n{number}", auth_key=key, ephemeral=True) for number in range(nodes)]
        for node in all_nodes:
            stack.callback(node.close)
            node.up()
        for _ in range(restarts):
            proxy.answer, before, begun = BUSY, proxy.connected, time.monotonic()
            proxy.cut()
            headscale.stop()
            headscale.start()
            until(lambda before=before: proxy.connected >= before + nodes, 20, "each has asked")  # type: ignore[misc]
            until(lambda begun=begun: time.monotonic() > begun + PATIENCE - 0.5, PATIENCE)  # type: ignore[misc]
            assert proxy.connected - before <= LINKS * nodes
            proxy.answer = b""
        began = time.monotonic()
        until(lambda: sum(node.get("online", False) for node in headscale.nodes()) == nodes, 30, "all are back")
        print(f"{nodes} nodes were back {time.monotonic() - began:.1f} s after the last of {restarts} restarts")
