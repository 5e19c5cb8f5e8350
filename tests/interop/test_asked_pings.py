"""Control asks a Go node and ours for the same pings: what the two tell of them has the same form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.interop.harness.ours import is_online, until
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.interop.test_embedded_with_go import Lab, knows_home
from tsnet.control.messages import PingRequest
from tsnet.control.server.server import Server
from tsnet.testing.tailnet import Tailnet

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]


@pytest.fixture
def lab(scene: Scene) -> Iterator[Lab]:
    need("tsnetpeer")
    with Tailnet() as tailnet:
        yield Lab(scene, tailnet)


def told(lab: Lab, who: str, kind: str, address: str) -> dict[str, Any]:
    """What that node tells control of a ping."""
    control, token = lab.tailnet._control, f"{who}-{kind}-{address}"
    assert control is not None
    server = control.machine
    assert isinstance(server, Server)

    def ask() -> None:
        server.replies[token] = b""
        ping = PingRequest(f"{server.base_url}/c2n/{token}", True, kind, address)
        assert server._streams.ping(lab.tailnet._member(who).id, ping, control._world.clock())
        control.mark()

    lab.tailnet._do(ask)
    until(lambda: server.replies[token], 12)
    return dict(json.loads(server.replies[token]))


def form(answer: dict[str, Any]) -> dict[str, Any]:
    """The fields, and those values that are the same whoever is asked."""
    of_its_own = ("IP", "NodeIP", "NodeName", "LatencySeconds", "Endpoint", "PeerAPIPort", "Err")
    return {name: type(value) if name in of_its_own else value for name, value in answer.items()}


@pytest.mark.parametrize("derp_only", [True, False], ids=["relayed", "direct"])
def test_both_answer_in_the_same_form(lab: Lab, derp_only: bool) -> None:
    with lab.go(derp_only=derp_only) as go, lab.node(relays_only=derp_only) as node:
        theirs, ours = go.up().v4, str(node.addresses[0])
        until(lambda: is_online(node, "go") and knows_home(go), 5)
        for kind in ("TSMP", "ICMP", "disco"):
            by_go, by_us = told(lab, "go", kind, ours), told(lab, "ours", kind, theirs)
            by_us.pop("PeerAPIPort", None)  # Go serves a PeerAPI, and we do not
            assert form(by_go) == form(by_us), (by_go, by_us)
            assert (by_us["NodeName"], by_us["NodeIP"]) == ("go", theirs)
            assert (by_go["NodeName"], by_go["NodeIP"]) == ("ours", ours)
            assert by_us["LatencySeconds"] > 0
        for address in ("100.64.9.9",):
            assert told(lab, "go", "disco", address) == told(lab, "ours", "disco", address)
