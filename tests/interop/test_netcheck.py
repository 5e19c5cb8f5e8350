"""Tailscale's own netcheck beside ours, on one DERP map: they find the same.

Both ask derper, and STUN servers that see each of them at another port.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.interop.harness.ours import node
from tests.interop.harness.requirements import BIN, need
from tests.interop.harness.scene import Scene
from tests.interop.harness.testcontrol import LOOPBACK, Derper, TestControl
from tsnet import NetcheckReport
from tsnet.base.addresses import UdpAddress
from tsnet.netcheck.stun import decode_request, encode_response

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]


@pytest.fixture(autouse=True)
def _needs() -> None:
    need("derper", "testcontrol", "netcheckpeer")


@attrs.define
class Liar:
    """A region that answers STUN only, and sees whoever asks at the same host, but at another port."""

    region: int
    stun_port: int
    offset: int
    tls: str = ""
    ca: None = None

    @property
    def region_json(self) -> dict[str, object]:
        node = {"Name": f"{self.region}a", "RegionID": self.region, "HostName": LOOPBACK, "IPv4": LOOPBACK}
        node |= {"IPv6": "none", "STUNPort": self.stun_port, "STUNOnly": True}
        return {"RegionID": self.region, "RegionCode": "liar", "RegionName": "liar", "Nodes": [node]}

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((LOOPBACK, self.stun_port))

        def answer() -> None:
            while True:
                datagram, source = sock.recvfrom(2048)
                if not datagram:
                    return
                mapped = UdpAddress(source[0], source[1] ^ self.offset)
                sock.sendto(encode_response(decode_request(datagram), mapped), source)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                end.sendto(b"", (LOOPBACK, self.stun_port))
            thread.join()
            sock.close()


def gos(scene: Scene) -> dict[str, Any]:
    """Go's report on the map that control hands out."""
    command: list[str | Path] = [BIN / "netcheckpeer", "--derpmap", scene.folder / "derpmap-8081.json"]
    done = subprocess.run(command, env=scene.environment(), capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr.decode()
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def both(scene: Scene, *relays: Any) -> tuple[dict[str, Any], NetcheckReport]:
    with TestControl(scene, *relays) as control, node(control, "ours", auth_key="any") as ours:
        return gos(scene), ours.netcheck()


def regions(report: dict[str, Any], name: str) -> set[int]:
    return {int(number) for number in report[name] or {}}


def compare(go: dict[str, Any], ours: NetcheckReport) -> None:
    """All but what differs from run to run: latencies, and ports of ours."""
    assert (ours.udp, ours.ipv4, ours.ipv6) == (go["UDP"], go["IPv4"], go["IPv6"])
    assert ours.hard_nat == go["MappingVariesByDestIP"]
    assert (ours.upnp, ours.pmp, ours.pcp) == (go["UPnP"], go["PMP"], go["PCP"]) == (None, None, None)
    found = {
        name: {region.region for region in ours.regions if getattr(region, field) is not None}
        for name, field in (
            ("RegionLatency", "latency"),
            ("RegionV4Latency", "latency_v4"),
            ("RegionV6Latency", "latency_v6"),
        )
    }
    assert found == {name: regions(go, name) for name in found}
    for address, theirs in ((ours.address_v4, go["GlobalV4"]), (ours.address_v6, go["GlobalV6"])):
        assert (address or "").rpartition(":")[0] == theirs.rpartition(":")[0]


def test_two_derpers(scene: Scene) -> None:
    one, other = (
        Derper(scene, v6="::1", tls="insecure"),
        Derper(scene, port=3341, stun_port=3479, region=901, tls="insecure"),
    )
    with one, other:
        go, ours = both(scene, one, other)
    compare(go, ours)
    assert ours.udp
    assert ours.ipv6
    assert ours.hard_nat is False
    assert {region.region for region in ours.regions if region.latency is not None} == {900, 901}
    assert ours.preferred_region in (900, 901)
    assert not ours.captive_portal  # None: nobody on port 80 could tell; Go then says that there is none
    assert not go["CaptivePortal"]


def test_one_derper_says_nothing_of_the_nat(scene: Scene) -> None:
    with Derper(scene) as one:
        go, ours = both(scene, one)
    compare(go, ours)
    assert ours.hard_nat is None


def test_a_hard_nat(scene: Scene) -> None:
    liars = [Liar(901, 3481, 1), Liar(902, 3482, 2)]
    with Derper(scene) as one, liars[0].answering(), liars[1].answering():
        go, ours = both(scene, one, *liars)
    compare(go, ours)
    assert ours.hard_nat is True


@pytest.mark.parametrize("tls", ["insecure", "pin"])
def test_where_no_stun_comes_back_relays_are_measured_over_https(scene: Scene, tls: Any) -> None:
    with Derper(scene, tls=tls) as one:
        one.stun_port = 3999  # what control says; nobody is there
        go, ours = both(scene, one)
    assert not ours.udp
    assert not go["UDP"]
    assert {region.region for region in ours.regions if region.latency is not None} == regions(go, "RegionLatency")
    assert [region.region for region in ours.regions if region.latency is not None] == [900]
    assert ours.regions[0].latency is not None
    assert ours.regions[0].latency_v4 is None
    assert go["RegionV4Latency"] == {}
    assert ours.preferred_region == go["PreferredDERP"] == 900
