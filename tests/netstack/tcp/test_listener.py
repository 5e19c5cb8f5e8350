"""Listening: the backlog, half-open limits, closing."""

from __future__ import annotations

import pytest

from netstack import AddressInUse, AddressNotAvailable, TcpListener
from netstack.tcp.listener import MIN_HALF_OPEN
from netstack.wire import tcp
from tests.netstack.pair import A4, A6, B4, B6, Pair, drain, new_stack, packets_of
from tests.netstack.peer import Peer


@pytest.mark.parametrize("address", [None, B4])
def test_accept_in_the_order_of_arrival(address: object) -> None:
    pair = Pair()
    listener = pair.b.listen(80, address=address)  # type: ignore[arg-type]
    clients = []
    for _ in range(3):
        clients.append(pair.a.connect(B4, 80, pair.now))
        pair.run(seconds=1)
    assert listener in pair.b.take_ready()
    accepted = [listener.accept() for _ in range(4)]
    assert [server.remote if server else None for server in accepted] == [*(client.local for client in clients), None]
    assert not listener.readable


def test_both_families_at_once() -> None:
    pair = Pair()
    listener = pair.b.listen(80)
    pair.a.connect(B4, 80, pair.now)
    pair.a.connect(B6, 80, pair.now)
    pair.run(seconds=1)
    accepted = [listener.accept(), listener.accept()]
    assert {server.local[0] for server in accepted if server} == {B4, B6}
    assert {server.link for server in accepted if server} == {"a"}


def test_one_address_does_not_listen_at_another() -> None:
    pair = Pair()
    pair.b.listen(80, address=B6)
    client = pair.a.connect(B4, 80, pair.now)
    pair.run(seconds=1)
    assert client.error == "refused"


def test_a_port_in_use_is_told_at_once() -> None:
    stack = new_stack(A4, A6)
    listener = stack.listen(80, address=A4)
    stack.listen(80, address=A6)
    for address in (None, A4):
        with pytest.raises(AddressInUse, match="80"):
            stack.listen(80, address=address)
    with pytest.raises(AddressNotAvailable):
        stack.listen(81, address=B4)
    listener.close(1000.0)
    listener.close(1000.0)
    stack.listen(80, address=A4)


def test_port_zero_finds_a_free_one() -> None:
    stack = new_stack(A4)
    ports = {stack.listen(0).port for _ in range(20)}
    assert len(ports) == 20
    assert 0 not in ports


def test_a_full_queue_keeps_the_handshake_open_until_there_is_room() -> None:
    pair = Pair()
    listener = pair.b.listen(80, backlog=1)
    first, second = pair.a.connect(B4, 80, pair.now), pair.a.connect(B4, 80, pair.now)
    pair.run(seconds=0.5)
    assert pair.b.connections["SYN_RECEIVED"] == 1
    assert pair.b.dropped["tcp: accept queue full"] >= 1
    assert listener.accept() is not None
    pair.run(until=lambda: listener.readable)
    assert second.error is first.error is None


def syns(peer: Peer, count: int, source: int = 2) -> None:
    options = tcp.syn_options(1220, 8, True, None)
    packets = [
        tcp.build(bytes((100, 64, 0, source)), 1024 + n, A4.packed, 8080, seq=n, flags=tcp.SYN, options=options)
        for n in range(count)
    ]
    peer.stack.receive([("flood", packets)], peer.now)


def test_one_peer_cannot_take_all_that_may_be_half_open() -> None:
    peer = Peer()
    peer.stack.listen(8080)
    syns(peer, 1000)
    assert peer.stack.connections["SYN_RECEIVED"] == MIN_HALF_OPEN * 2 // 3
    syns(peer, 1000, source=3)
    assert peer.stack.connections["SYN_RECEIVED"] == MIN_HALF_OPEN
    assert peer.stack.dropped["tcp: too many half-open connections"] == 2000 - MIN_HALF_OPEN


def test_a_flood_does_not_lock_others_out() -> None:
    """When all places are taken, the oldest of whoever has most goes (as good as cookies, and keeps the options)."""
    peer = Peer()
    listener = peer.stack.listen(8080)
    for source in (2, 3, 4):
        syns(peer, 1000, source=source)
    assert sum(map(len, listener.half_open.values())) == MIN_HALF_OPEN
    syns(peer, 5, source=5)
    shares = {source[3]: len(half_open) for source, half_open in listener.half_open.items()}
    assert shares[5] == 5
    assert sum(shares.values()) == MIN_HALF_OPEN


def test_half_open_ones_make_room_when_they_give_up() -> None:
    peer = Peer()
    peer.stack.listen(8080)
    syns(peer, 100)
    now = peer.now
    while peer.stack.deadline() <= now + 200:
        peer.clock.advance_to(peer.stack.deadline())
        drain(peer.stack, peer.now)
    assert not peer.stack.connections
    syns(peer, 10)
    assert peer.stack.connections["SYN_RECEIVED"] == 10


def test_closing_resets_what_nobody_has_accepted() -> None:
    pair = Pair()
    listener = pair.b.listen(80)
    client = pair.a.connect(B4, 80, pair.now)
    pair.run(until=lambda: listener.readable)
    listener.close(pair.now)
    pair.run(seconds=1)
    assert client.error == "reset"
    assert not pair.b.connections
    assert pair.a.connect(B4, 80, pair.now) is not None
    pair.run(seconds=1)
    assert pair.b.dropped["tcp: for no connection"] >= 1


def test_repr_says_where() -> None:
    stack = new_stack(A4)
    assert repr(stack.listen(80)) == "<TcpListener * port 80, 0 waiting>"
    assert "100.64.0.1" in repr(stack.listen(81, address=A4))
    assert packets_of(drain(stack, 1000.0)) == []


def test_closing_forgets_what_is_half_open() -> None:
    """Whatever its peer sends next is refused, as for any closed port; nothing is sent before."""
    peer = Peer()
    listener = peer.stack.listen(8080)
    syns(peer, 1)
    assert len(packets_of(drain(peer.stack, peer.now))) == 1
    listener.close(peer.now)
    assert not peer.stack.connections
    assert packets_of(drain(peer.stack, peer.now)) == []


@pytest.mark.parametrize("flags", [0, tcp.FIN, tcp.PSH, tcp.FIN | tcp.PSH])
def test_what_is_no_syn_and_acknowledges_nothing_is_not_answered(flags: int) -> None:
    """RFC 9293 3.10.7.2: in LISTEN such a segment is dropped, it gets no RST."""
    peer = Peer()
    peer.stack.listen(8080)
    for port in (8080, 8081):
        packet = tcp.build(B4.packed, 1024, A4.packed, port, seq=7, flags=flags)
        peer.stack.receive([("link", [packet])], peer.now)
        assert len(packets_of(drain(peer.stack, peer.now))) == (port == 8081)
    assert peer.stack.dropped["tcp: no SYN at a listener"] == 1


def deferred(seconds: float) -> tuple[Peer, TcpListener]:
    """A peer whose handshake is over as far as it can see."""
    peer = Peer()
    listener = peer.stack.listen(8080)
    listener.defer = seconds
    peer.port, peer.their_port = 5000, 8080
    peer.send("S", seq=0, options=peer.syn_options())
    peer.seq = 1
    assert [seen.flags for seen in peer.take()] == ["SA"]
    peer.send("A")
    return peer, listener


def test_defer_waits_for_data() -> None:
    peer, listener = deferred(5.0)
    assert not listener.readable
    assert peer.wait(4.0) == []
    peer.send("A")
    assert not listener.readable
    assert peer.stack.dropped["tcp: accept deferred"] == 2
    peer.send("AP", payload=b"hello")
    connection = listener.accept()
    assert connection is not None
    assert connection.read() == b"hello"


def test_defer_ends_with_another_syn_ack() -> None:
    peer, listener = deferred(3.0)
    assert peer.wait(2.9) == []
    assert [seen.flags for seen in peer.wait(0.2)] == ["SA"]
    peer.send("A")
    assert listener.accept() is not None


def test_a_fixed_buffer_is_there_from_the_first_segment() -> None:
    peer = Peer()
    listener = peer.stack.listen(8080)
    listener.receive_buffer = 4096
    peer.port, peer.their_port = 5000, 8080
    peer.send("S", seq=0, options=peer.syn_options())
    assert [seen.window for seen in peer.take()] == [4096]
    peer.seq = 1
    peer.send("A", payload=bytes(1000))
    connection = listener.accept()
    assert connection is not None
    assert connection.info().receive_window <= 4096


def test_an_established_connection_takes_no_half_open_place() -> None:
    pair = Pair()
    listener = pair.b.listen(80, backlog=4)
    for _ in range(MIN_HALF_OPEN + 2):
        client = pair.a.connect(B4, 80, pair.now)
        pair.run(until=lambda: listener.readable)
        assert client.connected
        assert listener.accept() is not None
        assert not listener.half_open
    assert "tcp: too many half-open connections" not in pair.b.dropped


@pytest.mark.parametrize("backlog", [0, 1, 200])
def test_the_backlog_is_one_at_least_and_half_open_are_128_at_least(backlog: int) -> None:
    peer = Peer()
    listener = peer.stack.listen(8080, backlog=backlog)
    assert listener.backlog == max(backlog, 1)
    for source in range(2, 60):
        syns(peer, 100, source=source)
    assert peer.stack.connections["SYN_RECEIVED"] == max(backlog, 128)


def test_the_greediest_makes_room_unless_it_asks_itself_or_all_are_alike() -> None:
    """Places: 128. The one with most loses its oldest to whoever has at least two fewer."""
    peer = Peer()
    listener = peer.stack.listen(8080)
    syns(peer, 50, source=2)
    syns(peer, 78, source=3)
    oldest = next(iter(listener.half_open[bytes((100, 64, 0, 3))]))

    def shares() -> tuple[int, int]:
        return tuple(len(listener.half_open[bytes((100, 64, 0, source))]) for source in (2, 3))  # type: ignore[return-value]

    assert shares() == (50, 78)
    syns(peer, 51, source=2)  # one is new
    assert shares() == (51, 77)
    assert oldest not in listener.half_open[bytes((100, 64, 0, 3))]
    assert oldest.state == 0
    syns(peer, 79, source=3)  # two are new: it is the greediest itself
    assert shares() == (51, 77)
    syns(peer, 80, source=2)  # until nobody has two more
    assert shares() == (64, 64)
    syns(peer, 80, source=2)
    assert shares() == (64, 64)


def test_nobody_makes_room_for_one_that_has_but_one_less() -> None:
    """They would push each other out in turns."""
    peer = Peer()
    listener = peer.stack.listen(8080)
    for source, count in ((2, 43), (3, 43), (4, 42)):
        syns(peer, count, source=source)
    syns(peer, 43, source=4)
    assert sorted(map(len, listener.half_open.values())) == [42, 43, 43]
