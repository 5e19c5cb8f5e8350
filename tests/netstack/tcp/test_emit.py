"""What leaves: cutting, windows, silly windows, Nagle, budget and hold; every packet as scapy reads it."""

from __future__ import annotations

import math
import random
import sys
from typing import Any

import pytest

from netstack.limits import RunLimits
from netstack.tcp import emit, states
from netstack.tcp.reassembly import OutOfOrder
from netstack.tcp.tcb import Tcb
from netstack.wire import tcp
from tests.netstack.oracle import IP, TCP, IPv6
from tests.netstack.pair import A4, B4, Pair, drain, exchange, packets_of
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
    peer.clock.advance(0.05)  # so that it is no answer to the handshake, and quick acknowledgements are left
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


# the window that is offered -------------------------------------------------------------------------------------


def receiving(limit: int = 20_000, unread: int = 0, offered: int = 0, scale: int = 0, mss: int = 1000) -> Tcb:
    """A control block that has received up to 5000 and offered so much from there on."""
    tcb = Tcb(A4.packed, 1000, B4.packed, 80, iss=7, stamp_offset=0, mtu=1280, now=1000.0)
    tcb.receive_limit, tcb.rcv_wscale, tcb.rcv_mss = limit, scale, mss
    tcb.rcv_nxt, tcb.rcv_adv = 5000, 5000 + offered
    tcb.receive_buffer.append(bytes(unread))
    return tcb


@pytest.mark.parametrize(
    ("limit", "unread", "offered", "scale", "field"),
    [
        (20_000, 8001, 10_000, 0, 10_000),  # less than two segments more are not worth telling
        (20_000, 8000, 10_000, 0, 12_000),
        (3000, 1, 1500, 0, 1500),  # nor less than half of a small buffer
        (3000, 0, 1500, 0, 3000),
        (20_000, 19_000, 1000, 0, 1000),
        (20_000, 18_999, 1000, 0, 1001),  # but from where not a whole segment fits to where one does
        (20_000, 18_999, 1001, 0, 1001),
        (20_000, 18_998, 1001, 0, 1001),
        (20_000, 19_000, 500, 0, 500),
        (20_000, 18_999, 500, 0, 1001),
        (20_000, 18_000, 15_000, 0, 15_000),  # the edge stays where it was
        (20_000, 20_001, 0, 0, 0),
        (20_000, 100, 0, 8, 77),  # down to what the field can say
        (20_000, 19_900, 1000, 8, 4),  # and what was offered is said in full
        (200_000, 0, 0, 0, 65_535),
        (200_000, 0, 0, 1, 65_535),
        (200_000, 0, 0, 2, 50_000),
    ],
)
def test_the_window_field(limit: int, unread: int, offered: int, scale: int, field: int) -> None:
    """RFC 9293 §3.8.6.2.2: in steps worth taking, and never less than before."""
    tcb = receiving(limit, unread, offered, scale)
    assert emit.advertise(tcb) == field
    assert tcb.rcv_adv == 5000 + max(offered, field << scale)


@pytest.mark.parametrize(
    ("limit", "unread", "offered", "wanted"),
    [
        (20_000, 18_001, 999, True),  # less than a segment was open: one more will do
        (20_000, 18_002, 999, False),
        (20_000, 14_000, 1000, True),  # else a quarter of the buffer
        (20_000, 14_001, 1000, False),
        (6000, 3000, 1000, True),  # or two segments
        (6000, 3001, 1000, False),
        (1500, 750, 0, True),  # or half of a buffer that has no room for two
        (1500, 751, 0, False),
    ],
)
def test_when_reading_is_worth_a_window_update(limit: int, unread: int, offered: int, wanted: bool) -> None:
    assert emit.wants_window_update(receiving(limit, unread, offered)) is wanted


@pytest.mark.parametrize(("soon", "segments", "wanted"), [(False, 16, True), (True, 15, True), (True, 16, False)])
def test_an_acknowledgement_that_follows_soon_tells_of_the_window(soon: bool, segments: int, wanted: bool) -> None:
    """Unless the peer may have to wait for it."""
    tcb = receiving(60_000, 0, segments * 1000)
    if soon:
        tcb.delack_at = 1000.04
    assert emit.wants_window_update(tcb) is wanted


def test_what_is_out_of_order_takes_room_too() -> None:
    tcb = receiving(20_000, 8000)
    tcb.out_of_order = OutOfOrder()
    tcb.out_of_order.insert(6000, bytes(3000))
    assert emit.advertise(tcb) == 9000


@pytest.mark.parametrize(
    ("held", "limit", "field"), [(0, 20_000, 20_000), (1, 20_000, 20_000), (1, 66_000, 65_536), (0, 66_000, 66_000)]
)
def test_a_stack_short_of_memory_offers_the_least_limit(held: int, limit: int, field: int) -> None:
    tcb = receiving(limit, scale=4)
    tcb.memory.held = tcb.memory.plenty + held
    assert emit.advertise(tcb) == field >> 4


# acknowledgements -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stamps", "duplicate", "blocks"), [(False, False, 4), (False, True, 3), (True, False, 3), (True, True, 2)]
)
def test_as_many_blocks_as_there_is_room_for(stamps: bool, duplicate: bool, blocks: int) -> None:
    """RFC 2018 §3: four, three beside timestamps; the one that grew last first, and a duplicate before it."""
    tcb = receiving()
    assert emit.sack_blocks(tcb) == b""
    tcb.sack_ok, tcb.ts_ok = True, stamps
    assert emit.sack_blocks(tcb) == b""
    expected = [(number * 1000, number * 1000 + 100) for number in (10, 9, 8, 7, 6)][:blocks]
    if duplicate:
        tcb.dsack = (4000, 4500)
        assert tcp.parse_options(emit.sack_blocks(tcb)).sack == ((4000, 4500),)
        expected.insert(0, (4000, 4500))
    tcb.out_of_order = OutOfOrder()
    for number in range(6, 11):
        tcb.out_of_order.insert(number * 1000, bytes(100))
    assert list(tcp.parse_options(emit.sack_blocks(tcb)).sack) == expected
    tcb.sack_ok = False
    assert emit.sack_blocks(tcb) == b""


@pytest.mark.parametrize(("pause", "acknowledged"), [(0.039, 0), (0.041, 1)])
def test_who_answers_soon_needs_no_quick_acknowledgements(pause: float, acknowledged: int) -> None:
    """Linux's pingpong mode: the answer carries it."""
    peer = Peer()
    peer.connect()
    peer.send("PA", payload=b"question")
    peer.take()
    peer.clock.advance(pause)
    peer.connection.write(b"answer", peer.now)
    assert sizes(peer) == [6]
    peer.send("PA", payload=b"question")
    assert len(peer.take()) == acknowledged


@pytest.mark.parametrize(("pause", "acknowledged"), [(0.039, []), (0.041, [2])])
def test_who_asks_as_soon_as_it_is_connected_goes_on_soon(pause: float, acknowledged: list[int]) -> None:
    """Linux's pingpong mode begins with the handshake, too."""
    peer = Peer()
    peer.connect()
    peer.clock.advance(pause)
    peer.connection.write(b"hello", peer.now)
    peer.take()
    peer.send("PA", payload=b"x")
    assert [seen.ack for seen in peer.take()] == acknowledged


@pytest.mark.parametrize(("scale", "beyond", "seq"), [(0, 0, 10), (0, 1, 9), (3, 7, 10), (3, 8, 2)])
def test_where_an_acknowledgement_stands_when_the_window_was_taken_back(scale: int, beyond: int, seq: int) -> None:
    """At its end; but what is less than the window's scale is only rounding."""
    tcb = receiving()
    tcb.snd_una, tcb.snd_nxt, tcb.snd_wscale = 0, 10, scale
    tcb.snd_wnd = 10 - beyond
    tcb.ack_now, tcb.state = True, states.ESTABLISHED
    tcb.send_buffer.end = 0
    runs: emit.Runs = []
    emit.output(tcb, 1000.0, 10_000, runs)
    ((_, (packet,)),) = runs
    assert int.from_bytes(packet[24:28], "big") == seq
    assert (tcb.ack_now, tcb.ack_pending, tcb.last_ack_sent, tcb.delack_at) == (False, 0, 5000, math.inf)


# what is worth sending ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "sent"),
    [
        (3000, [MSS, MSS]),  # the rest is less than a segment, and less than half of the greatest window
        (2 * MSS, [MSS, MSS]),
        (MSS, [MSS]),
        (MSS - 1, []),
        (5000, [MSS, MSS, MSS, MSS]),
    ],
)
def test_only_full_segments_while_the_window_is_short(window: int, sent: list[int]) -> None:
    """RFC 9293 §3.8.6.2.1, the sender's side."""
    peer = Peer(scale=0)
    peer.connect()
    peer.send("A", window=0)
    peer.connection.write(bytes(20_000), peer.now)
    peer.take()
    peer.send("A", window=window)
    assert sizes(peer) == sent


@pytest.mark.parametrize(("window", "sent"), [(499, []), (500, [500]), (999, [999])])
def test_half_of_the_greatest_window_is_worth_a_segment(window: int, sent: list[int]) -> None:
    peer = Peer(scale=0)
    peer.window = 1000
    peer.connect()
    peer.send("A", window=0)
    peer.connection.write(bytes(5000), peer.now)
    peer.take()
    peer.send("A", window=window)
    assert sizes(peer) == sent


def test_a_cork_and_more_to_come_hold_what_is_not_full() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.set_cork(True, peer.now)
    peer.connection.write(bytes(2 * MSS + 10), peer.now)
    assert sizes(peer) == [MSS, MSS]
    peer.connection.set_cork(False, peer.now)
    assert sizes(peer) == [10]
    peer.send("A")
    peer.connection.write(bytes(MSS + 10), peer.now, more=True)
    assert sizes(peer) == [MSS]
    peer.connection.write(b"x", peer.now)
    assert sizes(peer) == [11]


def test_the_last_of_the_stream_waits_for_nothing() -> None:
    """Neither for Nagle nor for a cork: the FIN goes with it."""
    peer = Peer()
    peer.connect()
    peer.connection.set_nodelay(False)
    peer.connection.write(b"a", peer.now)
    peer.take()
    peer.connection.set_cork(True, peer.now)
    peer.connection.write(b"b", peer.now)
    assert peer.take() == []
    peer.connection.shutdown_write(peer.now)
    assert [(seen.flags, seen.size) for seen in peer.take()] == [("FPA", 1)]


@pytest.mark.parametrize(("window", "flags"), [(MSS, ["PA"]), (MSS + 1, ["FPA"])])
def test_a_fin_takes_a_byte_of_the_window(window: int, flags: list[str]) -> None:
    peer = Peer(scale=0)
    peer.connect()
    peer.send("A", window=0)
    peer.connection.write(bytes(MSS), peer.now)
    peer.connection.shutdown_write(peer.now)
    peer.take()
    peer.send("A", window=window)
    assert [seen.flags for seen in peer.take()] == flags
    peer.send("A", window=window)
    assert [seen.flags for seen in peer.take()] == (["FA"] if len(flags[0]) == 2 else [])


@pytest.mark.parametrize("budget", [1, 1260, 2519, 2520, 100_000])
def test_a_run_is_as_many_packets_as_the_budget_pays(budget: int) -> None:
    peer = Peer()
    peer.connect()
    peer.connection.write(bytes(10 * MSS), peer.now)
    runs = peer.stack.transmit(peer.now, budget)
    assert len(packets_of(runs)) == min(max(budget // (MSS + 52), 1), 10)


@pytest.mark.parametrize(
    ("mtu", "segment", "count"),
    [(1280, 65_535, 48), (1280, 1000, 49), (8000, 65_535, 8), (8000, 1538, 39), (8000, 2412, 26)],
)
def test_a_run_is_as_long_as_the_owner_of_the_stack_can_send(mtu: int, segment: int, count: int) -> None:
    pair = Pair(mtu=mtu)
    pair.a.options.runs = RunLimits(packets=49, size=65_000, overhead=48)
    client, _ = pair.connected()
    client.set_max_segment(segment)
    client._tcb.congestion.cwnd = 1e6
    client.write(bytes(200_000), pair.now)
    runs = pair.a.transmit(pair.now, 10_000_000)
    assert len(runs[0][1]) == count


def test_a_packet_that_is_longer_than_a_run_may_be_goes_alone() -> None:
    pair = Pair(mtu=9000)
    pair.a.options.runs = RunLimits(size=5000)
    client, server = pair.connected()
    client.write(bytes(20_000), pair.now)
    runs = drain(pair.a, pair.now)
    assert {len(packets) for _, packets in runs} == {1}
    pair.b.receive([("a", packets_of(runs))], pair.now)
    assert server.readable


def test_data_leaves_where_one_packet_fills_a_run() -> None:
    exchange(Pair(mtu=65_535), bytes(200_000), bytes(200_000))


# repairs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "seq", "length"),
    [(3 * MSS, 2 * MSS, MSS), (2 * MSS + 100, 2 * MSS, 100), (2 * MSS + 1, 2 * MSS, 1), (10, 0, 10)],
)
def test_a_tail_probe_is_the_last_segment_as_it_was(size: int, seq: int, length: int) -> None:
    peer = Peer()
    peer.connect(rtt=0.1)
    peer.connection.set_nodelay(True)
    peer.connection.write(bytes(size), peer.now)
    peer.take()
    (probe,) = peer.next()
    assert (probe.seq, probe.size) == (1 + seq, length)
    info = peer.connection.info()
    assert (info.retransmitted, info.packets_retransmitted) == (length, 1)
    assert info.in_flight == size


@pytest.mark.parametrize(("room", "new"), [(0, False), (99, False), (100, True), (101, True)])
def test_a_tail_probe_is_new_data_where_the_window_has_room(room: int, new: bool) -> None:
    """RFC 8985 §7.3; here only Nagle had kept it back."""
    peer = Peer(scale=0)
    peer.connect(rtt=0.1)
    peer.send("A", window=10 + room)
    peer.connection.write(bytes(10), peer.now)
    assert sizes(peer) == [10]
    peer.connection.set_nodelay(False)
    peer.connection.write(bytes(100), peer.now)
    assert sizes(peer) == []
    (probe,) = peer.next()
    assert (probe.seq, probe.size) == ((11, 100) if new else (1, 10))
    assert peer.connection.info().retransmitted == (0 if new else 10)


def test_retransmissions_are_counted_in_bytes_and_segments() -> None:
    peer = Peer()
    peer.connect(rtt=0.1)
    peer.send("A")
    peer.connection.set_nodelay(True)
    peer.connection.write(bytes(9 * MSS + 10), peer.now)
    una = peer.take()[0].seq
    peer.clock.advance(0.1)
    rto_at = peer.connection._tcb.rto_at
    peer.send("A", ack=una, blocks=[(una + 6 * MSS, una + 9 * MSS)])
    assert [(seen.seq, seen.size) for seen in peer.take()] == [(una + number * MSS, MSS) for number in range(3)]
    info = peer.connection.info()
    assert (info.retransmitted, info.packets_retransmitted) == (3 * MSS, 3)
    assert peer.connection._tcb.rto_at > rto_at  # the first one that is out went again


def test_a_syn_that_is_sent_again_is_the_same_and_counted() -> None:
    peer = Peer()
    peer.connection = peer.stack.connect(peer.ours, peer.port, peer.now)
    (first,) = peer.take()
    (second,) = peer.next()
    assert (first.flags, first.seq, first.ack, first.window) == (second.flags, second.seq, second.ack, second.window)
    assert (second.flags, second.seq, second.ack, second.window) == ("S", 0, 0, 65_535)
    info = peer.connection.info()
    assert (info.packets_retransmitted, info.segments_sent) == (1, 2)


@pytest.mark.parametrize("without", ["timestamps", "sack", "window_scaling"])
def test_a_syn_offers_what_the_settings_allow(without: str) -> None:
    peer = Peer()
    setattr(peer.stack._tcp.settings, without, False)
    peer.connection = peer.stack.connect(peer.ours, peer.port, peer.now)
    (syn,) = peer.take()
    offered = {
        "timestamps": syn.options.timestamps is not None,
        "sack": bool(syn.options.sack_permitted),
        "window_scaling": syn.options.window_scale is not None,
    }
    assert [name for name, is_there in offered.items() if not is_there] == [without]
    assert syn.options.timestamps is None or syn.options.timestamps[1] == 0
    assert syn.options.mss == 1240


@pytest.mark.parametrize("without", ["stamps", "sack", "scale", ""])
def test_a_syn_ack_offers_what_the_syn_did(without: str) -> None:
    """RFC 7323 §2.2 and §3.2, RFC 2018 §2: only what the SYN had."""
    peer = Peer(stamps=without != "stamps", sack=without != "sack", scale=None if without == "scale" else 7)
    peer.stack.listen(8080)
    peer.port, peer.their_port = 5000, 8080
    peer.send("S", seq=0, options=peer.syn_options())
    (answer,) = peer.take()
    assert (answer.flags, answer.seq, answer.ack, answer.window) == ("SA", 0, 1, 65_535)
    options = answer.options
    assert (options.timestamps is None) is (without == "stamps")
    assert options.timestamps is None or options.timestamps[1] == peer.stamp()
    assert bool(options.sack_permitted) is (without != "sack")
    assert options.window_scale == (None if without == "scale" else 8)


def test_a_pause_longer_than_the_timeout_makes_the_window_old() -> None:
    """RFC 5681 §4.1: after more than a timeout of silence the window starts over."""
    for pause, cwnd in ((0.19, 20), (0.21, 10)):
        peer = Peer()
        peer.connect(rtt=0.1)
        peer.connection._tcb.congestion.cwnd = 20.0 * MSS
        peer.clock.advance(pause)  # since the SYN it is 100 ms more
        peer.connection.write(b"x", peer.now)
        peer.take()
        assert peer.connection.info().cwnd == cwnd * MSS


# what a turn returns --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "size"), [(0.0, 200_000), (0.1, 100_000), (0.3, 20_000)])
def test_a_turn_says_how_many_bytes_it_has_sent(loss: float, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget is counted with it, whatever the turn was for."""
    output = emit.output

    def checked(tcb: Tcb, now: float, budget: int, runs: emit.Runs) -> int:
        before = len(runs)
        spent = output(tcb, now, budget, runs)
        assert spent == sum(len(packet) for _, packets in runs[before:] for packet in packets)
        return spent

    monkeypatch.setattr(emit, "output", checked)
    pair = Pair(loss=loss, delay=0.02, seed=3)
    exchange(pair, bytes(size), bytes(size // 2), slow=5000, pause=3.0, good=False)


def test_a_probe_is_sent_once() -> None:
    peer = Peer()
    peer.connect(rtt=0.1)
    peer.connection.set_keepalive((10.0, 2.0, 3), peer.now)
    assert [(seen.seq, seen.size) for seen in peer.next()] == [(0, 0)]
    peer.connection.write(b"data", peer.now)
    assert [(seen.seq, seen.size) for seen in peer.take()] == [(1, 4)]


def test_a_pause_counts_once() -> None:
    """However often it is looked at before something leaves."""
    peer = Peer()
    peer.connect(rtt=0.1)
    peer.connection._tcb.congestion.cwnd = 40.0 * MSS
    peer.connection.set_cork(True, peer.now)
    peer.clock.advance(0.21)
    for _ in range(3):
        peer.connection.write(b"x", peer.now)
        assert peer.take() == []
    assert peer.connection.info().cwnd == 20 * MSS


@pytest.mark.parametrize(
    ("size", "room", "sent"),
    [
        (10, 9, 0),
        (10, 10, 10),
        (3 * MSS, MSS - 1, 0),
        (3 * MSS, MSS, MSS),
        (3 * MSS, 2 * MSS, 2 * MSS),
        (3 * MSS, 4 * MSS, 3 * MSS),
    ],
)
def test_how_much_of_what_is_lost_leaves(size: int, room: int, sent: int) -> None:
    """As much as fits, in whole segments; a small one where it fits."""
    peer = Peer()
    peer.connect(rtt=0.1)
    peer.send("A")
    peer.connection.set_nodelay(True)
    for length in (size, 2 * MSS):
        peer.connection.write(bytes(length), peer.now)
        peer.take()
    tcb = peer.connection._tcb
    tcb.scoreboard.mark_lost(tcb.scoreboard.segments[0])
    tcb.congestion.cwnd = float(2 * MSS + room)
    runs: emit.Runs = []
    emit.output(tcb, peer.now, 100_000, runs)
    assert sum(len(packet) - 52 for packet in packets_of(runs)) == sent
