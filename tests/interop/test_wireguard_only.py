"""A peer that speaks WireGuard alone and has several endpoints: wireguard-go, which listens at one at a time."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest

from tests.engine.pair import apply, netmap, node
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.interop.harness.wireguard import WireGuardGo
from tsnet.base.addresses import UdpAddress
from tsnet.base.crypto import node_public
from tsnet.base.keys import DiscoPrivateKey, NodeKey, NodePrivateKey
from tsnet.engine.engine import Engine

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]
THEIR_PRIVATE, OUR_PRIVATE = NodePrivateKey(b"\x21" * 32), NodePrivateKey(b"\x42" * 32)
PLACES = tuple(UdpAddress("127.0.0.1", port) for port in (51819, 51820, 51821))
BUDGET = 1 << 18


class OurEngine:
    """An engine on a real socket, turned by the test's own thread."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.now = time.monotonic()
        self.engine = Engine(
            OUR_PRIVATE,
            DiscoPrivateKey(os.urandom(32)),
            entropy=os.urandom,
            now=self.now,
            wall_offset=time.time() - self.now,
            timestamp_mark=None,
        )
        self.engine.device.mark_saved(time.time() + 86_400)
        self.peer: NodeKey = node_public(THEIR_PRIVATE)
        apply(self.engine, netmap(node(2, "b"), node(1, "a", key=self.peer, endpoints=PLACES)), self.now)

    def run(self, until: Callable[[], object], timeout: float) -> float:
        """Turn until it is so; after how many seconds that was."""
        begun = self.now
        while not until():
            assert self.now < begun + timeout, f"not within {timeout} s"
            wait = max(0.0, min(0.05, self.engine.deadline() - time.monotonic()))
            select.select([self.socket], [], [], wait)
            self.now, runs = time.monotonic(), []
            while True:
                try:
                    data, source = self.socket.recvfrom(1 << 16)
                except BlockingIOError:
                    break
                runs.append((UdpAddress(*source), [data]))
            self.engine.receive(runs, self.now)
            for destination, datagrams in self.engine.transmit(self.now, BUDGET):
                for datagram in datagrams:
                    self.socket.sendto(datagram, destination)
        return self.now - begun

    def ping(self, timeout: float) -> float:
        ping = self.engine.stack.ping(ip_address("100.64.0.1"))
        sent_at = -10.0

        def answered() -> bool:
            nonlocal sent_at
            if self.now > sent_at + 0.5:
                sent_at = self.now
                ping.send(self.now)
            return ping.readable

        taken = self.run(answered, timeout)
        ping.close()
        return taken


@pytest.fixture
def ours(scene: Scene) -> Iterator[OurEngine]:
    need("wireguard", "tun")
    engine = OurEngine()
    yield engine
    engine.socket.close()


@pytest.mark.slow
def test_the_endpoint_that_answers_is_used_and_another_one_when_it_does_not_any_more(
    ours: OurEngine, scene: Scene
) -> None:
    us = node_public(OUR_PRIVATE)
    addresses = ["100.64.0.1/32"]
    with WireGuardGo(
        scene, private_key=THEIR_PRIVATE.reveal(), addresses=addresses, listen_port=PLACES[1].port
    ) as theirs:
        theirs.add_peer(us, allowed_ips=["100.64.0.2/32"])
        assert ours.engine.paths.routes(ours.peer) == PLACES
        ours.ping(5.0)
        assert ours.engine.paths.routes(ours.peer) == (PLACES[1],)
        theirs.remove_peer(us)
        theirs.move(PLACES[2].port)
        theirs.add_peer(us, allowed_ips=["100.64.0.2/32"])
        taken = ours.ping(40.0)
        assert ours.engine.paths.routes(ours.peer) == (PLACES[2],)
        print(f"{taken:.1f} s after it had moved without a word")
