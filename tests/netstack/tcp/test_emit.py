"""What leaves: cutting, windows, silly windows, Nagle, budget and hold; every packet as scapy reads it."""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest

from netstack.tcp import emit
from tests.netstack.oracle import IP, TCP, IPv6
from tests.netstack.pair import B4, Pair, drain, exchange, packets_of
from tests.netstack.peer import Peer

MSS = 1208


def sizes(peer: Peer) -> list[int]:
    return [seen.size for seen in peer.take()]


@pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])
@pytest.mark.parametrize("numpy", [False, True])
@pytest.mark.parametrize("mtu", [1280, 1501, 8920])
def test_runs_as_scapy_would_build_them(v6: bool, numpy: bool, mtu: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if numpy:
        pytest.importorskip("numpy")
    else:
        monkeypatch.delitem(sys.modules, "numpy", raising=False)
    pair = Pair(mtu=mtu)
    client, _ = pair.connected(v6=v6)
    payload = random.Random(3).randbytes(70_001)
    client.write(payload, pair.now)
    got = b""
    for packet in packets_of(drain(pair.a, pair.now))[:60]:
        assert len(packet) <= mtu
        theirs: Any = IPv6(packet) if v6 else IP(packet)
        segment = theirs[TCP]
        got += bytes(segment.payload)
        assert segment.sport == client.local[1]
        given = segment.chksum, None if v6 else theirs.chksum
        del segment.chksum
        if not v6:
            del theirs.chksum
        again: Any = (IPv6 if v6 else IP)(bytes(theirs))
        assert (again[TCP].chksum, None if v6 else again.chksum) == given
        assert bytes(again) == packet
    assert payload.startswith(got)
    assert len(got) >= min(10 * client.info().mss, 60_000)


def test_runs_are_equal_but_the_last_and_below_64_kib() -> None:
    pair = Pair()
    exchange(pair, bytes(2_000_000), b"")  # the pair asserts it of every run
    assert max(len(packet) for _, _, packet in pair.trace) == 1280


def test_ten_segments_at_first() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.write(bytes(100_000), peer.now)
    assert sizes(peer) == [MSS] * 10


def test_push_and_fin_ride_on_the_last_segment() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.write(bytes(3 * MSS), peer.now)
    peer.connection.shutdown_write(peer.now)
    assert [seen.flags for seen in peer.take()] == ["A", "A", "FPA"]


def test_the_peers_window_is_a_limit() -> None:
    peer = Peer(scale=0)
    peer.window = 3000
    peer.connect()
    peer.connection.write(bytes(10_000), peer.now)
    assert sum(sizes(peer)) <= 3000
    peer.send("A")
    assert sum(sizes(peer)) <= 3000


def test_a_window_of_zero_stops_and_a_probe_asks() -> None:
    peer = Peer(scale=0)
    peer.connect()
    peer.send("A", window=0)
    peer.connection.write(b"x" * 5000, peer.now)
    assert peer.take() == []
    seen = peer.wait(1.2)
    assert seen
    assert {(probe.size, probe.seq) for probe in seen} == {(0, 0)}  # snd_una - 1
    peer.send("A", window=10_000)
    assert sum(sizes(peer)) == 5000


def test_an_overtaken_segment_that_acknowledges_more_sets_the_window_too() -> None:
    """Go sends such after a loss. Its window begins at what it acknowledges: the right edge must not move with it."""
    peer = Peer(scale=0)
    peer.connect()
    peer.connection.write(bytes(50_000), peer.now)
    sent = sum(sizes(peer))
    peer.send("A", seq=1001, ack=1 + MSS, window=5000, payload=b"x" * 1000)  # the one before it is lost
    peer.send("A", seq=1, ack=1 + sent, window=0, payload=b"x" * 1000)
    assert sizes(peer) == [0]
    assert peer.connection.info().send_window == 0


def test_an_acknowledgement_stays_inside_a_window_that_was_taken_back() -> None:
    """Beyond it the peer drops it, and waits for ever for what it acknowledges."""
    peer = Peer(scale=0)
    peer.connect()
    peer.connection.write(bytes(10 * MSS), peer.now)
    assert sum(sizes(peer)) == 10 * MSS
    peer.send("A", ack=1 + MSS, window=2 * MSS)
    peer.take()
    peer.send("PA", ack=1 + MSS, window=2 * MSS, payload=b"hello")
    (ack,) = [seen for seen in peer.wait(0.05) if not seen.size]
    assert (ack.seq, ack.ack) == (1 + 3 * MSS, 6)


def test_small_windows_are_not_filled_with_small_segments() -> None:
    peer = Peer(scale=0)
    peer.connect()
    peer.send("A", window=0)
    peer.connection.write(b"x" * 5000, peer.now)
    peer.take()
    peer.send("A", window=100)
    assert sizes(peer) == []


def test_half_of_a_tiny_window_is_worth_sending() -> None:
    peer = Peer(scale=0)
    peer.window = 500
    peer.dial()
    peer.answer()
    peer.take()
    peer.connection.write(b"x" * 5000, peer.now)
    assert sizes(peer) == [500]


def test_nagle_waits_for_the_acknowledgement() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.set_nodelay(False)
    peer.connection.write(b"a", peer.now)
    assert sizes(peer) == [1]
    peer.connection.write(b"b", peer.now)
    assert sizes(peer) == []
    peer.connection.write(b"c" * MSS, peer.now)
    assert sizes(peer) == [MSS]
    peer.send("A")
    assert sizes(peer) == [1]


def test_without_nagle_everything_goes_at_once() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.set_nodelay(True)
    for _ in range(3):
        peer.connection.write(b"a", peer.now)
        assert sizes(peer) == [1]


def test_the_receive_window_shrinks_with_what_is_unread_and_opens_when_it_is_read() -> None:
    peer = Peer(scale=None)
    peer.connect()
    before = peer.connection.info().receive_window
    while peer.connection.info().receive_window >= 1000:
        peer.send("A", payload=bytes(1000))
        peer.take()
    assert peer.connection.info().unread > before - 2000
    assert peer.take() == []
    peer.connection.read(100)
    assert peer.take() == []  # no silly window
    peer.connection.read()
    (update,) = peer.take()
    assert update.window == before


def test_the_right_edge_never_moves_left() -> None:
    peer = Peer()
    peer.connect()
    edge = 0
    chance = random.Random(1)
    for _ in range(300):
        if chance.random() < 0.7:
            peer.send("A", payload=bytes(chance.randrange(1, 1200)))
        else:
            peer.connection.read(chance.randrange(5000))
        for seen in peer.take():
            assert seen.ack + (seen.window << 8) >= edge
            edge = seen.ack + (seen.window << 8)


def test_the_receive_buffer_grows_with_what_is_read() -> None:
    pair = Pair(delay=0.05)
    client, server = pair.connected()
    before = server._tcb.receive_limit
    payload, sent = bytes(20_000_000), 0

    def act(now: float) -> None:
        nonlocal sent
        if sent < len(payload):
            sent += client.write(payload[sent : sent + 1_000_000], now)
        server.read()

    pair.on_turn = act
    pair.run(seconds=20)
    assert before < server._tcb.receive_limit <= 8 * 1024 * 1024


def test_a_budget_cuts_the_turn_but_loses_nothing() -> None:
    pair = Pair()
    client, server = pair.connected()
    client.write(bytes(12_000), pair.now)
    first = packets_of(pair.a.transmit(pair.now, 3000))
    assert sum(map(len, first)) <= 3000
    assert pair.a.deadline() <= pair.now
    rest = packets_of(drain(pair.a, pair.now, 3000))
    pair.b.receive([("a", first + rest)], pair.now)
    assert len(server.read()) == 12_000


def test_what_only_the_budget_stops_does_not_open_the_congestion_window() -> None:
    pair = Pair()
    client, server = pair.connected()
    in_flight = 0
    for _ in range(200):
        client.write(bytes(1 << 18), pair.now)
        runs = pair.a.transmit(pair.now, 64 * 1024)
        in_flight = max(in_flight, client.info().in_flight)
        pair.b.receive([("a", packets) for _, packets in runs], pair.now)
        server.read()
        pair.a.receive([("b", packets) for _, packets in pair.b.transmit(pair.now)], pair.now)
        pair.clock.advance(0.001)
    assert client.info().cwnd <= 4 * in_flight


def test_a_held_link_gives_nothing_and_is_not_due() -> None:
    pair = Pair()
    client, server = pair.connected()
    pair.a.hold("b")
    client.write(bytes(5000), pair.now)
    assert drain(pair.a, pair.now) == []
    assert pair.a.deadline() > pair.now
    pair.a.release("b")
    assert pair.a.deadline() <= pair.now
    pair.b.receive([("a", packets_of(drain(pair.a, pair.now)))], pair.now)
    assert len(server.read()) == 5000


def test_connections_take_turns() -> None:
    pair = Pair()
    pair.b.listen(80)
    clients = [pair.a.connect(B4, 80, pair.now) for _ in range(3)]
    pair.run(until=lambda: all(client.connected for client in clients))
    for client in clients:
        client.write(bytes(10_000), pair.now)
    ports = [packet[20:22] for packet in packets_of(pair.a.transmit(pair.now, 20_000))]
    assert len(set(ports)) >= 2


def test_stamps_and_window_are_on_every_segment() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.write(bytes(5 * MSS), peer.now)
    for seen in peer.take():
        assert seen.options.timestamps is not None
        assert seen.window > 0
        assert seen.ack == 1
    assert emit.MAX_RUN_PACKETS == 49


@pytest.mark.parametrize("rest", [-1, 0, 1])
def test_no_segment_is_above_the_mss_at_its_edge(rest: int) -> None:
    peer = Peer()
    peer.connect()
    peer.connection.set_nodelay(True)
    peer.connection.write(bytes(2 * MSS + rest), peer.now)
    assert sizes(peer) == [size for size in (MSS, MSS + min(rest, 0), max(rest, 0)) if size]


def test_the_smallest_budget_is_one_packet() -> None:
    pair = Pair()
    client, _ = pair.connected()
    client.write(bytes(12_000), pair.now)
    assert len(packets_of(pair.a.transmit(pair.now, 1))) == 1
