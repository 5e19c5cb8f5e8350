"""What our node and a Go node send each other, captured, and opened by Wireshark with the keys of WG_KEYLOGFILE.

Wireshark is a judge that nobody here wrote: it knows the handshake, the transport and the key log by itself. The
captures are also looked at here, datagram by datagram: none may be left over that Wireshark did not open, and none
repeats a counter.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.capture import (
    INITIATION,
    NO_OFFLOAD,
    Datagram,
    assert_no_counter_repeats,
    capturing,
    datagrams,
    opened,
)
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.hub import Hub
from tests.interop.harness.ours import exchange, until
from tests.interop.harness.process import Process
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene, inside
from tests.interop.harness.testcontrol import Derper, TestControl
from tsnet.wireguard import session
from tsnet.wireguard.constants import REKEY_AFTER_TIME

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]
HOUR = 3600.0


@attrs.define
class Lab:
    scene: Scene
    node: tsnet.Server
    go: GoPeer
    capture: Process

    @property
    def pcap(self) -> Path:
        return self.scene.folder / "ours.pcap"

    @property
    def keys(self) -> Path:
        return self.scene.folder / "keys"

    def exchange(self, size: int) -> None:
        """That many bytes to Go's echo and back."""
        assert self.go.granted is not None
        with self.node.dial(self.go.granted.v4, 7, timeout=10) as stream:
            stream.settimeout(20)
            sent, count, received = exchange(stream, size)
            assert (count, received) == (size, sent)

    def find_direct_path(self) -> None:
        """On both sides, by disco alone: no tunnel is asked for before. A side that trusts no direct path yet sends its
        half of the first handshake by DERP, which no capture of UDP has."""
        granted, ours = self.go.granted, self.node.addresses[0]
        assert granted is not None
        until(lambda: self.node.ping(granted.v4, kind="disco").path.is_direct, 10)
        until(lambda: self.go.ping(str(ours)).get("Endpoint") and self.go.path_to("ours"), 10)
        assert not datagrams(self.pcap), "a session had begun before"

    def judged(self, *, elsewhere: int = 0) -> list[Datagram]:
        """All of WireGuard in the capture, which ends here, once Wireshark has opened it, and no counter repeats.

        elsewhere: as of `opened`.
        """
        self.capture.stop()
        found = datagrams(self.pcap)
        assert_no_counter_repeats(found)
        counts = opened(self.pcap, self.keys, self.scene.environment(), elsewhere=elsewhere)
        assert counts["packets"] > 500, counts
        assert not counts["cookies"], counts
        assert counts["initiations"] >= counts["responses"] >= 2, counts
        return found


@pytest.fixture
def lab(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    need("testcontrol", "derper", "tsnetpeer", "tcpdump", "tshark")
    hub = Hub(scene)
    go_place, our_place = hub.machine("go", v6=False), hub.machine("ours", v6=False)
    monkeypatch.setenv("WG_KEYLOGFILE", str(scene.folder / "keys"))
    for name, value in NO_OFFLOAD.items():
        monkeypatch.setenv(name, value)
    with (
        Derper(scene, host=hub.v4, v6=hub.v6) as derper,
        TestControl(scene, derper, host=hub.v4) as control,
        GoPeer(scene, control, "go", auth_key="any", namespace=go_place.namespace, environment=NO_OFFLOAD) as go,
        inside(our_place.namespace),
        ours.node(control, "ours", auth_key="any", ephemeral=True, allow_http=True) as node,
    ):
        go.up()
        capture = capturing(scene, our_place.namespace, "ours.pcap")
        node.reachable()
        go.listen(":7", "echo")
        yield Lab(scene, node, go, capture)


def test_wireshark_opens_everything_over_a_rekey(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our half asks for new keys after 6 s in place of 120, which Go cannot know."""
    monkeypatch.setattr(session, "REKEY_AFTER_TIME", 6.0)
    lab.find_direct_path()
    lab.exchange(1_000_000)
    begun = time.monotonic()
    while lab.keys.read_bytes().count(b"EPHEMERAL") < 2:
        assert time.monotonic() - begun < 12
        lab.exchange(1000)
    lab.exchange(1_000_000)
    lab.judged()
    assert (lab.keys.stat().st_mode & 0o777) == 0o600


@pytest.mark.slow
@pytest.mark.timeout(HOUR + 300)
@pytest.mark.skipif(os.environ.get("TSNET_NIGHTLY") != "1", reason="an hour long: TSNET_NIGHTLY=1")
def test_an_hour_is_opened_and_keys_are_renewed_every_two_minutes(lab: Lab) -> None:
    """One session of the thirty may be agreed upon by DERP: on a busy machine Go may trust no path for a moment."""
    lab.find_direct_path()
    end = time.monotonic() + HOUR
    while time.monotonic() < end:
        lab.exchange(20_000)
        time.sleep(1)
    began = [datagram.at for datagram in lab.judged(elsewhere=1) if datagram.kind == INITIATION]
    gaps = [later - earlier for earlier, later in itertools.pairwise(began)]
    assert len(gaps) >= HOUR / (REKEY_AFTER_TIME + 5) - 1
    assert all(abs(gap - REKEY_AFTER_TIME) <= 5 for gap in gaps[1:]), gaps
