"""Our node and a Go node on one LAN: each finds the direct path, says so, and needs no relay from then on.

Control, relay and STUN are at the hub, testcontrol and derper; each node is on a machine of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.hub import Hub, Place
from tests.interop.harness.ours import exchange, serve_echo, until
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene, inside
from tests.interop.harness.testcontrol import Derper, TestControl
from tsnet.base.addresses import Destination, UdpAddress

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]
MIB = 1 << 20
SOON = 5.0
"""Seconds within which a path is direct after the first datagram."""


@attrs.define
class Lab:
    scene: Scene
    derper: Derper
    go: GoPeer
    go_place: Place
    our_place: Place
    node: tsnet.Server

    @property
    def go_v4(self) -> str:
        assert self.go.granted is not None
        return self.go.granted.v4

    def routes(self) -> tuple[Destination, ...]:
        """Where our node sends the Go node's datagrams."""
        node = self.node._handle.node
        (peer,) = [peer for peer in node.engine.peers.netmap.peers.values() if peer.name.startswith("go")]  # type: ignore[union-attr]
        return node.engine.paths.routes(peer.key)

    def we_are_direct(self) -> bool:
        routes = self.routes()
        return len(routes) == 1 and isinstance(routes[0], UdpAddress) and routes[0].host in self.go_place.hosts

    def go_is_direct(self) -> bool:
        return self.go.path_to("ours").rpartition(":")[0].strip("[]") in self.our_place.hosts


@pytest.fixture(params=["both versions", "IPv4"])
def lab(scene: Scene, request: pytest.FixtureRequest) -> Iterator[Lab]:
    need("testcontrol", "derper", "tsnetpeer")
    hub, v6 = Hub(scene), request.param != "IPv4"
    go_place, our_place = hub.machine("go", v6=v6), hub.machine("ours", v6=v6)
    with (
        Derper(scene, host=hub.v4, v6=hub.v6) as derper,
        TestControl(scene, derper, host=hub.v4) as control,
        GoPeer(scene, control, "go", auth_key="any", namespace=go_place.namespace) as go,
        inside(our_place.namespace),
        ours.node(control, "ours", auth_key="any", ephemeral=True, allow_http=True) as node,
    ):
        go.up()
        node.reachable()
        until(lambda: (go.peer("ours") or {}).get("Relay"), 10)
        yield Lab(scene, derper, go, go_place, our_place, node)


def send(node: tsnet.Server, address: str, size: int) -> None:
    """That many bytes to an echo and back."""
    host, _, port = address.rpartition(":")
    with node.dial(host, int(port), timeout=10) as stream:
        stream.settimeout(20)
        sent, count, received = exchange(stream, size)
        assert (count, received) == (size, sent)


def test_we_dial_and_both_are_direct_without_the_relay(lab: Lab) -> None:
    lab.go.listen(":7", "echo")
    send(lab.node, f"{lab.go_v4}:7", 1000)
    until(lab.we_are_direct, SOON)
    until(lab.go_is_direct, SOON)
    lab.derper.stop()
    send(lab.node, f"{lab.go_v4}:7", MIB)
    assert lab.we_are_direct()
    assert lab.go_is_direct()


def test_go_dials_and_both_are_direct_without_the_relay(lab: Lab) -> None:
    with serve_echo(lab.node, 7):
        lab.go.send(f"{lab.node.addresses[0]}:7", 1000)
        until(lab.go_is_direct, SOON)
        until(lab.we_are_direct, SOON)
        lab.derper.stop()
        sent, received = lab.go.send(f"{lab.node.addresses[0]}:7", MIB)
        assert (sent.bytes, received.sha256) == (MIB, sent.sha256)
        assert lab.we_are_direct()
        assert lab.go_is_direct()


def test_gos_disco_ping_is_answered_directly(lab: Lab) -> None:
    def endpoint() -> Any:
        return str(lab.go.ping(str(lab.node.addresses[0]), "disco").get("Endpoint", "")).rpartition(":")[0].strip("[]")

    until(lambda: endpoint() in lab.our_place.hosts, 10)


def test_our_disco_ping_finds_the_direct_path_and_status_shows_it(lab: Lab) -> None:
    assert lab.node.ping(lab.go_v4, kind="disco").path
    found = []

    def is_direct() -> bool:
        """The relay is asked each time, too, and may be the first to answer."""
        found.append(lab.node.ping(lab.go_v4, kind="disco").path)
        return found[-1].is_direct

    until(is_direct, SOON)
    address = found[-1].address
    assert address.rpartition(":")[0].strip("[]") in lab.go_place.hosts
    assert lab.node.ping(lab.go_v4, kind="tsmp").path.is_direct
    (path,) = [peer.path for peer in lab.node.status().peers if peer.name.startswith("go")]
    assert path.is_direct
    assert path.address.rpartition(":")[0].strip("[]") in lab.go_place.hosts


def test_a_go_node_that_is_another_process_is_found_again(lab: Lab) -> None:
    lab.go.listen(":7", "echo")
    send(lab.node, f"{lab.go_v4}:7", 1000)
    until(lab.we_are_direct, SOON)
    lab.go.kill()
    lab.go.start_again()
    lab.go.up()
    lab.go.listen(":7", "echo")
    send(lab.node, f"{lab.go_v4}:7", 1000)
    until(lambda: lab.we_are_direct() and lab.go_is_direct(), SOON)
