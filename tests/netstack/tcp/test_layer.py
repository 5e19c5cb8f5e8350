"""The table of connections: whose segment, whose turn, whose timer; what idle ones cost."""

from __future__ import annotations

import math
import random

import pytest

from netstack import AddressNotAvailable
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


def test_a_syn_refused_by_other_means() -> None:
    peer = Peer()
    connection = peer.dial()
    peer.stack.refuse(A4, connection.local[1] + 1, B4, 80)
    assert connection.error is None
    peer.stack.refuse(A4, connection.local[1], B4, 80)
    assert connection.error == "refused"
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
