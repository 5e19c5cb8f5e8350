"""The path: its MTU from below and by experience; both strategies and the memory of all on a bad wire."""

from __future__ import annotations

import random

import pytest

from tests.netstack.packetimpact.states import established
from tests.netstack.pair import B4, Pair, exchange
from tests.netstack.peer import Peer


def test_a_link_s_mtu_from_below() -> None:
    peer = established()
    before = peer.connection.info().mss
    peer.stack.set_link_mtu("peer", 1420, peer.now)
    assert peer.connection.info().mtu == 1420
    peer.stack.set_link_mtu("peer", 1280, peer.now)
    assert peer.connection.info().mss == before


def test_what_is_out_and_too_long_goes_again_without_blame() -> None:
    peer = Peer()
    peer.mss = 8000
    peer.stack.set_link_mtu("peer", 8000, peer.now)
    peer.connect(rtt=0.05)
    peer.send("A")
    peer.connection.write(bytes(20_000), peer.now)
    before = peer.connection.info()
    assert max(seen.size for seen in peer.take()) > 7000
    peer.stack.set_link_mtu("peer", 1280, peer.now)
    assert max(seen.size for seen in peer.take()) == 1228
    assert peer.connection.info().cwnd >= before.cwnd


def test_black_hole_detection() -> None:
    """Nobody says that full segments are too long; smaller ones get through."""
    pair = Pair(mtu=1420, delay=0.02)
    client, server = pair.connected()
    pair.to_b.drop_next = lambda packet: len(packet) > 1280
    payload = bytes(30_000)
    client.write(payload, pair.now)
    pair.run(until=lambda: server.info().unread == len(payload), seconds=30)
    assert client.info().mtu == 1280


@pytest.mark.parametrize("congestion", ["cubic", "reno"])
def test_either_strategy_delivers_on_a_bad_wire(congestion: str) -> None:
    pair = Pair(loss=0.05, reorder=0.1, duplicate=0.05, seed=3)
    for stack in (pair.a, pair.b):
        stack.options.congestion = congestion
    payload = random.Random(1).randbytes(200_000)
    exchange(pair, payload, payload[:50_000])


def test_the_memory_of_all_connections_has_a_ceiling() -> None:
    pair = Pair()
    pair.b._tcp.memory.ceiling, pair.b._tcp.memory.plenty = 1 << 20, 3 << 18
    listener = pair.b.listen(80)
    clients = [pair.a.connect(B4, 80, pair.now) for _ in range(8)]

    def act(now: float) -> None:
        for client in clients:
            if client.connected:
                client.write(bytes(65_536), now)

    pair.on_turn = act
    pair.every = 0.1
    pair.run(seconds=5)
    assert len(pair.b.connections) > 0
    assert 1 << 19 < pair.b._tcp.memory.held <= (1 << 20) + 8 * (64 << 10) + 262_144
    while (server := listener.accept()) is not None:
        server.read()
    pair.run(seconds=2)
