"""Loss: RACK, the tail probe, the timer, and how long they are patient."""

from __future__ import annotations

import random

import pytest

from netstack import TcpConnection
from tests.netstack.packetimpact.states import MSS, established
from tests.netstack.pair import Pair


@pytest.mark.parametrize("lost", [(10,), (9, 10), tuple(range(1, 11)), (1,), (1, 5, 10)])
@pytest.mark.parametrize("reorder", [0.0, 0.3])
def test_rack_and_tlp_repair_every_pattern(lost: tuple[int, ...], reorder: float) -> None:
    pair = Pair(delay=0.02, reorder=reorder, seed=sum(lost))
    client, server = pair.connected()
    payload = random.Random(1).randbytes(12_000)
    count = 0

    def drop(packet: bytes) -> bool:
        nonlocal count
        count += len(packet) > 500
        return len(packet) > 500 and count in lost

    pair.to_b.drop_next = drop
    client.write(payload, pair.now)
    pair.run(until=lambda: server.info().unread == len(payload), seconds=3)
    assert server.read() == payload


def count_timeouts(pair: Pair, client: TcpConnection) -> list[int]:
    """How often in a row the retransmission timer has fired, turn by turn."""
    timeouts: list[int] = []
    pair.on_turn = lambda now: timeouts.append(client.info().retries)
    return timeouts


@pytest.mark.parametrize("reorder", [0.0, 0.3])
@pytest.mark.parametrize("tail", [1, 2, 5, 9])
def test_rack_tail_all_lost(tail: int, reorder: float) -> None:
    """The probe, not the timer, finds it: within two round trips and the time a receiver may wait."""
    pair = Pair(delay=0.02, reorder=reorder, seed=tail)
    client, server = pair.connected()
    client.write(bytes(MSS * 5), pair.now)
    pair.run(until=lambda: not client.info().outstanding)
    count = 0

    def drop(packet: bytes) -> bool:
        nonlocal count
        count += len(packet) > 500
        return len(packet) > 500 and 10 - tail < count <= 10

    server.read()
    pair.to_b.drop_next = drop
    client.write(bytes(MSS * 10), pair.now)
    began = pair.now
    timeouts = count_timeouts(pair, client)
    pair.run(until=lambda: server.info().unread == MSS * 10, seconds=3)
    assert pair.now - began < 4 * 0.06 + 0.2
    assert max(timeouts) == 0


@pytest.mark.parametrize("reorder", [0.0, 0.3])
def test_rack_lost_retransmission(reorder: float) -> None:
    """Lost, and lost again when it is sent again: later deliveries tell, and nobody waits for the timer."""
    pair = Pair(delay=0.02, reorder=reorder, seed=4)
    client, server = pair.connected()
    victim, lost = b"", 0

    def drop(packet: bytes) -> bool:
        nonlocal victim, lost
        if len(packet) > 500 and not victim:
            victim = packet[24:28] if packet[0] >> 4 == 4 else packet[44:48]
        at = 24 if packet[0] >> 4 == 4 else 44
        is_lost = len(packet) > 500 and packet[at : at + 4] == victim and lost < 2
        lost += is_lost
        return is_lost

    pair.to_b.drop_next = drop
    client.write(bytes(MSS * 60), pair.now)
    timeouts = count_timeouts(pair, client)
    pair.run(until=lambda: server.info().unread == MSS * 60, seconds=5)
    assert (lost, max(timeouts)) == (2, 0)


def test_a_lost_tlp_is_followed_by_the_timer() -> None:
    peer = established()
    peer.connection.write(bytes(2 * MSS), peer.now)
    peer.take()
    probe, resent = peer.next(), peer.next()
    assert [(seen.seq, seen.size) for seen in probe + resent] == [(1 + MSS, MSS), (1, MSS)]


def test_retransmit_payload_and_count() -> None:
    peer = established(stamps=False)
    peer.connection.write(b"exactly this", peer.now)
    seen = peer.wait(4000)
    assert {segment.payload for segment in seen} == {b"exactly this"}
    assert len(seen) == 17
    assert peer.connection.info().packets_retransmitted == 16


@pytest.mark.parametrize("zero_window", [False, True])
def test_user_timeout(zero_window: bool) -> None:
    peer = established()
    peer.connection.set_user_timeout(3.0, peer.now)
    if zero_window:
        peer.send("A", window=0)
    peer.connection.write(b"data", peer.now)
    peer.wait(2.9)
    assert peer.connection.error is None
    peer.wait(0.2)
    assert peer.connection.error == "timeout"


def test_user_timeout_is_of_silence_not_of_age() -> None:
    peer = established()
    peer.connection.set_user_timeout(3.0, peer.now)
    peer.connection.write(bytes(20_000), peer.now)
    for _ in range(10):
        peer.wait(2.0)
        peer.send("A", ack=min(peer.received, peer.connection.info().bytes_acked + 500))
        assert peer.connection.error is None
