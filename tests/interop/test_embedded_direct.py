"""Real Go nodes on the embedded tailnet find direct paths: its control tells what Go needs for that.

Each node is on a machine of its own, one wire away from the others and from the hub, where the tailnet is.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.interop.harness import ours
from tests.interop.harness.control import ControlAt
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.hub import Hub, Place
from tests.interop.harness.lines import PeerError
from tests.interop.harness.ours import until
from tests.interop.harness.requirements import BIN, need
from tests.interop.harness.scene import Scene
from tsnet.testing.tailnet import Tailnet

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]
MIB = 1 << 20


@attrs.define
class Lab:
    scene: Scene
    hub: Hub
    tailnet: Tailnet

    def go(self, name: str, place: Place, **options: Any) -> GoPeer:
        control = ControlAt(self.tailnet.control_url)
        return GoPeer(self.scene, control, name, auth_key=self.tailnet.auth_key, namespace=place.namespace, **options)

    def told(self, name: str) -> Any:
        """What control knows of a node."""
        return self.tailnet._do(lambda: attrs.asdict(self.tailnet._member(name), recurse=False))


@pytest.fixture
def lab(scene: Scene) -> Iterator[Lab]:
    """Two regions at the hub, each with an address of each version."""
    need("tsnetpeer")
    hub = Hub(scene)
    with Tailnet(host=hub.v4, regions=0) as tailnet:
        for code in ("one", "two"):
            tailnet.add_region(code, host=(hub.v4, hub.v6))
        yield Lab(scene, hub, tailnet)


def direct(node: GoPeer, address: str) -> str:
    """`tailscale ping` until a pong comes directly; the host that it came from. Each ping leaves once, and may be lost:
    the other node may not know us yet."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(PeerError):
            endpoint = str(node.ping(address, timeout=1)["Endpoint"])
            if endpoint:
                return endpoint.rpartition(":")[0].strip("[]")
        time.sleep(0.1)
    raise AssertionError("no direct pong in 20 s")


def current(node: GoPeer, name: str) -> str:
    """The host of `CurAddr` in Go's status; empty while the relay carries the peer."""
    return str((node.peer(name) or {}).get("CurAddr", "")).rpartition(":")[0].strip("[]")


def holds(condition: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition()
        time.sleep(0.2)


@pytest.mark.parametrize(("v4", "v6"), [(True, True), (True, False)], ids=["both versions", "IPv4"])
def test_two_go_nodes_go_direct(lab: Lab, v4: bool, v6: bool) -> None:
    """Both say so, and 4 MiB pass between them without one packet through a relay."""
    here, there = lab.hub.machine("a", v4=v4, v6=v6), lab.hub.machine("b", v4=v4, v6=v6)
    with lab.go("a", here) as a, lab.go("b", there) as b:
        own, other = a.up(), b.up()
        assert direct(a, other.v4) in there.hosts
        assert direct(b, own.v4) in here.hosts
        relayed = lab.tailnet.relays
        for relay in relayed:
            relay.silence()
        b.listen(":7", "echo")
        sent, received = a.send(f"{other.v4}:7", 4 * MIB)
        assert (sent.bytes, received.sha256) == (4 * MIB, sent.sha256)
        assert (current(a, "b") in there.hosts, current(b, "a") in here.hosts) == (True, True)


def test_what_gos_netcheck_finds(lab: Lab) -> None:
    """Our STUN answers it over both versions in each region, and two of them show that its NAT, if any, is no hard one.
    Control is told the same endpoints that it finds."""
    here = lab.hub.machine("a")
    with lab.go("a", here) as a:
        a.up()
        until(lambda: lab.told("a")["endpoints"] and lab.told("a")["home_region"], 10)
        told = lab.told("a")
        network = told["hostinfo"]["NetInfo"]
        assert set(network["DERPLatency"]) == {"900-v4", "900-v6", "901-v4", "901-v6"}
        assert network["PreferredDERP"] == told["home_region"]
        wanted = {"WorkingUDP": True, "WorkingIPv6": True, "MappingVariesByDestIP": False}
        assert {name: network[name] for name in wanted} == wanted
        assert {where.host for where in told["endpoints"]} == here.hosts
        assert told["disco_key"] is not None
        answered = [stun.answered for relay in lab.tailnet._relays.values() for stun in relay.stuns]
        assert len(answered) == 4
        assert all(answered)
        assert not any(stun.dropped for relay in lab.tailnet._relays.values() for stun in relay.stuns)


def test_derpprobe_is_content_with_relay_and_stun(lab: Lab) -> None:
    """Tailscale's own probe of relays: STUN over both versions, and packets between two clients of each region."""
    need("derpprobe")
    lab.tailnet.close()
    with Tailnet(host=lab.hub.v4, regions=0, verify_clients=False) as tailnet:
        for code in ("one", "two"):
            tailnet.add_region(code, host=(lab.hub.v4, lab.hub.v6))
        place = lab.scene.folder / "derpmap.json"
        told: Any = tailnet.derp_map
        for region in told["Regions"].values():
            region["Nodes"][0]["HostName"] = "localhost"  # it wants a name for TLS, and dials the addresses
        place.write_text(json.dumps(told))
        command: list[str | Path] = [BIN / "derpprobe", "-once", "-spread=false", "-derp-map", f"file://{place}"]
        probe = lab.scene.run("derpprobe", command)
        until(lambda: not probe.alive, 60)
    log = probe.log()
    for code, region in (("one", 900), ("two", 901)):
        for kind in ("udp", "udp6", f"{region}a/mesh"):
            assert f"good: derp/{code}/{region}a/{kind}" in log, log


@pytest.mark.timeout(240)
def test_a_node_that_moves_is_found_at_its_new_address(lab: Lab) -> None:
    """Go tells of its old endpoints for some minutes more, before or behind the new one. Once it kept its connection to
    control, whose address was gone; its watchdog ends that after two minutes."""
    here, there = lab.hub.machine("a"), lab.hub.machine("b")
    with lab.go("a", here) as a, lab.go("b", there) as b:
        a.up()
        other = b.up()
        assert direct(a, other.v4) in there.hosts
        there.move("10.77.9.9/16")
        until(lambda: "10.77.9.9" in {where.host for where in lab.told("b")["endpoints"]}, 150)
        until(lambda: direct(a, other.v4) == "10.77.9.9", 20)


def test_attributes_that_keep_a_node_on_the_relay(lab: Lab) -> None:
    """`only-tcp-443`: Go sends no UDP at all, and is reached through the relay; without it, directly."""
    here, there = lab.hub.machine("a"), lab.hub.machine("b")
    with lab.go("a", here) as a, lab.go("b", there) as b:
        a.up()
        other = b.up()
        lab.tailnet.set_node_attributes("b", ["only-tcp-443"])
        until(lambda: "only-tcp-443" in (b.status()["Self"].get("CapMap") or {}), 10)
        b.listen(":7", "echo")
        assert a.ping(other.v4, "TSMP")["NodeName"] == "b"
        b.ping(a.up().v4, "TSMP")
        holds(lambda: not current(b, "a"), 1)
        lab.tailnet.set_node_attributes("b", [])
        until(lambda: direct(a, other.v4) in there.hosts, 30)


def test_a_home_relay_dies_and_go_moves_to_the_other_one(lab: Lab) -> None:
    """Control learns of the new home, and tells it to the others."""
    here, there = lab.hub.machine("a"), lab.hub.machine("b")
    with lab.go("a", here) as a, lab.go("b", there) as b:
        a.up()
        other = b.up()
        assert direct(a, other.v4) in there.hosts
        home = lab.tailnet.relay(lab.told("b")["home_region"])
        left = lab.tailnet.relay(1801 - home.region)
        home.kill()
        until(lambda: lab.told("b")["home_region"] == left.region, 60)
        until(lambda: (a.peer("b") or {})["Relay"] == left.code, 5)
        until(lambda: "b" in left.clients(), 5)


# --- Go and our own node, which is at the hub -----------------------------------------------------------------------


@pytest.mark.parametrize("ours_first", [True, False], ids=["we dial", "go dials"])
def test_go_and_our_node_go_direct(lab: Lab, ours_first: bool) -> None:
    """Whoever begins. Then the relays fall silent, and 4 MiB pass each way."""
    here = lab.hub.machine("go")
    control = ControlAt(lab.tailnet.control_url)
    options: dict[str, Any] = {"auth_key": lab.tailnet.auth_key, "ephemeral": True}
    with lab.go("go", here) as go, ours.node(control, "ours", **options) as node, ours.serve_echo(node, 8):
        granted = go.up()
        go.listen(":7", "echo")
        node.reachable()
        own = str(node.addresses[0])
        until(lambda: ours.is_online(node, "go"), 5)
        if ours_first:
            node.ping(granted.v4)
        assert direct(go, own) in {lab.hub.v4, lab.hub.v6}
        for relay in lab.tailnet.relays:
            relay.silence()
        with node.dial("go", 7) as stream:
            stream.settimeout(30)
            sent, count, received = ours.exchange(stream, 4 * MIB)
            assert (count, received) == (4 * MIB, sent)
        there, back = go.send("ours:8", 4 * MIB)
        assert back.sha256 == there.sha256
        assert current(go, "ours") in {lab.hub.v4, lab.hub.v6}


def test_our_node_obeys_an_attribute_and_go_falls_back_to_the_relay(lab: Lab) -> None:
    here = lab.hub.machine("go")
    control = ControlAt(lab.tailnet.control_url)
    options: dict[str, Any] = {"auth_key": lab.tailnet.auth_key, "ephemeral": True}
    with lab.go("go", here) as go, ours.node(control, "ours", **options) as node:
        go.up()
        node.reachable()
        until(lambda: ours.is_online(node, "go"), 5)
        own = str(node.addresses[0])
        assert direct(go, own) in {lab.hub.v4, lab.hub.v6}
        lab.tailnet.set_node_attributes("ours", ["only-tcp-443"])
        until(lambda: pinged_through_a_relay(go, own), 30)
        lab.tailnet.set_node_attributes("ours", [])
        assert direct(go, own) in {lab.hub.v4, lab.hub.v6}


def pinged_through_a_relay(node: GoPeer, address: str) -> bool:
    try:
        return bool(node.ping(address, timeout=1)["DERPRegionID"])
    except PeerError:
        return False


def test_our_home_relay_dies_and_go_is_told_where_we_are_now(lab: Lab) -> None:
    here = lab.hub.machine("go")
    control = ControlAt(lab.tailnet.control_url)
    options: dict[str, Any] = {"auth_key": lab.tailnet.auth_key, "ephemeral": True}
    with lab.go("go", here) as go, ours.node(control, "ours", **options) as node:
        go.up()
        node.reachable()
        until(lambda: ours.is_online(node, "go"), 5)
        home = lab.tailnet.relay(lab.told("ours")["home_region"])
        left = lab.tailnet.relay(1801 - home.region)
        home.kill()
        until(lambda: lab.told("ours")["home_region"] == left.region, 5)
        until(lambda: (go.peer("ours") or {})["Relay"] == left.code, 3)
        until(lambda: "ours" in left.clients(), 3)
