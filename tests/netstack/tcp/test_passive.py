"""What a SYN leaves behind, and what its connection gives back. Who gets a place is in `test_listener`."""

from __future__ import annotations

import pytest

from netstack import EndpointClosed
from netstack.tcp import passive
from netstack.tcp.parking import PATIENCE
from netstack.wire import tcp
from tests.netstack.pair import A4, B4, Pair, drain, new_stack, packets_of

OUTSIDE = B4.packed
NOW = 1000.0


def syn(port: int, payload: bytes = b"") -> bytes:
    return tcp.build(OUTSIDE, port, A4.packed, 80, seq=9, flags=tcp.SYN, window=1000, payload=payload)


def test_a_parked_syn_keeps_no_more_than_its_header() -> None:
    stack = new_stack(A4)
    listener = stack.listen(80, backlog=1)
    for port in range(1, 20):
        stack.receive([("b", [syn(port, bytes(1000))])], NOW)
    assert len(listener.parked) == 18
    assert {len(one.head) for one in listener.parked.clear()} == {20}


def test_a_parked_syn_that_nobody_repeats_gets_no_answer() -> None:
    stack = new_stack(A4)
    listener = stack.listen(80, backlog=1)
    for port in (1, 2):
        stack.receive([("b", [syn(port)])], NOW)
    (answer,) = packets_of(drain(stack, NOW))
    ack = int.from_bytes(answer[24:28], "big") + 1
    stack.receive([("b", [tcp.build(OUTSIDE, 1, A4.packed, 80, seq=10, ack=ack, flags=tcp.ACK)])], NOW)
    assert listener.accept(keep_place=False) is not None
    assert stack.deadline() <= NOW
    assert packets_of(drain(stack, NOW + PATIENCE)) == []
    assert not listener.parked


def test_a_limit_is_asked_again_when_a_parked_syn_gets_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    listener = pair.b.listen(80, backlog=1, max_connections=3)
    clients = [pair.a.connect(B4, 80, pair.now) for _ in range(3)]
    pair.run(seconds=0.5)
    assert len(listener.parked) == 2
    for _ in range(2):
        listener.accept()
        pair.run(seconds=0.5)
    assert [client.error for client in clients] == [None, None, "refused"]


def test_a_limit_is_asked_again_when_a_parked_syn_is_repeated() -> None:
    stack = new_stack(A4)
    listener = stack.listen(80, backlog=1, max_connections=2)
    assert listener.connections is not None

    def accept_one(port: int) -> None:
        stack.receive([(f"link {port}", [syn(port)])], NOW)
        (answer,) = packets_of(drain(stack, NOW))
        ack = int.from_bytes(answer[24:28], "big") + 1
        last = tcp.build(OUTSIDE, port, A4.packed, 80, seq=10, ack=ack, flags=tcp.ACK)
        stack.receive([(f"link {port}", [last])], NOW)
        assert listener.accept() is not None

    stack.receive([("link 1", [syn(1)]), ("link 2", [syn(2)])], NOW)
    assert len(listener.parked) == 1
    accept_one(1)
    accept_one(3)
    stack.receive([("link 2", [syn(2)])], NOW)
    (answer,) = packets_of(drain(stack, NOW))
    assert answer[33] & tcp.RST
    assert (listener.connections.taken, len(listener.parked)) == (2, 0)


def test_forwarded_connections_count_with_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passive, "MAX_ACCEPTED", 3)
    pair = Pair()
    forwarder = pair.b.forward_tcp(unbound=True)
    clients = [pair.a.connect(B4, 80, pair.now) for _ in range(3)]
    pair.run(until=lambda: len(forwarder) == 3)
    accepted = [pending.accept(pair.now) for _ in range(2) if (pending := forwarder.accept())]
    third = forwarder.accept()
    assert third is not None
    with pytest.raises(EndpointClosed, match="as many connections"):
        third.accept(pair.now)
    pair.run(seconds=0.5)
    assert [client.error for client in clients] == [None, None, "refused"]
    for connection in accepted:
        connection.abort(pair.now)
    pair.run(seconds=0.5)
    again = pair.a.connect(B4, 80, pair.now)
    pair.run(until=lambda: len(forwarder) == 1)
    pending = forwarder.accept()
    assert pending is not None
    pending.accept(pair.now)
    pair.run(until=lambda: again.connected)


def test_own_connections_are_the_applications_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passive, "MAX_ACCEPTED", 1)
    pair = Pair()
    pair.a.listen(80)
    clients = [pair.b.connect(A4, 80, pair.now) for _ in range(3)]
    pair.run(seconds=0.5)
    assert sum(client.connected for client in clients) == 1
    assert pair.b.connections["ESTABLISHED"] == 1
    assert pair.b._tcp._passive.connections.taken == 0
