"""The table of connections: whose segment, whose turn, whose timer; what idle ones cost."""

from __future__ import annotations

import math
import random
import tracemalloc

import pytest

from netstack import AddressNotAvailable
from netstack.tcp.emit import SHARED_FOR, SHARED_PART, SMALL
from netstack.wire import tcp
from tests.netstack.pair import A4, B4, B6, Pair, drain, new_stack, packets_of
from tests.netstack.peer import Peer


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        ("S", ("RA", 0, 101)),
        ("FPU", ("RA", 0, 104)),
        ("A", ("R", 777, 0)),
        ("SA", ("R", 777, 0)),
        ("FA", ("R", 777, 0)),
        ("R", None),
        ("RA", None),
    ],
)
def test_a_segment_for_nobody(flags: str, answer: tuple[str, int, int] | None) -> None:
    stack = new_stack(A4)
    bits = sum(1 << "FSRPAU".index(flag) for flag in flags)
    payload = b"abc" if "P" in flags else b""
    packet = tcp.build(B4.packed, 5, A4.packed, 6, seq=100, ack=777, flags=bits, payload=payload)
    stack.receive([("b", [packet])], 1000.0)
    sent = packets_of(drain(stack, 1000.0))
    if answer is None:
        assert sent == []
        return
    header = tcp.parse(A4.packed, B4.packed, sent[0][20:])
    assert isinstance(header, tcp.Header)
    seen = "".join(flag for bit, flag in enumerate("FSRPAU") if header.flags >> bit & 1)
    assert (seen, header.seq, header.ack) == answer


def test_resets_are_limited() -> None:
    stack = new_stack(A4)
    packet = tcp.build(B4.packed, 5, A4.packed, 6, seq=100, flags=tcp.SYN)
    stack.receive([("b", [packet] * 1000)], 1000.0)
    assert len(packets_of(drain(stack, 1000.0))) == 200


def test_without_an_address_there_is_no_connection() -> None:
    stack = new_stack(A4)
    with pytest.raises(AddressNotAvailable):
        stack.connect(B6, 80, 1000.0)
    with pytest.raises(AddressNotAvailable):
        stack.connect(B4, 80, 1000.0, local=B4)


def test_local_ports_are_not_used_twice() -> None:
    stack = new_stack(A4)
    listening = stack.listen(0).port
    ports = {stack.connect(B4, 80, 1000.0).local[1] for _ in range(500)}
    assert len(ports) == 500
    assert listening not in ports


def test_initial_sequence_numbers_move_with_the_clock_and_differ() -> None:
    def iss(now: float, port: int, seed: int = 1) -> int:
        stack = new_stack(A4, seed=seed, now=now)
        stack.connect(B4, port, now)
        (packet,) = packets_of(drain(stack, now))
        return int.from_bytes(packet[24:28], "big")

    first = iss(1000.0, 80)
    assert (iss(1001.0, 80) - first) & 0xFFFF_FFFF == 250_000
    assert first not in (iss(1000.0, 81), iss(1000.0, 80, seed=2))


def test_a_removed_address_ends_its_connections() -> None:
    pair = Pair()
    client, _ = pair.connected()
    pair.a.set_addresses([pair.a.addresses[1]], pair.now)
    assert client.error == "aborted"
    assert not pair.a.connections
    assert client in pair.a.take_ready()


def test_a_forgotten_link_ends_its_connections_without_a_word() -> None:
    pair = Pair()
    client, _ = pair.connected()
    drain(pair.a, pair.now)
    pair.a.forget_link("nobody")
    assert client.error is None
    pair.a.forget_link("b")
    assert client.error == "unreachable"
    assert drain(pair.a, pair.now) == []


def test_a_forgotten_remote_ends_the_links_connections_with_it_alone() -> None:
    pair = Pair()
    client, _ = pair.connected()
    drain(pair.a, pair.now)
    assert pair.a.has_connections("b")
    pair.a.forget_remote("b", A4)
    pair.a.forget_remote("nobody", B4)
    assert client.error is None
    pair.a.forget_remote("b", B4)
    assert client.error == "unreachable"
    assert not pair.a.has_connections("b")
    assert drain(pair.a, pair.now) == []


def test_a_forgotten_link_is_not_held_when_it_comes_back() -> None:
    pair = Pair()
    pair.connected()
    pair.a.hold("b")
    pair.a.forget_link("b")
    assert pair.connected()


def test_a_syn_refused_by_other_means() -> None:
    peer = Peer()
    connection = peer.dial()
    peer.stack.refuse(A4, connection.local[1] + 1, B4, 80)
    assert connection.error is None
    peer.stack.refuse(A4, connection.local[1], B4, 80)
    assert connection.error == "refused"
    peer = Peer()
    connection = peer.dial()
    peer.stack.refuse(A4, connection.local[1], B4, 80, error="a code of its own")
    assert connection.error == "a code of its own"
    peer = Peer()
    connection = peer.connect()
    peer.stack.refuse(A4, connection.local[1], B4, 80)
    assert connection.error is None  # what is established is not theirs to end


def test_a_connection_to_oneself() -> None:
    stack = new_stack(A4)
    listener = stack.listen(80)
    client = stack.connect(A4, 80, 1000.0)
    now = 1000.0
    for _ in range(10):
        assert drain(stack, now) == []
    server = listener.accept()
    assert server is not None
    payload, got = random.Random(1).randbytes(300_000), b""
    sent = 0
    while len(got) < len(payload):
        sent += client.write(payload[sent:], now)
        assert drain(stack, now) == []
        got += server.read()
        now += 0.01
    assert got == payload


def test_the_deadline_is_the_least_of_all_connections_and_never_late() -> None:
    """The lazy heap against a plain minimum."""
    chance = random.Random(2)
    stack = new_stack(A4)
    layer = stack._tcp
    now = 1000.0
    for _ in range(60):
        stack.connect(B4, 80, now)
    for _ in range(600):
        drain(stack, now)
        twin = min((tcb.deadline() for tcb in layer.connections.values()), default=math.inf)
        assert stack.deadline() <= twin
        if chance.random() < 0.3 and layer.connections:
            tcb = chance.choice(list(layer.connections.values()))
            tcb.linger_at = now + chance.random() * 5
            layer.touch(tcb)
        if chance.random() < 0.1:
            stack.connect(B4, 80, now)
        now += chance.random() * 2
    assert len(layer._heap) <= 2 * len(layer.connections) + 65


def test_idle_connections_are_in_nothing_that_a_turn_walks() -> None:
    pair = Pair()
    listener = pair.b.listen(80, backlog=1000)
    for _ in range(300):
        pair.a.connect(B4, 80, pair.now)
    pair.run(seconds=5)
    while listener.accept() is not None:
        pass
    for stack in (pair.a, pair.b):
        drain(stack, pair.now)
        assert stack.connections["ESTABLISHED"] == 300
        assert not stack._tcp._dirty
        assert not stack._ip.ready or stack.take_ready()
        assert stack.transmit(pair.now) == []
    assert pair.a.deadline() == math.inf


def test_both_ends_close_at_once() -> None:
    pair = Pair()
    client, server = pair.connected()
    client.close(pair.now)
    server.close(pair.now)
    pair.run(seconds=1)
    assert pair.a.connections == pair.b.connections == {"TIME_WAIT": 1}
    pair.run()
    assert not pair.a.connections


def test_both_ends_open_at_once() -> None:
    """Two SYNs cross: neither side listens."""
    peer = Peer()
    peer.dial()
    peer.answer("S")
    peer.take()
    peer.send("SA", seq=0, options=peer.syn_options())
    assert peer.connection.state in ("SYN_RECEIVED", "ESTABLISHED")
    peer.send("A")
    assert peer.connection.state == "ESTABLISHED"


def test_close_resets_everything() -> None:
    pair = Pair()
    client, server = pair.connected()
    listener = pair.b.listen(81)
    pair.b.close(pair.now)
    assert listener.is_closed
    pair.run(seconds=1)
    assert (server.error, client.error) == ("aborted", "reset")
    assert not pair.b.connections


@pytest.mark.parametrize("stamps", [False, True])
def test_after_a_lost_syn_the_timeout_is_three_seconds_unless_stamps_tell_more(stamps: bool) -> None:
    peer = Peer(stamps=stamps)
    peer.dial()
    assert [seen.flags for seen in peer.next()] == ["S"]
    peer.clock.advance(0.1)
    peer.echo = int(peer.now * 1000) if stamps else 0
    peer.answer()
    peer.take()
    assert peer.connection.connected
    assert (peer.connection.info().rto == 3.0) is not stamps
    assert peer.connection.info().cwnd >= 10 * peer.connection.info().mss


def test_after_two_lost_syns_one_segment_is_enough() -> None:
    peer = Peer()
    peer.dial()
    peer.next()
    peer.next()
    peer.answer()
    assert peer.connection.info().cwnd < 2 * peer.connection.info().mss


# who is answered with what ----------------------------------------------------------------------------------------


def test_resets_are_a_thousand_a_second() -> None:
    stack = new_stack(A4)
    packet = tcp.build(B4.packed, 5, A4.packed, 6, seq=100, flags=tcp.SYN)
    counts = []
    for now in (1000.0, 1000.0, 1000.1):
        stack.receive([("b", [packet] * 300)], now)
        counts.append(len(packets_of(drain(stack, now))))
    assert counts == [200, 0, 100]
    assert stack.dropped["tcp: for no connection"] == 900


def test_a_reset_of_ours_carries_what_the_peer_needs_to_believe_it() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.write(b"12345", peer.now)
    peer.take()
    peer.send("A", payload=b"abc")
    peer.connection.abort(peer.now)
    (reset,) = peer.take()
    assert (reset.flags, reset.seq, reset.ack, reset.payload) == ("RA", 6, 4, b"")
    assert reset.options.timestamps == (peer.connection._tcb.stamp(peer.now), 1_000_000)


def test_a_reset_for_a_bad_acknowledgement_acknowledges_nothing() -> None:
    peer = Peer()
    peer.dial()
    answers = packets_of(peer_answers(peer, peer.packet("SA", seq=0, ack=9)))
    header = tcp.parse(A4.packed, B4.packed, answers[0][20:])
    assert isinstance(header, tcp.Header)
    assert (header.flags, header.ack) == (tcp.RST, 0)


def peer_answers(peer: Peer, *packets: bytes) -> list[tuple[bytes, list[bytes]]]:
    peer.stack.receive([("peer", list(packets))], peer.now)
    return drain(peer.stack, peer.now)


def test_a_dialled_connection_that_is_aborted_before_an_answer_says_nothing() -> None:
    peer = Peer()
    peer.dial()
    peer.connection.abort(peer.now)
    assert peer.take() == []
    assert peer.connection.error == "aborted"


def test_half_open_from_both_sides_it_is_reset() -> None:
    peer = Peer()
    peer.dial()
    peer.answer("S")
    peer.take()
    peer.connection.abort(peer.now)
    assert [(seen.flags, seen.seq, seen.ack) for seen in peer.take()] == [("RA", 1, 1)]


# what a connection is told of its path ----------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "said"), [(700, 700), (100, 216), (9000, 1240)])
def test_the_longest_segment_that_an_application_wants_is_what_the_syn_asks_for(asked: int, said: int) -> None:
    stack = new_stack(A4)
    connection = stack.connect(B4, 80, 1000.0, max_segment=asked)
    (syn,) = packets_of(drain(stack, 1000.0))
    assert tcp.parse_options(syn[40:]).mss == said
    assert connection.info().advertised_mss == said


@pytest.mark.parametrize(("asked", "said"), [(700, 700), (100, 216), (None, 1240)])
def test_and_what_a_listener_answers(asked: int | None, said: int) -> None:
    stack = new_stack(A4)
    stack.listen(80, max_segment=asked)
    stack.receive([("b", [tcp.build(B4.packed, 5, A4.packed, 80, seq=100, flags=tcp.SYN, window=999)])], 1000.0)
    (answer,) = packets_of(drain(stack, 1000.0))
    assert tcp.parse_options(answer[40:]).mss == said


def test_neither_side_sends_longer_segments_than_its_application_wants() -> None:
    pair = Pair()
    listener = pair.b.listen(80, max_segment=600)
    client = pair.a.connect(B4, 80, pair.now, max_segment=800)
    pair.run(until=lambda: listener.readable)
    server = listener.accept()
    assert server is not None
    assert (client.info().mss, server.info().mss) == (588, 588)
    client.set_max_segment(300)
    assert client.info().mss == 288
    client.set_max_segment(9)
    assert client.info().mss == 204


def test_a_shorter_path_mtu_resends_what_is_too_long_and_nothing_else() -> None:
    peer = Peer()
    peer.mss = 8000
    peer.stack.set_link_mtu("peer", 2000, peer.now)
    peer.stack.set_link_mtu("other", 1280, peer.now)
    peer.connect(rtt=0.05)
    peer.connection.set_nodelay(True)
    peer.connection.write(bytes(1000), peer.now)
    peer.take()
    peer.connection.write(bytes(1300), peer.now)
    peer.take()
    before = peer.connection.info()
    assert (before.outstanding, before.mtu) == (2300, 2000)
    peer.stack.set_link_mtu("other", 1300, peer.now)
    assert peer.connection.info() == before
    peer.stack.set_link_mtu("peer", 1280, peer.now)
    info = peer.connection.info()
    assert (info.mtu, info.mss, info.lost, info.ca_state) == (1280, 1228, 1300, "loss")
    assert [(seen.seq, seen.size) for seen in peer.take()] == [(1001, 1228), (2229, 72)]
    info = peer.connection.info()
    assert (info.cwnd, info.ssthresh) == (before.cwnd, before.ssthresh)
    assert info.retransmitted == 1300


def test_a_longer_path_mtu_resends_nothing() -> None:
    peer = Peer()
    peer.mss = 8000
    peer.connect()
    peer.connection.write(bytes(1000), peer.now)
    peer.take()
    peer.stack.set_link_mtu("peer", 4000, peer.now)
    assert peer.take() == []
    assert (peer.connection.info().mtu, peer.connection.info().mss) == (4000, 3948)


def test_what_may_be_received_is_announced_and_does_not_change_what_is_sent() -> None:
    pair = Pair()
    for stack in (pair.a, pair.b):
        stack.set_receive_mtu(8920)
    listener = pair.b.listen(80)
    client = pair.a.connect(B4, 80, pair.now)
    pair.run(until=lambda: listener.readable)
    before = client.info()
    assert (before.advertised_mss, before.mtu, before.mss) == (8880, 1280, 1228)
    (link,) = pair.a._tcp._links
    pair.a.set_link_mtu(link, 8920, pair.now)
    after = client.info()
    assert (after.advertised_mss, after.mtu, after.mss) == (8880, 8920, 8868)
    pair.a.set_link_mtu(link, 1280, pair.now)
    assert (client.info().advertised_mss, client.info().mss) == (8880, 1228)


# turns --------------------------------------------------------------------------------------------------------------


def test_a_turn_ends_when_less_than_a_packet_is_left_of_the_budget() -> None:
    stack = new_stack(A4)
    for port in range(80, 90):
        stack.connect(B4, port, 1000.0)
    counts = [len(packets_of(stack.transmit(1000.0, budget))) for budget in (1280 + 59, 1280 + 60, 0)]
    assert counts == [1, 2, 1]  # a SYN is 60 bytes; one packet goes whatever the budget
    assert stack.deadline() == 1000.0


def test_a_held_link_keeps_its_turn_until_all_holds_are_over() -> None:
    stack = new_stack(A4)
    stack.hold("slow")
    stack.connect(B4, 80, 1000.0, link="slow")
    stack.connect(B4, 81, 1000.0, link="quick")
    assert len(packets_of(drain(stack, 1000.0))) == 1
    stack.hold("slow")  # again: nothing is forgotten
    stack.release("nobody")
    assert packets_of(drain(stack, 1000.0)) == []
    stack.release("slow")
    assert stack.deadline() == 1000.0
    assert len(packets_of(drain(stack, 1000.0))) == 1


# what ends leaves nothing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["reset", "abort", "orderly", "time-wait"])
def test_an_ended_connection_has_no_timer_and_holds_no_memory(how: str) -> None:
    peer = Peer()
    peer.connect()
    peer.connection.set_keepalive((10, 10, 3), peer.now)
    peer.connection.write(bytes(3000), peer.now)
    peer.take()
    peer.send("A", payload=b"unread")
    assert peer.stack._tcp.memory.held == 6
    peer.connection.write(b"more", peer.now)
    assert peer.stack._tcp.memory.held == 10
    if how == "reset":
        peer.send("R")
    elif how == "abort":
        peer.connection.abort(peer.now)
    else:
        if how == "orderly":
            peer.send("FA")
        peer.connection.shutdown_write(peer.now)
        peer.take()
        peer.send("A")
        if how == "time-wait":
            peer.send("FA")
    peer.take()
    assert peer.stack._tcp.memory.held == 0
    assert peer.connection.finished
    assert peer.connection._tcb.deadline() == math.inf
    assert peer.connection.read() == b"unread"
    assert peer.stack._tcp.memory.held == 0
    assert peer.stack.connections == ({"TIME_WAIT": 1} if how == "time-wait" else {})


@pytest.mark.parametrize("how", ["reset", "forgotten", "timeout"])
def test_a_broken_connection_gives_back_what_it_was_to_send_and_what_came_too_early(how: str) -> None:
    """The application may hold it for long, and so may a timer that is not due yet."""
    peer = Peer()
    peer.connect()
    assert peer.connection.write(bytes(200_000), peer.now) == 200_000
    peer.take()
    peer.send("A", seq=peer.seq + 5000, payload=bytes(1000))
    peer.take()
    tcb = peer.connection._tcb
    assert tcb.out_of_order is not None
    if how == "reset":
        peer.send("R")
    elif how == "forgotten":
        peer.stack.forget_link(tcb.link)
    else:
        peer.connection.set_user_timeout(1.0, peer.now)
        peer.wait(30)
    assert peer.connection.error is not None
    assert tcb.send_buffer.size == 0
    assert not tcb.send_buffer._chunks
    assert not tcb.scoreboard.segments
    assert tcb.out_of_order is None
    assert peer.connection.write(b"more", peer.now) == 0


def test_downloads_that_one_peer_breaks_off_leave_no_buffers() -> None:
    """The application still holds the connections, and the timers' heap does, too."""
    pair = Pair()
    listener = pair.b.listen(80)
    clients, servers = [], []
    for _ in range(80):
        clients.append(pair.a.connect(B4, 80, pair.now))
        pair.run(until=lambda: listener.readable)
        servers.append(listener.accept())
    tracemalloc.start()
    try:
        for server in servers:
            assert server is not None
            server.write(bytes(250_000), pair.now)
        assert tracemalloc.get_traced_memory()[0] > 80 * 250_000
        for client in clients:
            client.abort(pair.now)
        pair.turn()
        while not all(server and server.error for server in servers):
            pair.step()
        pair.trace.clear()
        assert tracemalloc.get_traced_memory()[0] < 5_000_000
    finally:
        tracemalloc.stop()


def test_closed_before_the_peer_it_is_forgotten_after_a_minute() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.close(peer.now)
    peer.take()
    peer.send("A")
    peer.wait(59.9)
    assert peer.stack.connections == {"FIN_WAIT_2": 1}
    peer.wait(0.2)
    assert not peer.stack.connections
    assert peer.connection.error is None


def test_many_deadlines_that_came_nearer_leave_a_small_heap() -> None:
    stack = new_stack(A4)
    connections = [stack.connect(B4, 80 + number, 1000.0) for number in range(40)]
    drain(stack, 1000.0)
    layer = stack._tcp
    for step in range(1, 200):
        for connection in connections:
            connection._tcb.linger_at = 1000.0 + 1.0 / step
            layer.touch(connection._tcb)
        drain(stack, 1000.0)
        assert len(layer._heap) <= 2 * 40 + 65
    assert stack.deadline() == 1000.0 + 1.0 / 199


def test_a_port_in_time_wait_may_be_dialled_from_again_after_a_second_with_timestamps() -> None:
    for stamps, later, free in ((True, 0.5, False), (True, 1.0, True), (False, 30.0, False)):
        peer = Peer(stamps=stamps)
        peer.connect()
        key, port = peer.connection._tcb.key, peer.connection.local[1]
        peer.connection.close(peer.now)
        peer.take()
        peer.send("FA")
        peer.take()
        assert peer.stack._tcp._is_free(key, port, peer.now + later) is free


def test_accepted_connections_have_the_keepalive_of_their_listener() -> None:
    for keepalive in ((7200.0, 75.0, 9), (20.0, 5.0, 2), None):
        pair = Pair()
        listener = pair.b.listen(80)
        assert listener.keepalive == (7200.0, 75.0, 9)
        listener.keepalive, listener.nodelay = keepalive, keepalive is None
        client = pair.a.connect(B4, 80, pair.now)
        pair.run(until=lambda at=listener: at.readable)  # type: ignore[misc]
        server = listener.accept()
        assert server is not None
        tcb = server._tcb
        assert (tcb.keepalive, tcb.nodelay) == (keepalive, keepalive is None)
        assert tcb.keepalive_at == (pair.now + keepalive[0] if keepalive else math.inf)
        assert client._tcb.keepalive_at == math.inf


def test_a_connection_that_was_reset_asks_for_no_turn() -> None:
    peer = Peer()
    peer.connect()
    peer.send("R")
    assert peer.stack.deadline() > peer.now


def test_a_keepalive_of_a_connection_that_has_ended_wakes_nobody() -> None:
    peer = Peer()
    peer.connect()
    peer.connection.set_keepalive((7200.0, 75.0, 9), peer.now)
    peer.take()
    assert peer.stack.deadline() < math.inf
    peer.send("R")
    peer.take()
    assert peer.stack.deadline() == math.inf


def test_a_deadline_that_stays_the_same_stands_in_the_heap_once() -> None:
    peer = Peer()
    connection = peer.connect()
    connection.set_keepalive((1000.0, 10.0, 3), peer.now)
    for _ in range(300):
        peer.send("A")
        peer.take()
    assert len(peer.stack._tcp._heap) <= 4


def test_ports_and_initial_numbers_follow_from_the_entropy_alone() -> None:
    def syns(seed: int) -> list[bytes]:
        stack = new_stack(A4, seed=seed)
        for port in (80, 80, 81):
            stack.connect(B4, port, 1000.0)
        return packets_of(drain(stack, 1000.0))

    assert syns(1) == syns(1)
    stamps = {packet[48:52] for packet in syns(1)}
    assert len(stamps) == 3  # each connection's timestamp clock has its own offset
    assert not {packet[24:28] for packet in syns(1)} & {packet[24:28] for packet in syns(2)}


def test_a_port_that_is_taken_towards_the_same_end_is_passed_over() -> None:
    stack = new_stack(A4)
    ports = []
    for _ in range(3):
        stack._tcp._ports._counter = 0  # each search begins at the same port
        ports.append(stack.connect(B4, 80, 1000.0).local[1])
    assert ports == [ports[0], ports[0] + 1, ports[0] + 2]


def test_closing_the_stack_refuses_what_its_forwarder_holds() -> None:
    stack = new_stack(A4)
    forwarder = stack.forward_tcp()
    syn = tcp.build(B4.packed, 1, bytes((10, 9, 9, 9)), 443, seq=77, flags=tcp.SYN, window=1000)
    stack.receive([("b", [syn])], 1000.0)
    stack.close(1000.0)
    assert [packet[33] for packet in packets_of(drain(stack, 1000.0))] == [tcp.RST | tcp.ACK]
    assert forwarder.is_closed


@pytest.mark.parametrize(("damage", "reason"), [(True, "tcp: bad checksum"), (False, "tcp: for no connection")])
def test_what_is_dropped_is_counted_once(damage: bool, reason: str) -> None:
    stack = new_stack(A4)
    packet = tcp.build(B4.packed, 1, A4.packed, 443, seq=77, flags=tcp.RST)
    stack.receive([("b", [packet[:-1] + b"\1"] if damage else [packet])], 1000.0)
    assert stack.dropped == {reason: 1}


def test_after_two_lost_syns_data_has_all_its_retries() -> None:
    peer = Peer()
    peer.dial()
    peer.next()
    peer.next()
    assert peer.connection.info().retries == 2
    peer.answer()
    assert peer.connection.info().retries == 0


@pytest.mark.parametrize(("port", "size", "reason"), [(81, 8, "connection"), (80, 7, "connection"), (80, 8, None)])
def test_icmp_about_nobody_is_counted_once(port: int, size: int, reason: str | None) -> None:
    stack = new_stack(A4)
    stack.connect(B4, 80, 1000.0)
    (packet,) = packets_of(drain(stack, 1000.0))
    quoted = packet[20:22] + port.to_bytes(2, "big") + packet[24:28]
    stack._tcp.icmp_error(A4.packed, B4.packed, quoted[:size], "refused", None, 1000.0)
    assert stack.dropped == ({f"icmp: for no {reason}": 1} if reason else {})
    assert bool(stack.connections) is bool(reason)


# --- turns ------------------------------------------------------------------------------------------------------


def test_who_has_little_to_say_goes_first_and_a_stream_leaves_room_for_the_next_word() -> None:
    pair = Pair()
    (stream, _), (other, _) = pair.connected(), pair.connected(port=81)
    pair.run(seconds=1)
    stream._tcb.congestion.cwnd = 1e6
    budget = 1 << 14
    assert stream.write(bytes(1 << 16), pair.now) == 1 << 16
    assert other.write(b"word", pair.now) == 4
    runs = pair.a.transmit(pair.now, budget)
    assert len(runs[0][1]) == 1
    assert runs[0][1][0].endswith(b"word"), "before the stream, which wrote first"
    assert sum(map(len, packets_of(runs))) <= budget // SHARED_PART + 1280
    later = pair.now + SHARED_FOR
    assert sum(map(len, packets_of(pair.a.transmit(later, budget)))) > budget // 2, "nobody else has said anything"


def test_small_ones_alone_share_all_of_the_budget() -> None:
    pair = Pair()
    connections = [pair.connected(port=port)[0] for port in range(80, 100)]
    for connection in connections:
        connection.write(bytes(SMALL), pair.now)
    assert sum(map(len, packets_of(pair.a.transmit(pair.now, 1 << 18)))) > 20 * SMALL


def test_very_many_words_starve_no_stream() -> None:
    """Each of them has another word as soon as it may speak, and all together more than a call carries."""
    pair = Pair()
    talkers = [pair.connected(port=port)[0] for port in range(80, 120)]
    stream, _ = pair.connected(port=200)
    pair.run(seconds=1)
    for each in (stream, *talkers):
        each._tcb.congestion.cwnd, each._tcb.nodelay = 1e6, True
    assert stream.write(bytes(1 << 16), pair.now) == 1 << 16
    begun = stream._tcb.snd_nxt
    for _ in range(20):
        for talker in talkers:
            if talker._tcb.snd_nxt == talker._tcb.send_buffer.end:
                talker.write(b"word" * 100, pair.now)
        pair.a.transmit(pair.now, 1 << 15)
    assert stream._tcb.snd_nxt - begun > 1 << 13


def test_a_connection_that_has_only_to_wait_takes_no_turn() -> None:
    pair = Pair()
    client, server = pair.connected()
    pair.run(seconds=1)
    for _ in range(30):  # until no segment is acknowledged at once
        client.write(b"x" * 100, pair.now)
        (packet,) = packets_of(drain(pair.a, pair.now))
        pair.b.receive([("a", [packet])], pair.now)
        server.read()
        server.write(b"y" * 100, pair.now)
        (answer,) = packets_of(drain(pair.b, pair.now))
        pair.a.receive([("b", [answer])], pair.now)
        assert client.read() == b"y" * 100
        pair.clock.now += 0.001
    assert not pair.a.is_due
    assert pair.now < pair.a.deadline() <= pair.now + 0.04, "its acknowledgement waits for a timer"


def test_an_acknowledgement_that_data_has_carried_wakes_nobody() -> None:
    """Its timer was the first of all: it leaves the heap, and what is due next is first."""
    peer = Peer()
    connection = peer.connect()
    connection._tcb.quick_acks = 0
    peer.send("PA", payload=b"question")
    assert peer.stack.deadline() == pytest.approx(peer.now + 0.04)
    connection.write(b"answer", peer.now)
    peer.take()
    assert peer.stack.deadline() == connection._tcb.deadline() > peer.now + 0.1


def test_a_timer_behind_another_connections_stays_where_it_is() -> None:
    """An entry may be early: it is looked at when it is due."""
    stack = new_stack(A4)
    first, second = [stack.connect(B4, port, 1000.0)._tcb for port in (80, 81)]
    drain(stack, 1000.0)
    first.linger_at, second.linger_at = 1000.1, 1000.2
    for tcb in (first, second):
        stack._tcp.touch(tcb)
    drain(stack, 1000.0)
    second.linger_at = 1000.9
    stack._tcp.touch(second)
    drain(stack, 1000.0)
    assert (stack.deadline(), second.armed_for) == (1000.1, 1000.2)
    first.linger_at = math.inf
    stack._tcp.touch(first)
    drain(stack, 1000.0)
    assert (stack.deadline(), first.armed_for) == (1000.2, first.deadline())
    assert drain(stack, 1000.2) == []
    assert second.armed_for == second.deadline() == 1000.9
