"""Listening: the backlog, half-open limits, closing."""

from __future__ import annotations

import pytest

from netstack import AddressInUse, AddressNotAvailable, TcpListener
from netstack.limits import FULL, SHARE
from netstack.tcp import passive
from netstack.tcp.parking import MAX_PARKED
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


def test_who_finds_no_room_is_answered_as_soon_as_there_is_some() -> None:
    pair = Pair()
    listener = pair.b.listen(80, backlog=1)
    first, second = pair.a.connect(B4, 80, pair.now), pair.a.connect(B4, 80, pair.now)
    pair.run(seconds=0.5)
    assert pair.b.connections["SYN_RECEIVED"] == 0
    assert (first.connected, second.connected, len(listener.parked)) == (True, False, 1)
    begun = pair.now
    assert listener.accept() is not None
    pair.run(until=lambda: listener.readable)
    assert pair.now - begun < 0.3  # and not with the next SYN of the peer
    assert second.connected
    assert second.error is first.error is None


def syns(peer: Peer, count: int, source: int = 2) -> None:
    options = tcp.syn_options(1220, 8, True, None)
    packets = [
        tcp.build(bytes((100, 64, 0, source)), 1024 + n, A4.packed, 8080, seq=n, flags=tcp.SYN, options=options)
        for n in range(count)
    ]
    peer.stack.receive([(f"link {source}", packets)], peer.now)


BACKLOG = 128
SHARE_OF_BACKLOG = BACKLOG * 2 // 3


def let_pass(peer: Peer, seconds: float) -> None:
    drain(peer.stack, peer.now)
    peer.clock.advance_to(peer.now + seconds)
    drain(peer.stack, peer.now)


def test_one_peer_cannot_take_the_whole_backlog() -> None:
    peer = Peer()
    listener = peer.stack.listen(8080)
    syns(peer, 1000)
    assert peer.stack.connections["SYN_RECEIVED"] == SHARE_OF_BACKLOG
    syns(peer, 10, source=3)
    assert peer.stack.connections["SYN_RECEIVED"] == SHARE_OF_BACKLOG + 10
    assert len(listener.parked) == MAX_PARKED * 2 // 3
    assert peer.stack.dropped["tcp: backlog full"] == 1000 - SHARE_OF_BACKLOG - MAX_PARKED * 2 // 3


def test_one_peer_is_one_whatever_address_it_sends_from() -> None:
    peer = Peer()
    listener = peer.stack.listen(8081, backlog=6)
    for source in range(2, 30):
        packet = tcp.build(bytes((100, 64, 0, source)), 1024, A4.packed, 8081, seq=0, flags=tcp.SYN)
        peer.stack.receive([("one link", [packet])], peer.now)
    assert listener.places.taken == 4


def test_a_flood_does_not_lock_others_out() -> None:
    """Who does not answer a SYN-ACK for a second makes way: as good as cookies, and keeps the options."""
    peer = Peer()
    listener = peer.stack.listen(8080)
    for source in (2, 3, 4):
        syns(peer, 1000, source=source)
    assert listener.places.taken == BACKLOG
    syns(peer, 5, source=5)
    assert listener.places.of("link 5") == 0
    let_pass(peer, 1.1)  # and then it sends them again
    syns(peer, 5, source=5)
    assert listener.places.of("link 5") == 5
    assert listener.places.taken == BACKLOG
    assert peer.stack.dropped["tcp: half-open connection made way"] == 5


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


def test_an_accepted_connection_takes_no_place() -> None:
    pair = Pair()
    listener = pair.b.listen(80, backlog=4)
    for _ in range(BACKLOG + 2):
        client = pair.a.connect(B4, 80, pair.now)
        pair.run(until=lambda: listener.readable)
        assert client.connected
        assert listener.accept() is not None
        assert not listener.half_open
        assert not listener.places.taken


def test_a_connection_that_is_passed_on_keeps_its_place_until_it_is_accepted() -> None:
    pair = Pair()
    listener = pair.b.listen(80, backlog=1)
    first, second = pair.a.connect(B4, 80, pair.now), pair.a.connect(B4, 80, pair.now)
    pair.run(until=lambda: listener.readable)
    connection = listener.accept(keep_place=True)
    assert connection is not None
    pair.run(seconds=5)
    assert (first.connected, second.connected) == (True, False)
    listener.give_up_place(connection)
    pair.run(until=lambda: second.connected, seconds=1)


@pytest.mark.parametrize("backlog", [0, 1, 200])
def test_the_backlog_is_one_at_least(backlog: int) -> None:
    peer = Peer()
    listener = peer.stack.listen(8080, backlog=backlog)
    assert listener.backlog == max(backlog, 1)
    for source in range(2, 60):
        syns(peer, 100, source=source)
    assert peer.stack.connections["SYN_RECEIVED"] == max(backlog, 1)


def late_flood(*shares: tuple[int, int]) -> tuple[Peer, TcpListener]:
    """A full backlog whose SYN-ACKs were all sent again. shares: (source, SYNs)."""
    peer = Peer()
    listener = peer.stack.listen(8080)
    for source, count in shares:
        syns(peer, count, source=source)
    let_pass(peer, 1.1)
    return peer, listener


def test_the_greediest_makes_way_unless_it_asks_itself_or_all_are_alike() -> None:
    peer, listener = late_flood((2, 50), (3, 78))
    oldest = next(iter(listener.half_open["link 3"]))

    def shares() -> tuple[int, int]:
        return listener.places.of("link 2"), listener.places.of("link 3")

    syns(peer, 51, source=2)  # one is new
    assert shares() == (51, 77)
    assert oldest not in listener.half_open["link 3"]
    assert oldest.state == 0
    syns(peer, 79, source=3)  # two are new: it is the greediest itself
    assert shares() == (51, 77)
    syns(peer, 80, source=2)  # until nobody has two more
    assert shares() == (64, 64)


def test_nobody_makes_way_for_one_that_has_but_one_less() -> None:
    """They would push each other out in turns."""
    peer, listener = late_flood((2, 43), (3, 43), (4, 42))
    syns(peer, 43, source=4)
    assert sorted(map(len, listener.half_open.values())) == [42, 43, 43]


def test_places_are_counted_rightly_when_the_backlog_has_been_made_smaller() -> None:
    peer, listener = late_flood((2, 43), (3, 85))
    listener.places.total = 96
    syns(peer, 1, source=4)
    assert listener.places.taken == sum(map(len, listener.half_open.values())) == 127
    for _ in range(100):
        let_pass(peer, 2)
    assert listener.places.taken == 0


def test_nobody_makes_way_who_has_not_been_asked_twice() -> None:
    """A burst of honest peers does not push itself out."""
    peer = Peer()
    listener = peer.stack.listen(8080)
    for source in (2, 3):
        syns(peer, SHARE_OF_BACKLOG, source=source)
    syns(peer, 5, source=4)
    assert listener.places.of("link 4") == 0
    assert "tcp: half-open connection made way" not in peer.stack.dropped


@pytest.mark.parametrize("accepts", [True, False])
def test_four_hundred_at_once_are_all_answered(accepts: bool) -> None:
    """However many come at once, and one peer alone has two thirds: the rest waits for the application alone."""
    pair = Pair()
    listener = pair.b.listen(80)
    served = []

    def accept(now: float) -> None:
        while accepts and (connection := listener.accept()):
            served.append(connection)

    pair.on_turn = accept
    clients = [pair.a.connect(B4, 80, pair.now) for _ in range(400)]
    pair.run(seconds=0.9)
    assert sum(client.connected for client in clients) == (400 if accepts else SHARE_OF_BACKLOG)
    assert len(served) == (400 if accepts else 0)


def limited(limit: int) -> tuple[Pair, TcpListener]:
    pair = Pair()
    return pair, pair.b.listen(80, max_connections=limit)


def test_one_too_many_is_reset_at_once_and_the_listener_is_told() -> None:
    pair, listener = limited(9)
    clients = [pair.a.connect(B4, 80, pair.now) for _ in range(8)]
    pair.run(seconds=0.5)
    assert [client.connected for client in clients] == [True] * 6 + [False] * 2
    assert [client.error for client in clients[6:]] == ["refused"] * 2
    assert pair.b.dropped["tcp: too many connections"] == 2
    assert listener in pair.b.take_ready()
    refusals = listener.take_refusals()
    assert refusals == (2, SHARE, A4, 9)
    assert listener.take_refusals() is None
    assert listener.connections is not None
    assert listener.connections.refused == {SHARE: 2}


def test_when_all_are_taken_the_reason_is_another() -> None:
    peer = Peer()
    listener = peer.stack.listen(8080, max_connections=3)
    for source in (2, 3, 4):
        syns(peer, 2, source=source)
    assert listener.connections is not None
    assert listener.connections.taken == 3
    assert listener.connections.refused == {FULL: 3}
    assert peer.stack.dropped["tcp: too many connections"] == 3


@pytest.mark.parametrize("end", ["abort", "reset", "close"])
def test_a_connection_counts_until_it_has_ended_whatever_its_application_does(end: str) -> None:
    pair, listener = limited(3)
    clients = [pair.a.connect(B4, 80, pair.now) for _ in range(2)]
    pair.run(seconds=0.5)
    accepted = [listener.accept(), listener.accept()]
    assert listener.connections is not None
    assert listener.connections.taken == 2
    if end == "close":
        for connection in (*clients, *accepted):
            assert connection is not None
            connection.close(pair.now)
    for client, server in zip(clients, accepted, strict=True):
        assert server is not None
        if end == "abort":
            server.abort(pair.now)
        elif end == "reset":
            client.abort(pair.now)
    pair.run(seconds=0.5)
    assert listener.connections.taken == 0
    again = pair.a.connect(B4, 80, pair.now)
    pair.run(until=lambda: again.connected)


def test_a_half_open_one_counts_too_and_gives_up_its_place() -> None:
    peer = Peer()
    listener = peer.stack.listen(8080, max_connections=30)
    syns(peer, 1000)
    assert listener.connections is not None
    assert listener.connections.taken == 20
    for _ in range(100):
        let_pass(peer, 2)
    assert (listener.connections.taken, listener.places.taken) == (0, 0)
    assert not peer.stack.connections


def test_the_stack_has_a_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passive, "MAX_ACCEPTED", 9)
    pair = Pair()
    pair.b.listen(80)
    pair.b.listen(81)
    clients = [pair.a.connect(B4, port, pair.now) for port in (80, 81) for _ in range(4)]
    pair.run(seconds=0.5)
    assert sum(client.connected for client in clients) == 6
    assert pair.b.dropped["tcp: too many connections"] == 2


def test_closing_resets_who_waits_for_a_place() -> None:
    pair = Pair()
    listener = pair.b.listen(80, backlog=1)
    clients = [pair.a.connect(B4, 80, pair.now) for _ in range(3)]
    pair.run(seconds=0.5)
    assert len(listener.parked) == 2
    listener.close(pair.now)
    pair.run(seconds=0.5)
    assert [client.error for client in clients] == ["reset", "refused", "refused"]
