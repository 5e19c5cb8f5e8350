"""Our node and a Go tsnet node, every packet of our stack through a shim; and frames lost by our relay.

The shim stands between the engine and its stack: WireGuard, DERP and disco see a good network, TCP a bad one, in both
directions. In the second run the relay drops, doubles and delays whole frames, handshakes of WireGuard among them.
"""

from __future__ import annotations

import hashlib
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.control import ControlAt
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.interop.harness.testcontrol import Derper, TestControl
from tests.lab.cases import MIB
from tests.lab.shim import Shim, Shimmed
from tsnet.base.keys import NodeKey
from tsnet.testing.tailnet import Tailnet

pytestmark = [pytest.mark.interop, pytest.mark.timeout(170)]

# bytes, loss each way, round trip in seconds, whether late and twice
CASES = [
    (64 * MIB, 0.0, 0.002, False),
    (4 * MIB, 0.0, 0.040, True),
    (8 * MIB, 0.01, 0.002, True),
    (8 * MIB, 0.01, 0.040, False),
    (MIB, 0.05, 0.040, True),
    (MIB, 0.05, 0.002, False),
    (MIB // 8, 0.05, 0.400, False),
    (MIB // 8, 0.15, 0.040, False),
    (MIB // 8, 0.15, 0.002, True),
]
"""Sent by both at once; what takes minutes at 30 % and 400 ms runs against gVisor alone (test_gvisor_matrix)."""


def behind_a_shim(server: tsnet.Server, there: Shim, back: Shim) -> None:
    """Put two shims between the engine of a started node and its stack."""
    engine = server._handle.node.engine
    server._handle.host.call(lambda: setattr(engine, "stack", Shimmed(engine.stack, there=there, back=back)))


@contextmanager
def connected(server: tsnet.Server, go: GoPeer) -> Iterator[None]:
    server.up()
    ours.until(lambda: ours.is_online(server, "go"), 20, "Go is online")
    server.ping("go")
    go.listen(":7", "sink")
    yield


def exchange(server: tsnet.Server, go: GoPeer, size: int) -> None:
    """Both send at once, each on a stream of its own: ours dials Go's sink, Go dials our sink."""
    payload = random.Random(size).randbytes(size)
    with ours.serve_once(server, 9, ours.drain) as drained:
        theirs = go.start("send", address=f"{server.addresses[0]}:9", size=size, timeout=150)
        with server.dial("go", 7) as stream:
            stream.settimeout(150)
            pouring = threading.Thread(target=pour, args=(stream, payload))
            pouring.start()
            told = go.accepted(":7", timeout=150)
            pouring.join(10)
        sent = theirs.result(150)["sent"]
        assert drained() == (size, sent["sha256"])
    assert (told["bytes"], told["sha256"]) == (size, hashlib.sha256(payload).hexdigest())


def pour(stream: socket.socket, payload: bytes) -> None:
    stream.sendall(payload)
    stream.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(("size", "loss", "rtt", "disorder"), CASES)
def test_a_shim_between_engine_and_stack(scene: Scene, size: int, loss: float, rtt: float, disorder: bool) -> None:
    need("testcontrol", "derper", "tsnetpeer")
    chance = 0.02 if disorder else 0.0
    there, back = (
        Shim(seed, delay=rtt / 2, loss=loss, reorder=chance, duplicate=chance, late=rtt / 4) for seed in (1, 2)
    )
    with (
        Derper(scene) as derper,
        TestControl(scene, derper) as control,
        GoPeer(scene, control, "go", auth_key="any") as go,
        ours.node(control, "ours", auth_key="any") as server,
    ):
        go.up()
        with connected(server, go):
            behind_a_shim(server, there, back)
            exchange(server, go, size)
    for counts in (there.counts, back.counts):
        assert bool(counts["lost"]) == bool(loss)
        assert bool(counts["reordered"]) == disorder


class Dropping:
    """What our relay does with frames between two keys, once it is told to begin."""

    def __init__(self, loss: float, seed: int = 0) -> None:
        self.loss, self.begun = loss, False
        self.counts: Counter[str] = Counter()
        self._random = random.Random(seed)

    def __call__(self, source: NodeKey, target: NodeKey, packets: list[bytes]) -> list[bytes]:
        if not self.begun:
            return packets
        passed = [packet for packet in packets if self._random.random() >= self.loss]
        self.counts["sent"] += len(packets)
        self.counts["lost"] += len(packets) - len(passed)
        return passed


@pytest.mark.parametrize(("size", "loss"), [(8 * MIB, 0.01), (MIB, 0.05), (MIB // 8, 0.15)])
def test_our_relay_loses_frames(scene: Scene, size: int, loss: float) -> None:
    need("tsnetpeer")
    dropping = Dropping(loss)
    with Tailnet(mangle=dropping, tls=False) as tailnet:
        control = ControlAt(tailnet.control_url, {"TS_DEBUG_USE_DERP_HTTP": "1"})
        with (
            GoPeer(scene, control, "go", auth_key=tailnet.auth_key, derp_only=True) as go,
            ours.node(control, "ours", auth_key=tailnet.auth_key) as server,
        ):
            go.up()
            with connected(server, go):
                dropping.begun = True
                exchange(server, go, size)
    assert dropping.counts["lost"] > 0
