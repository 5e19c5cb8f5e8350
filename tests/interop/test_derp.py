"""Our relay client at Tailscale's `derper`, and Tailscale's `derpprobe` at our relay."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.derp.sockets import Sockets
from tests.interop.harness.certificates import PrivateCA
from tests.interop.harness.requirements import BIN, need
from tests.interop.harness.scene import Scene
from tests.interop.harness.testcontrol import DERP_REGION, Derper
from tsnet.base.addresses import DerpAddress
from tsnet.base.crypto import node_public
from tsnet.base.keys import NodeKey, NodePrivateKey
from tsnet.base.links import Event
from tsnet.derp.client import Client, Stage
from tsnet.derp.facts import Connected, Disconnected, Fact, Measured, PeerGone
from tsnet.derp.frames import PEER_GONE_DISCONNECTED, PEER_GONE_NOT_HERE
from tsnet.derp.liveness import NO_ANSWER, PROBE_AFTER
from tsnet.derp.queues import DISCO_MAGIC
from tsnet.derp.server import Relay
from tsnet.netmap.model import DerpNode, DerpRegion

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

LOOPBACK = "127.0.0.1"
PORT, STUN_PORT = 3340, 3478
NODE = DerpNode("900a", DERP_REGION, LOOPBACK, ipv4=LOOPBACK, ipv6="none", derp_port=PORT)
DISCO = DISCO_MAGIC + bytes(100)


class Peer:
    """One client of ours behind real sockets."""

    def __init__(self, private: NodePrivateKey | None = None, *, tls: bool = False) -> None:
        private = private or NodePrivateKey(os.urandom(32))
        region = DerpRegion(DERP_REGION, nodes=(attrs.evolve(NODE, insecure_for_tests=tls),))
        self.key = node_public(private)
        options: dict[str, Any] = {"entropy": os.urandom, "preferred": True, "use_http": not tls}
        self.client = Client(region, private, **options, now=time.monotonic())
        self.inbox: list[tuple[NodeKey, bytes]] = []
        self.facts: list[Fact] = []
        self.sockets = Sockets(self.client, up=self._up)

    def _up(self, runs: list[tuple[DerpAddress, list[bytes]]]) -> None:
        self.inbox += [(source.key, packet) for source, packets in runs for packet in packets]

    def send(self, key: NodeKey, *packets: bytes) -> None:
        self.client.send(key, packets, time.monotonic())

    def knows(self, kind: type[Fact]) -> list[Any]:
        self.facts += self.client.take_facts()
        return [fact for fact in self.facts if type(fact) is kind]


Connect = Callable[..., list[Peer]]


@pytest.fixture
def derper(scene: Scene) -> Iterator[Derper]:
    need("derper")
    with Derper(scene) as derper:
        yield derper


@pytest.fixture
def connected(derper: Derper) -> Iterator[Connect]:
    """Peers with these private keys (None: a new one), logged in."""
    with contextlib.ExitStack() as stack:

        def connect(*privates: NodePrivateKey | None) -> list[Peer]:
            peers = [Peer(private) for private in privates]
            for peer in peers:
                stack.enter_context(peer.sockets)
            run(peers, lambda: all(peer.knows(Connected) for peer in peers))
            return peers

        yield connect


def run(peers: list[Peer], until: Callable[[], object], timeout: float = 10.0) -> None:
    end = time.monotonic() + timeout
    while not until():
        assert time.monotonic() < end, [(peer.client.stage, peer.facts) for peer in peers]
        for peer in peers:
            peer.sockets.turn(0.002)


def test_packets_of_every_size_and_a_bulk_pass_derper_intact(connected: Connect) -> None:
    a, b = peers = connected(None, None)
    rng = random.Random(1)
    for size in (0, 1, 1400, 65_536):
        packet = rng.randbytes(size)
        a.send(b.key, packet)
        run(peers, lambda: b.inbox)
        assert b.inbox == [(a.key, packet)]
        b.inbox.clear()
    for start in range(0, 2000, 20):  # derper keeps 32 packets: leave it time
        run_of = [number.to_bytes(4, "big") + rng.randbytes(1308) for number in range(start, start + 20)]
        a.send(b.key, *run_of)
        run(peers, lambda: len(b.inbox) >= 20)
        assert [packet for _source, packet in b.inbox] == run_of
        b.inbox.clear()


def test_derper_tells_of_peers_that_are_not_there_and_that_leave(connected: Connect) -> None:
    a, b = peers = connected(None, None)
    nobody = NodeKey(b"\x77" * 32)
    a.send(nobody, DISCO)
    run(peers, lambda: a.knows(PeerGone))
    assert a.knows(PeerGone) == [PeerGone(DERP_REGION, nobody, PEER_GONE_NOT_HERE)]
    b.send(a.key, b"hello")
    run(peers, lambda: a.inbox)
    b.client.close()
    run(peers, lambda: len(a.knows(PeerGone)) == 2)
    assert a.knows(PeerGone)[1] == PeerGone(DERP_REGION, b.key, PEER_GONE_DISCONNECTED)


def test_derper_answers_our_ping(connected: Connect) -> None:
    [a] = peers = connected(None)
    a.client.ping(time.monotonic())
    run(peers, lambda: a.knows(Measured))
    assert 0 < a.knows(Measured)[0].latency < 1


def test_the_last_writer_of_one_key_is_active_at_derper_too(connected: Connect) -> None:
    private = NodePrivateKey(os.urandom(32))
    old, new, other = peers = connected(private, private, None)
    new.client.ping(time.monotonic())
    run(peers, lambda: new.knows(Measured))  # derper has all that a login says
    old.send(other.key, b"I write")
    run(peers, lambda: other.inbox)
    other.send(old.key, b"to the writer")
    run(peers, lambda: old.inbox or new.inbox)
    assert (len(old.inbox), len(new.inbox)) == (1, 0)


def test_a_restarted_derper_is_found_again(derper: Derper, connected: Connect) -> None:
    a, b = peers = connected(None, None)
    derper.stop()
    run(peers, lambda: all(peer.knows(Disconnected) for peer in peers))
    derper.start()
    run(peers, lambda: all(len(peer.knows(Connected)) == 2 for peer in peers))
    a.send(b.key, b"back")
    run(peers, lambda: b.inbox)
    assert b.inbox == [(a.key, b"back")]


def test_derper_takes_a_fast_start_and_sends_no_101(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    need("derper")
    stages: list[Stage] = []
    receive = Client.receive

    def watched(client: Client, event: Event, now: float) -> Any:
        found = receive(client, event, now)
        stages.append(client.stage)
        return found

    monkeypatch.setattr(Client, "receive", watched)
    with Derper(scene, tls="insecure"), contextlib.ExitStack() as stack:
        a, b = peers = [Peer(tls=True), Peer(tls=True)]
        for peer in peers:
            stack.enter_context(peer.sockets)
            peer.send(peers[0].key, b"right behind the login")
        run(peers, lambda: all(peer.knows(Connected) for peer in peers))
        assert set(stages) <= {Stage.LOGGING_IN, Stage.CONNECTED}
        a.inbox.clear()
        b.send(a.key, b"hello")
        run(peers, lambda: (b.key, b"hello") in a.inbox)
        assert not a.knows(Disconnected) + b.knows(Disconnected)


def test_derper_that_is_stopped_in_its_tracks_is_given_up_and_found_again(derper: Derper, connected: Connect) -> None:
    """SIGSTOP: its machine still takes our bytes, and nothing comes back."""
    a, b = peers = connected(None, None)
    assert derper.process is not None
    derper.process.signal(signal.SIGSTOP)
    begun = time.monotonic()
    try:
        while not a.knows(Disconnected):
            a.send(b.key, b"into nothing")
            run([a], lambda: True)
            a.sockets.turn(0.2)
            assert time.monotonic() - begun < 15
    finally:
        derper.process.signal(signal.SIGCONT)
    assert a.knows(Disconnected)[0].reason == NO_ANSWER
    assert time.monotonic() - begun > PROBE_AFTER
    run(peers, lambda: len(a.knows(Connected)) == 2, timeout=30)


def test_derpprobe_is_content_with_our_relay(scene: Scene) -> None:
    """It logs two clients in over TLS and sends packets between them. (It finds our CA too short-lived.)"""
    need("derpprobe")
    ca = PrivateCA(scene.folder / "ca")
    certificate, key = ca.leaf("relay.lab.example")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    relay = Relay(NodePrivateKey(os.urandom(32)), entropy=os.urandom, now=time.monotonic())
    with Sockets(relay, server_tls=tls) as sockets:
        node = {"Name": "900a", "RegionID": 900, "HostName": "relay.lab.example", "IPv4": LOOPBACK}
        node |= {"IPv6": "none", "DERPPort": sockets.listen(), "STUNPort": -1}
        derp_map = scene.folder / "derpmap.json"
        derp_map.write_text(json.dumps({"Regions": {"900": {"RegionID": 900, "RegionCode": "lab", "Nodes": [node]}}}))
        command: list[str | Path] = [BIN / "derpprobe", "-once", "-spread=false", "-derp-map", f"file://{derp_map}"]
        probe = scene.run("derpprobe", command, environment={"SSL_CERT_FILE": str(ca.path)})
        sockets.run(lambda: not probe.alive, timeout=30)
    assert "good: derp/lab/900a/900a/mesh: " in probe.log()
    assert not relay.dropped
