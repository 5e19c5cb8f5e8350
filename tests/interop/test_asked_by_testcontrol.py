"""Tailscale's own control server for tests asks a node: C2N, and a PingRequest of each kind, of Go's node and of ours.

What a plain PingRequest asks for (HEAD of a URL) and what the others tell goes to a URL of the harness at control's own
address: the only one that our node sends anything to. Both use relays only, so that a ping has one way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.ours import is_online, until
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.interop.harness.testcontrol import Derper, TestControl

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

OF_ITS_OWN = ("IP", "NodeIP", "NodeName", "LatencySeconds", "Endpoint", "PeerAPIPort", "Err")


@attrs.define
class Lab:
    control: TestControl
    go: GoPeer
    node: tsnet.Server

    def key(self, name: str) -> str:
        return str(self.control.node(name)["Key"])

    def told(self, path: str) -> list[tuple[str, str, str]]:
        return [told for told in self.control.told() if told[1] == f"/told/{path}"]

    def ask(self, who: str, path: str, **request: object) -> None:
        assert self.control.ping(self.key(who), {"URL": f"{self.control.url}/told/{path}", **request})


@pytest.fixture
def lab(scene: Scene) -> Iterator[Lab]:
    need("testcontrol", "derper", "tsnetpeer")
    with (
        Derper(scene) as derper,
        TestControl(scene, derper) as control,
        GoPeer(scene, control, "go", auth_key="any", derp_only=True) as go,
        ours.node(control, "ours", auth_key="any", ephemeral=True, relays_only=True) as node,
    ):
        go.up()
        node.reachable()
        until(lambda: is_online(node, "go") and (go.peer("ours") or {}).get("Relay"), 10)
        for name in ("go", "ours"):
            control.await_poll(control.node(name)["Key"])
        yield Lab(control, go, node)


def test_c2n(lab: Lab) -> None:
    """What is asked of every node has the same status from both; the echo has the same bytes."""
    for who in ("go", "ours"):
        assert lab.control.c2n(lab.key(who), "/echo", "POST", "hello") == (200, "hello")
        status, body = lab.control.c2n(lab.key(who), "/no/such/path")
        assert (status, body) == (400, "unknown c2n path\n")
        assert lab.control.c2n(lab.key(who), "/echo", "PUT", "x" * 50_000)[0] in (200, 405)
    netmap = json.loads(lab.control.c2n(lab.key("ours"), "/debug/netmap")[1])
    assert netmap["Current"]
    health = json.loads(lab.control.c2n(lab.key("ours"), "/debug/health")[1])
    assert "Warnings" in health
    assert lab.control.polls() >= 2
    assert lab.node.status().state == "running"


def test_many_c2n_requests_one_after_the_other(lab: Lab) -> None:
    for number in range(50):
        assert lab.control.c2n(lab.key("ours"), "/echo", "POST", f"number {number}") == (200, f"number {number}")


def test_a_plain_ping_request_is_a_head(lab: Lab) -> None:
    for who in ("go", "ours"):
        lab.ask(who, f"plain-{who}")
        until(lambda who=who: lab.told(f"plain-{who}"), 10)  # type: ignore[misc]
        assert lab.told(f"plain-{who}") == [("HEAD", f"/told/plain-{who}", "")]
    lab.ask("ours", "plain-ours")  # the same URL as before: a repetition, which both leave out
    lab.ask("ours", "plain-next")
    until(lambda: lab.told("plain-next"), 10)
    assert len(lab.told("plain-ours")) == 1


@pytest.mark.parametrize("kind", ["disco", "TSMP", "ICMP"])
def test_a_ping_of_a_peer_is_told_in_the_same_form(lab: Lab, kind: str) -> None:
    assert lab.go.granted is not None
    targets = {"go": str(lab.node.addresses[0]), "ours": lab.go.granted.v4}
    found: dict[str, dict[str, Any]] = {}
    for who, address in targets.items():
        lab.ask(who, f"{kind}-{who}", Types=kind, IP=address, Log=True)
        until(lambda who=who: lab.told(f"{kind}-{who}"), 15)  # type: ignore[misc]
        (told,) = lab.told(f"{kind}-{who}")
        assert told[0] == "POST"
        found[who] = json.loads(told[2])
    assert found["ours"]["NodeName"] == "go"
    assert found["go"]["NodeName"] == "ours"
    assert 0 < found["ours"]["LatencySeconds"] < 5
    found["ours"].pop("PeerAPIPort", None)
    found["go"].pop("PeerAPIPort", None)
    shapes = [
        {name: type(value) if name in OF_ITS_OWN else value for name, value in answer.items()}
        for answer in found.values()
    ]
    assert shapes[0] == shapes[1], found


def test_a_url_elsewhere_is_not_asked(lab: Lab) -> None:
    """Ours speaks to control and to nobody else that control names."""
    elsewhere = "http://127.0.0.1:3340/told/elsewhere"
    assert lab.control.ping(lab.key("ours"), {"URL": elsewhere})
    until(lambda: lab.node._handle.node.control.dropped["ping-elsewhere"] == 1, 10)
    lab.ask("ours", "afterwards")
    until(lambda: lab.told("afterwards"), 10)
