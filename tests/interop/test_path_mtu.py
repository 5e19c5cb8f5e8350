"""What a path carries, on the kernel's network: beside a Go node that measures as well, and with one that does not.

Every link has an MTU of its own. A bridge drops what is too long for a port of its, and tells nobody: a black hole.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.hub import Hub, Place
from tests.interop.harness.ours import exchange, serve_echo, until
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene, inside, ip
from tests.interop.harness.testcontrol import Derper, TestControl

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]
MEASURE = {"TS_DEBUG_ENABLE_PMTUD": "1", "TS_DEBUG_PMTUD": "1"}
SOON = 10.0
MIB = 1 << 20


class Lab:
    def __init__(self, scene: Scene) -> None:
        self.scene, self.hub = scene, Hub(scene)
        self.derper = Derper(scene, host=self.hub.v4)
        self.control = TestControl(scene, self.derper, host=self.hub.v4)
        self._ports: dict[str, str] = {}

    def machine(self, name: str) -> Place:
        place = self.hub.machine(name, v6=False)
        self._ports[place.namespace] = f"port{self.hub._count}"
        return place

    def set_mtu(self, place: Place, mtu: int, *, tells: bool = True) -> None:
        """Of both ends of its link; tells: or of the end alone that the bridge sends to."""
        ip("-n", self.scene.name, "link", "set", self._ports[place.namespace], "mtu", str(mtu))
        if tells:
            ip("-n", place.namespace, "link", "set", "eth0", "mtu", str(mtu))


@pytest.fixture
def lab(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    need("testcontrol", "derper", "tsnetpeer")
    for name, value in MEASURE.items():
        monkeypatch.setenv(name, value)
    lab = Lab(scene)
    with lab.derper, lab.control:
        yield lab


def largest(node: tsnet.Server) -> int:
    """How long packets to the one peer may be."""
    engine = node._handle.node.engine
    assert engine.peers.netmap is not None
    (key,) = [peer.key for peer in engine.peers.netmap.peers.values()]
    return engine.stack._ip.link_mtu(key)


def send(node: tsnet.Server, address: str, size: int = MIB) -> None:
    host, _, port = address.rpartition(":")
    with node.dial(host, int(port), timeout=10) as stream:
        stream.settimeout(30)
        sent, count, received = exchange(stream, size)
        assert (count, received) == (size, sent)


@pytest.mark.parametrize(("mtu", "packets"), [(1500, 1420), (9000, 8920), (1400, 1320)])
def test_what_a_path_to_go_carries(lab: Lab, mtu: int, packets: int) -> None:
    go_place, our_place = lab.machine("go"), lab.machine("ours")
    for place in (go_place, our_place):
        lab.set_mtu(place, mtu)
    with (
        GoPeer(lab.scene, lab.control, "go", auth_key="any", namespace=go_place.namespace, environment=MEASURE) as go,
        inside(our_place.namespace),
        ours.node(lab.control, "ours", auth_key="any", ephemeral=True, allow_http=True) as node,
        serve_echo(node, 7),
    ):
        granted = go.up()
        node.reachable()
        until(lambda: (go.peer("ours") or {}).get("Relay"), 10)
        go.listen(":7", "echo")
        go.udp_echo(f"{granted.v4}:9")
        send(node, f"{granted.v4}:7")
        until(lambda: largest(node) == packets, SOON)
        with node.dial_packet(granted.v4, 9) as packet:
            packet.settimeout(5)
            data = bytes(range(256)) * 35
            packet.send(data[: packets - 28])
            assert packet.recv(1 << 16) == data[: packets - 28]
        sent, received = go.send(f"{node.addresses[0]}:7", MIB)
        assert (sent.bytes, received.sha256) == (MIB, sent.sha256)
        send(node, f"{granted.v4}:7")
        until(lambda: go.path_to("ours").startswith("10."), SOON)
        log = lab.scene.folder / "go-go.log"

        def go_knows() -> bool:
            """By our pongs: its own pings have all sizes, too, at the latest those that it is asked for."""
            go.ping(str(node.addresses[0]))
            return f"mtu={mtu}" in log.read_text()

        until(go_knows, SOON)


def test_a_path_to_go_that_carries_less_than_before_is_noticed_and_stays_direct(lab: Lab) -> None:
    go_place, our_place = lab.machine("go"), lab.machine("ours")
    with (
        GoPeer(lab.scene, lab.control, "go", auth_key="any", namespace=go_place.namespace) as go,
        inside(our_place.namespace),
        ours.node(lab.control, "ours", auth_key="any", ephemeral=True, allow_http=True) as node,
    ):
        granted = go.up()
        node.reachable()
        until(lambda: (go.peer("ours") or {}).get("Relay"), 10)
        go.listen(":7", "echo")
        send(node, f"{granted.v4}:7")
        until(lambda: largest(node) == 1420, SOON)

        def sends_and_carries(packets: int) -> bool:
            send(node, f"{granted.v4}:7", 1000)
            return largest(node) == packets

        lab.set_mtu(go_place, 1450, tells=False)
        until(lambda: sends_and_carries(1320), SOON)
        lab.set_mtu(our_place, 1380)
        until(lambda: sends_and_carries(1280), SOON)
        assert node.status().peers[0].path.is_direct
