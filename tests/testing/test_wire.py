from __future__ import annotations

import math
from typing import Any

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.testing.simulated import SimulatedWorld
from tsnet.testing.timeline import START
from tsnet.testing.wire import MAX_RECEIVE, SimulatedUdp


class Pair:
    """Two ports on two machines; what the right one has received, with its times."""

    def __init__(self, seed: int = 1, **faults: float) -> None:
        self.world = SimulatedWorld(seed)
        for name, value in faults.items():
            setattr(self.world.wire, name, value)
        self.left = self.world.machine("left").open_udp(0, self._on_left)
        self.right = self.world.machine("right").open_udp(0, self._on_right)
        self.to = UdpAddress(self.world.machine("right").v4, self.right.local_port)
        self.received: list[tuple[float, UdpAddress, list[bytes]]] = []
        self.left_ready = 0

    def _on_left(self) -> None:
        self.left_ready += 1

    def _on_right(self) -> None:
        self.received += [(self.world.clock(), *run) for run in self.right.receive()]

    def send(self, count: int) -> None:
        for number in range(count):
            self.left.send(self.to, [number.to_bytes(4, "big")])

    def run(self) -> list[int]:
        while self.world.next_event() < math.inf:
            self.world.wait(math.inf)
        return [int.from_bytes(datagram, "big") for _, _, run in self.received for datagram in run]


def test_a_run_arrives_whole_after_the_latency() -> None:
    pair = Pair(latency=0.25)
    run = [b"a" * 100] * 3 + [b"b"]
    assert pair.left.send(pair.to, run)
    pair.run()
    source = UdpAddress(pair.world.machine("left").v4, pair.left.local_port)
    assert pair.received == [(START + 0.25, source, run)]


def test_v6_and_loopback() -> None:
    pair = Pair()
    pair.left.send(UdpAddress(pair.world.machine("right").v6, pair.right.local_port), [b"six"])
    pair.run()
    assert pair.received[0][1].host == pair.world.machine("left").v6
    mine = pair.world.machine("right").open_udp(0, lambda: None)
    mine.send(UdpAddress("127.0.0.1", pair.right.local_port), [b"home"])
    pair.run()
    assert pair.received[1][1:] == (UdpAddress("127.0.0.1", mine.local_port), [b"home"])


def test_without_faults_everything_comes_once_and_in_order() -> None:
    pair = Pair()
    pair.send(500)
    assert pair.run() == list(range(500))
    assert pair.world.counts == {"sent": 500, "delivered": 500}


@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0])
def test_loss(rate: float) -> None:
    pair = Pair(loss=rate)
    pair.send(1000)
    got = pair.run()
    counts = pair.world.counts
    assert got == sorted(got)
    assert counts["lost"] + len(got) == 1000
    assert abs(counts["lost"] - 1000 * rate) < 60


def test_duplication() -> None:
    pair = Pair(duplication=0.2)
    pair.send(1000)
    got = pair.run()
    assert set(got) == set(range(1000))
    assert len(got) == 1000 + pair.world.counts["duplicated"]
    assert abs(pair.world.counts["duplicated"] - 200) < 60


def test_reordering() -> None:
    pair = Pair(reordering=0.2)
    pair.send(1000)
    got = pair.run()
    assert sorted(got) == list(range(1000))
    assert got != sorted(got)
    assert abs(pair.world.counts["reordered"] - 200) < 60


def test_a_port_without_room_keeps_what_it_is_given() -> None:
    pair = Pair(no_room=1.0)
    assert not pair.left.send(pair.to, [b"\0\0\0\1"])
    assert not pair.left.has_room
    pair.world.wire.no_room = 0.0
    assert not pair.left.send(pair.to, [b"\0\0\0\2"])
    assert pair.run() == [1, 2]
    assert pair.left.has_room
    assert pair.left_ready == 1
    assert pair.world.counts["no room"] == 2


def test_nobody_there_is_counted() -> None:
    pair = Pair()
    for host, port in (("10.9.9.9", pair.to.port), (pair.to.host, 9), ("not an address", 9)):
        assert pair.left.send(UdpAddress(host, port), [b"x", b"y"])
    assert pair.run() == []
    assert pair.world.counts["unreachable"] == 6


def test_a_closed_port_hears_nothing() -> None:
    pair = Pair()
    pair.send(1)
    pair.right.close()
    assert pair.run() == []
    pair.send(1)
    assert pair.world.counts["unreachable"] == 1


def test_receive_is_bounded_and_says_that_there_is_more() -> None:
    world, ready = SimulatedWorld(), []
    port: SimulatedUdp = world.open_udp(0, lambda: ready.append(1))
    for number in range(MAX_RECEIVE + 10):
        port.arrive(UdpAddress("10.0.0.9", 1), [bytes([number])])
    ready.clear()
    assert len(port.receive()) == MAX_RECEIVE
    world.wait(world.clock())
    assert ready == [1]
    assert len(port.receive()) == 10
    assert world.next_event() == math.inf


def test_fates_are_the_seeds() -> None:
    faults: dict[str, Any] = {"loss": 0.2, "duplication": 0.2, "reordering": 0.2}

    def outcome(seed: int) -> list[int]:
        pair = Pair(seed, **faults)
        pair.send(200)
        return pair.run()

    assert outcome(1) == outcome(1)
    assert outcome(1) != outcome(2)
