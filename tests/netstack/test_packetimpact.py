"""The topics of gVisor's packetimpact list, each under its own name: one peer that misbehaves, one stack that must not.

Source: RFC 9293, RFC 5961, RFC 7323, RFC 5482, RFC 1122 and RFC 4443; the topics' names are those of the list.
Elsewhere: what a file of tests for one module says already (`tcp/test_arrive.py`, `test_fragments.py`, `test_udp.py`).
"""

from __future__ import annotations

import random
from ipaddress import ip_address
from itertools import pairwise, permutations

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.packet import Raw

from netstack import fragments
from netstack.tcp.tcb import MIN_MSS
from netstack.wire import ipv4, ipv6, tcp, udp
from tests.netstack.pair import A4, A6, B4, Pair, drain, exchange, new_stack, packets_of
from tests.netstack.peer import Peer

MSS = 1208
NOW = 1000.0


def established(**options: bool) -> Peer:
    peer = Peer(**options)
    peer.connect(rtt=0.05)
    peer.send("A")
    assert peer.take() == []
    return peer


def in_state(state: str) -> Peer:
    """A connection in that state, everything quiet."""
    if state == "SYN_RECEIVED":
        peer = Peer()
        peer.stack.listen(8080)
        peer.port, peer.their_port = 5000, 8080
        peer.send("S", seq=0, options=peer.syn_options())
        peer.seq = 1
        peer.take()
        return peer
    peer = established()
    connection = peer.connection
    if state in ("FIN_WAIT_1", "FIN_WAIT_2", "CLOSING"):
        connection.shutdown_write(peer.now)
        peer.take()
    if state == "FIN_WAIT_2":
        peer.send("A")
    if state in ("CLOSING", "CLOSE_WAIT", "LAST_ACK"):
        peer.send("FA", ack=1)
        peer.take()
    if state == "LAST_ACK":
        connection.shutdown_write(peer.now)
        peer.take()
    assert connection.state == state
    return peer


# the handshake --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ack", "answer"), [(0, "R"), (1, None), (2, "R")])
def test_ack_acceptability_in_syn_rcvd(ack: int, answer: str | None) -> None:
    peer = in_state("SYN_RECEIVED")
    peer.send("A", ack=ack)
    seen = peer.take()
    assert [segment.flags for segment in seen] == ([answer] if answer else [])
    if answer:
        assert seen[0].seq == ack


def test_rst_in_syn_rcvd_leaves_the_listener() -> None:
    peer = in_state("SYN_RECEIVED")
    peer.send("R")
    assert not peer.stack.connections
    peer.send("S", seq=0, options=peer.syn_options())
    assert [seen.flags for seen in peer.take()] == ["SA"]


@pytest.mark.parametrize(("flags", "ack", "error"), [("RA", 1, "refused"), ("RA", 5, None), ("R", 1, None)])
def test_rst_in_syn_sent(flags: str, ack: int, error: str | None) -> None:
    peer = Peer()
    connection = peer.dial()
    peer.send(flags, seq=0, ack=ack)
    assert connection.error == error


def test_rst_in_time_wait_is_ignored() -> None:
    peer = in_state("FIN_WAIT_2")
    peer.send("FA")
    peer.take()
    assert peer.stack.connections == {"TIME_WAIT": 1}
    peer.send("R")
    assert peer.stack.connections == {"TIME_WAIT": 1}


def test_data_queued_during_syn_sent() -> None:
    peer = Peer()
    connection = peer.dial()
    assert connection.write(b"early", peer.now) == 5
    assert peer.take() == []
    peer.answer()
    assert b"".join(seen.payload for seen in peer.take()) == b"early"


def test_simultaneous_open() -> None:
    peer = Peer()
    connection = peer.dial()
    peer.answer("S")
    assert [(seen.flags, seen.ack) for seen in peer.take()] == [("SA", 1)]
    peer.send("SA", seq=0, ack=1, options=peer.syn_options())
    assert connection.state == "ESTABLISHED"
    connection.write(b"both", peer.now)
    assert b"".join(seen.payload for seen in peer.take()) == b"both"


@pytest.mark.parametrize("code", [0, 1])
def test_icmp_error_during_connect_v4(code: int) -> None:
    peer = Peer()
    connection = peer.dial()
    quoted = bytes(IP(src=str(A4), dst=str(B4), proto=6)) + _first_bytes(peer)
    message = bytes(IP(src=str(B4), dst=str(A4)) / ICMP(type=3, code=code) / Raw(quoted))
    peer.stack.receive([("peer", [message])], peer.now)
    assert connection.error == "unreachable"


def test_icmp_error_during_connect_v6() -> None:
    peer = Peer(v6=True)
    connection = peer.dial()
    quoted = bytes(IPv6(src=str(A6), dst=str(peer.ours), nh=6)) + _first_bytes(peer)
    message = bytes(IPv6(src=str(peer.ours), dst=str(A6)) / ICMPv6DestUnreach(code=4) / Raw(quoted))
    peer.stack.receive([("peer", [message])], peer.now)
    assert connection.error == "refused"


def test_icmp_error_is_only_noted_when_established() -> None:
    peer = established()
    peer.connection.write(b"x", peer.now)
    peer.take()
    quoted = bytes(IP(src=str(A4), dst=str(B4), proto=6)) + _first_bytes(peer, 1)
    message = bytes(IP(src=str(B4), dst=str(A4)) / ICMP(type=3, code=1) / Raw(quoted))
    peer.stack.receive([("peer", [message])], peer.now)
    assert peer.connection.state == "ESTABLISHED"
    peer.wait(3000)
    assert peer.connection.error == "unreachable"


@pytest.mark.parametrize(("relative", "is_out"), [(0, False), (1, True), (3, True), (4, False)])
def test_icmp_error_must_quote_what_is_out(relative: int, is_out: bool) -> None:
    peer = established()
    peer.connection.write(b"xyz", peer.now)
    peer.take()
    quoted = bytes(IP(src=str(A4), dst=str(B4), proto=6)) + _first_bytes(peer, relative)
    message = bytes(IP(src=str(B4), dst=str(A4)) / ICMP(type=3, code=1) / Raw(quoted))
    peer.stack.receive([("peer", [message])], peer.now)
    assert peer.stack.dropped == ({} if is_out else {"icmp: for no segment that is out": 1})


def _first_bytes(peer: Peer, relative: int = 0) -> bytes:
    ports = peer.their_port.to_bytes(2, "big") + peer.port.to_bytes(2, "big")
    return ports + peer.wire(relative).to_bytes(4, "big")


# closing --------------------------------------------------------------------------------------------------------


def test_fin_retransmission_in_closing() -> None:
    peer = in_state("CLOSING")
    assert "FA" in [seen.flags for seen in peer.wait(3)]
    peer.send("A")
    assert peer.stack.connections == {"TIME_WAIT": 1}


def test_fin_wait_2_timeout() -> None:
    peer = in_state("FIN_WAIT_2")
    peer.connection.close(peer.now)
    peer.wait(59)
    assert peer.stack.connections == {"FIN_WAIT_2": 1}
    peer.wait(2)
    assert not peer.stack.connections
    peer.send("FA")
    assert [seen.flags for seen in peer.take()] == ["R"]


def test_linger_zero_resets() -> None:
    peer = established()
    peer.connection.set_linger(0)
    peer.connection.write(b"unsent", peer.now)
    peer.connection.close(peer.now)
    assert [seen.flags for seen in peer.take()] == ["RA"]


def test_linger_off_sends_everything() -> None:
    peer = established()
    peer.connection.set_linger(None)
    peer.connection.write(b"unsent", peer.now)
    peer.connection.close(peer.now)
    assert [(seen.payload, seen.flags) for seen in peer.take()] == [(b"unsent", "FPA")]


def test_linger_nonzero_gives_the_peer_so_long() -> None:
    peer = established()
    peer.connection.set_linger(2.0)
    peer.connection.write(b"unsent", peer.now)
    peer.connection.close(peer.now)
    seen = peer.wait(1.9)
    assert {segment.flags for segment in seen} == {"FPA"}
    assert [segment.flags for segment in peer.wait(0.2)][-1:] == ["RA"]
    assert not peer.stack.connections


def test_linger_after_shutdown() -> None:
    peer = in_state("FIN_WAIT_1")
    peer.connection.set_linger(1.0)
    peer.connection.close(peer.now)
    peer.send("A")
    peer.wait(5)
    assert peer.stack.connections == {"FIN_WAIT_2": 1}  # everything was acknowledged in time
    peer.wait(60)
    assert not peer.stack.connections


def test_listen_backlog_overflow_keeps_the_handshake_open() -> None:
    stack = new_stack(A4)
    listener = stack.listen(80, backlog=1)
    for port in (1, 2):
        syn = tcp.build(B4.packed, port, A4.packed, 80, seq=9, flags=tcp.SYN, window=1000)
        stack.receive([("b", [syn])], NOW)
        (answer,) = packets_of(drain(stack, NOW))
        ack = int.from_bytes(answer[24:28], "big") + 1
        stack.receive([("b", [tcp.build(B4.packed, port, A4.packed, 80, seq=10, ack=ack, flags=tcp.ACK)])], NOW)
    assert stack.connections == {"ESTABLISHED": 1, "SYN_RECEIVED": 1}
    assert listener.accept() is not None
    stack.receive([("b", [tcp.build(B4.packed, 2, A4.packed, 80, seq=10, ack=ack, flags=tcp.ACK)])], NOW)
    assert listener.accept() is not None


def test_close_with_unaccepted_children_resets_them() -> None:
    pair = Pair()
    listener = pair.b.listen(80)
    clients = [pair.a.connect(B4, 80, pair.now) for _ in range(3)]
    pair.run(until=lambda: all(client.connected for client in clients) and len(pair.b.connections) > 0)
    pair.run(seconds=1)
    listener.close(pair.now)
    pair.run(seconds=1)
    assert [client.error for client in clients] == ["reset"] * 3


# what is outside ------------------------------------------------------------------------------------------------

FLAG_SETS = ["A", "PA", "FA", "SA", "S", "SFA", "FPA", "SPA", ""]
CLOSING = ["ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2", "CLOSING", "CLOSE_WAIT", "LAST_ACK"]


@pytest.mark.parametrize("flags", FLAG_SETS)
@pytest.mark.parametrize("state", CLOSING)
def test_out_of_window_segments_are_answered_by_one_ack(state: str, flags: str) -> None:
    peer = in_state(state)
    before = peer.connection.info().bytes_received
    peer.send(flags, seq=peer.seq + (2 << 20), payload=b"x" if "P" in flags else b"")
    seen = peer.take()
    assert [segment.flags for segment in seen] == ["A"]
    assert (seen[0].ack, peer.connection.info().bytes_received) == (peer.seq, before)
    assert peer.connection.state == state


@pytest.mark.parametrize("state", CLOSING)
def test_unacceptable_ack_in_each_closing_path(state: str) -> None:
    peer = in_state(state)
    peer.send("A", ack=peer.received + 1000)
    assert [segment.flags for segment in peer.take()] == ["A"]
    assert peer.connection.state == state


@pytest.mark.parametrize("state", CLOSING)
@pytest.mark.parametrize(("offset", "ends"), [(0, True), (1, False), (-1, False), (1000, False)])
def test_only_an_exact_rst_ends(state: str, offset: int, ends: bool) -> None:
    peer = in_state(state)
    peer.send("R", seq=peer.seq + offset)
    assert bool(not peer.stack.connections) is ends
    assert [segment.flags for segment in peer.take()] == (["A"] if offset > 0 else [])


def test_challenges_are_limited_for_each_connection() -> None:
    peer = established()
    for _ in range(100):
        peer.send("S", seq=peer.seq + 1)
    assert len(peer.take()) == 1
    peer.clock.advance(0.6)
    peer.send("S", seq=peer.seq + 1)
    assert len(peer.take()) == 1


# timestamps -----------------------------------------------------------------------------------------------------


def test_paws_monotonic_tsval_and_tsecr_echo() -> None:
    peer = established()
    last = -1
    for number in range(5):
        peer.clock.advance(0.01)
        stamp = peer.stamp()
        peer.send("A", payload=b"x" * 10, stamp=stamp)
        peer.connection.write(b"y", peer.now)
        (seen, *_) = peer.take()
        assert seen.options.timestamps is not None
        assert seen.options.timestamps[1] == stamp
        assert seen.options.timestamps[0] > last or number == 0
        last = seen.options.timestamps[0]


def test_paws_drops_old_data_and_says_so() -> None:
    peer = established()
    peer.clock.advance(10)
    peer.send("A", payload=b"new")
    peer.take()
    peer.send("A", seq=peer.seq, payload=b"old", stamp=peer.stamp() - 5000)
    assert [seen.ack for seen in peer.take()] == [peer.seq]
    assert peer.connection.read() == b"new"


def test_paws_lets_an_overtaken_duplicate_acknowledgement_count() -> None:
    peer = established()
    peer.connection.write(bytes(5 * MSS), peer.now)
    una = peer.take()[0].seq
    peer.clock.advance(0.05)
    peer.send("A", ack=una, blocks=[(una + 2 * MSS, una + 3 * MSS)])
    stamps = tcp.timestamp_options(peer.stamp() - 3, peer.echo)
    blocks = tcp.sack_option([(peer.wire(una + MSS), peer.wire(una + 2 * MSS))])
    peer.send("A", ack=una, options=stamps + blocks)
    assert peer.connection.info().sacked == 2 * MSS


def test_paws_expires_after_24_days() -> None:
    peer = established()
    peer.clock.advance(25 * 86_400)
    peer.send("A", payload=b"again", stamp=0)
    assert peer.connection.read() == b"again"


# loss -----------------------------------------------------------------------------------------------------------


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


# windows --------------------------------------------------------------------------------------------------------


def test_window_shrink_by_the_peer() -> None:
    peer = established()
    peer.connection.write(bytes(10 * MSS), peer.now)
    peer.take()
    peer.send("A", ack=1 + MSS, window=1)
    peer.connection.write(bytes(MSS), peer.now)
    assert all(not seen.size for seen in peer.take())
    peer.send("A", window=500)
    assert sum(seen.size for seen in peer.take()) == MSS


def test_zero_receive_window_is_announced_and_updated() -> None:
    peer = Peer(scale=None)
    peer.connect()
    windows = [65_535]
    while windows[-1] > 0:
        peer.send("A", payload=bytes(min(1000, windows[-1])))
        windows += [seen.window for seen in peer.wait(0.05)]
    peer.send("A", payload=b"x")  # a probe with data
    (answer,) = peer.wait(0.05)
    assert (answer.window, answer.ack) == (0, peer.seq - 1)
    peer.connection.read()
    assert peer.take()[-1].window > 30_000


def test_zero_window_probe_content_backoff_and_answer() -> None:
    peer = established()
    peer.send("A", window=0)
    peer.connection.write(b"waiting", peer.now)
    times = []
    for _ in range(5):
        (probe,) = peer.next()
        assert (probe.size, probe.seq) == (0, 0)
        times.append(peer.now)
        peer.send("A", window=0)
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert steps == pytest.approx([2 * steps[0] * 2**index / 2 for index in range(4)])
    peer.send("A", window=100)
    assert [seen.payload for seen in peer.take()] == [b"waiting"]


def test_a_window_too_small_for_a_segment_is_filled_after_a_while() -> None:
    """RFC 9293 3.8.6.2.1: silly window avoidance has an override."""
    peer = Peer(scale=0)
    peer.window = 60_000
    peer.connect()
    peer.send("A", window=100)
    peer.connection.write(bytes(5000), peer.now)
    assert peer.take() == []
    assert next(seen.size for seen in peer.wait(1.1) if seen.size) == 100


def test_handshake_window_scaling() -> None:
    peer = Peer(scale=3)
    peer.window = 4000
    peer.connect()
    assert peer.connection.info().send_window == 4000  # a SYN's is never scaled
    peer.send("A", window=4000)
    assert peer.connection.info().send_window == 32_000


def test_piggybacked_windows() -> None:
    peer = established()
    peer.send("PA", payload=b"data", window=7)
    assert peer.connection.info().send_window == 7 << 8


def test_a_reduced_receive_buffer_never_moves_the_edge_left() -> None:
    peer = established()
    edge = 0
    for number in range(20):
        if number == 5:
            peer.connection.set_receive_buffer(4096)
        peer.send("A", payload=bytes(1000))
        for seen in peer.take():
            assert seen.ack + (seen.window << 8) >= edge
            edge = seen.ack + (seen.window << 8)
    assert peer.connection.info().receive_space == 4096


@pytest.mark.parametrize("size", [MSS - 1, MSS, MSS + 1, 2 * MSS, 2 * MSS + 1])
def test_cork_and_the_segment_s_boundary(size: int) -> None:
    peer = established()
    peer.connection.set_cork(True, peer.now)
    peer.connection.write(bytes(size), peer.now)
    assert sum(seen.size for seen in peer.take()) == size // MSS * MSS
    peer.connection.set_cork(False, peer.now)
    assert sum(seen.size for seen in peer.take()) == size % MSS


def test_a_cork_holds_no_longer_than_a_timeout() -> None:
    peer = established()
    peer.connection.set_cork(True, peer.now)
    peer.connection.write(b"little", peer.now)
    assert [seen.payload for seen in peer.wait(0.3)] == [b"little"]


def test_a_tiny_mss_is_not_believed() -> None:
    peer = Peer(stamps=False)
    peer.mss = 1
    peer.connect()
    assert peer.connection.info().mss == MIN_MSS


# the path -------------------------------------------------------------------------------------------------------


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


# IP -------------------------------------------------------------------------------------------------------------


def test_ipv4_identification_is_unique_over_fragments_of_different_datagrams() -> None:
    stack = new_stack(A4)
    endpoint = stack.open_udp(5)
    for _ in range(20):
        endpoint.send(bytes(3000), NOW, B4, 9)
    packets = packets_of(drain(stack, NOW))
    assert len({packet[4:6] for packet in packets}) == 20


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("v6", [False, True])
def test_reassembly_in_all_orders(order: tuple[int, ...], v6: bool) -> None:
    peer = Peer(v6=v6)
    endpoint = peer.stack.open_udp(5)
    ours, theirs = peer.ours.packed, peer.theirs.packed
    datagram = udp.build(ours, 9, theirs, 5, bytes(range(250)) * 12)
    packets = []
    for offset, more, piece in fragments.cut(datagram, 1232):
        if v6:
            between = ipv6.fragment_header(udp.PROTOCOL, offset, more=more, identification=7)
            head = ipv6.header(ours, theirs, ipv6.FRAGMENT, len(between) + len(piece)) + between
        else:
            field = offset >> 3 | (ipv4.MORE_FRAGMENTS if more else 0)
            head = ipv4.header(ours, theirs, udp.PROTOCOL, len(piece), identification=7, fragment=field)
        packets.append(head + piece)
    assert len(packets) == 3
    peer.stack.receive([("b", [packets[index] for index in order])], peer.now)
    received = endpoint.receive()
    assert received is not None
    assert received.payload == bytes(range(250)) * 12


def test_a_source_that_is_multicast_is_dropped() -> None:
    stack = new_stack(A4)
    packet = tcp.build(ip_address("224.0.0.9").packed, 1, A4.packed, 80, seq=1, flags=tcp.SYN)
    stack.receive([("b", [packet])], NOW)
    assert packets_of(drain(stack, NOW)) == []
    assert stack.dropped == {"ip: martian source": 1}


def test_udp_at_any_address() -> None:
    stack = new_stack(A4, A6)
    endpoint = stack.open_udp(5)
    stack.receive(
        [("b", [ipv4.header(B4.packed, A4.packed, 17, 9) + udp.build(B4.packed, 9, A4.packed, 5, b"x")])], NOW
    )
    assert endpoint.readable


# the whole ------------------------------------------------------------------------------------------------------


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
