"""Our process is stopped (SIGSTOP) while CLOCK_BOOTTIME goes on, and continued, with a Go node at the other end.

What a laptop's lid does to a node, as far as a process can be made to see it. Go's node is awake all the time. Of the
datagrams that are captured, none may repeat a counter, and none of ours may be under a key that is too old.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import attrs
import pytest

from tests.interop.harness.capture import (
    NO_OFFLOAD,
    RESPONSE,
    TRANSPORT,
    Datagram,
    assert_no_counter_repeats,
    capturing,
    datagrams,
)
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.hub import Hub, Place
from tests.interop.harness.ours import until
from tests.interop.harness.process import Process
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.interop.harness.testcontrol import Derper, TestControl
from tests.lab.ourpeer import OurPeer
from tsnet.wireguard.constants import REJECT_AFTER_TIME

NIGHTLY = os.environ.get("TSNET_NIGHTLY") == "1"
SLEEP = 180.0 if NIGHTLY else 20.0  # seconds
FIRST_BYTE = 10.0 if NIGHTLY else 3.0
"""After a short sleep the sessions are still good. After a long one all begins anew, and Go may have given us up."""

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(SLEEP + 120)]


@attrs.define
class Lab:
    scene: Scene
    go: GoPeer
    ours: OurPeer
    place: Place
    capture: Process

    def sleep(self) -> None:
        self.ours.process.signal(signal.SIGSTOP)
        try:
            time.sleep(SLEEP)
        finally:
            self.ours.process.signal(signal.SIGCONT)

    def first_byte(self) -> float:
        """We dial Go's echo: the seconds until it has answered."""
        begun = time.monotonic()
        stream = self.ours.open("go:7")
        self.ours.write(stream, b"first")
        assert self.ours.read(stream, 5) == b"first"
        taken = time.monotonic() - begun
        self.ours.call("close", stream=stream)
        return taken


@pytest.fixture
def lab(scene: Scene) -> Iterator[Lab]:
    need("testcontrol", "derper", "tsnetpeer", "tcpdump")
    hub = Hub(scene)
    go_place, our_place = hub.machine("go", v6=False), hub.machine("ours", v6=False)
    with (
        Derper(scene, host=hub.v4, v6=hub.v6) as derper,
        TestControl(scene, derper, host=hub.v4) as control,
        GoPeer(scene, control, "go", auth_key="any", namespace=go_place.namespace, environment=NO_OFFLOAD) as go,
        OurPeer(scene, control, "ours", auth_key="any", namespace=our_place.namespace, environment=NO_OFFLOAD) as ours,
    ):
        go.up()
        capture = capturing(scene, our_place.namespace, "ours.pcap")
        ours.up()
        go.listen(":7", "echo")
        yield Lab(scene, go, ours, our_place, capture)


def test_a_stopped_node_goes_on(lab: Lab) -> None:
    lab.first_byte()
    until(lambda: lab.ours.path_to("go"), 10, "direct")
    lab.sleep()
    woke = time.time()
    taken = lab.first_byte()
    print(f"first byte {taken:.2f} s after it was continued")
    assert taken < FIRST_BYTE
    lab.first_byte()
    lab.capture.stop()
    found = datagrams(lab.scene.folder / "ours.pcap")
    assert_no_counter_repeats(found)
    assert_no_key_is_too_old(found, lab.place)
    assert any(datagram.at > woke and datagram.kind == TRANSPORT for datagram in found)


def assert_no_key_is_too_old(found: list[Datagram], ours: Place) -> None:
    """Every datagram of ours is of a session whose handshake is in the capture, or that began with it."""
    first = min(datagram.at for datagram in found)
    made = {datagram.data[4:8]: datagram.at for datagram in found if datagram.kind == RESPONSE}
    made |= {datagram.data[8:12]: datagram.at for datagram in found if datagram.kind == RESPONSE}
    for datagram in found:
        if datagram.kind == TRANSPORT and datagram.source.host in ours.hosts:
            assert datagram.at - made.get(datagram.data[4:8], first) < REJECT_AFTER_TIME
