"""The face of a connection: what an application sees."""

from __future__ import annotations

import math

import pytest

from netstack import EndpointClosed
from tests.netstack.pair import A4, A6, B4, B6, Pair, drain
from tests.netstack.peer import Peer


@pytest.mark.parametrize("v6", [False, True])
def test_ends_and_states(v6: bool) -> None:
    pair = Pair()
    client, server = pair.connected(v6=v6)
    assert client.remote == server.local == ((B6 if v6 else B4), 80)
    assert client.local == server.remote
    assert client.local[0] == (A6 if v6 else A4)
    assert (client.link, server.link) == ("b", "a")
    assert client.connected
    assert client.writable
    assert not client.readable
    assert "ESTABLISHED" in repr(client)


def test_data_written_while_connecting_goes_with_the_handshake() -> None:
    pair = Pair()
    listener = pair.b.listen(80)
    client = pair.a.connect(B4, 80, pair.now)
    assert not client.connected
    assert not client.writable  # not yet: but what is written is kept
    assert client.write(b"early", pair.now) == 5
    client.shutdown_write(pair.now)
    pair.run(until=lambda: listener.readable)
    pair.run(seconds=1)
    server = listener.accept()
    assert server is not None
    assert server.read() == b"early"
    assert server.eof


def test_readiness_is_told_once_a_batch() -> None:
    pair = Pair()
    client, server = pair.connected()
    pair.b.take_ready()
    client.write(bytes(10_000), pair.now)
    pair.run(seconds=1)
    assert pair.b.take_ready() == [server]
    assert pair.b.take_ready() == []


def test_a_full_send_buffer_takes_a_part_and_tells_when_there_is_room() -> None:
    pair = Pair()
    client, server = pair.connected()
    pair.a.take_ready()
    data = bytes(1_000_000)
    taken = client.write(data, pair.now)
    assert 0 < taken < len(data)
    assert client.write(data, pair.now) == 0
    assert not client.writable

    def read(now: float) -> None:
        server.read_chunks()

    pair.on_turn = read
    pair.run(until=lambda: client in pair.a.take_ready())
    assert client.writable


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_what_can_change_is_copied(kind: type) -> None:
    pair = Pair()
    client, server = pair.connected()
    buffer = bytearray(b"before")
    client.write(buffer if kind is bytearray else memoryview(buffer), pair.now)
    buffer[:] = b"after!"
    pair.run(seconds=1)
    assert server.read() == b"before"


def test_read_takes_at_most_what_is_asked_for() -> None:
    pair = Pair()
    client, server = pair.connected()
    client.write(b"0123456789", pair.now)
    pair.run(seconds=1)
    assert (server.read(4), server.read(4), server.read(4), server.read(4)) == (b"0123", b"4567", b"89", b"")
    client.write(b"abc", pair.now)
    pair.run(seconds=1)
    assert b"".join(server.read_chunks()) == b"abc"
    assert server.read_chunks() == []


def test_writing_after_the_end_is_a_mistake() -> None:
    pair = Pair()
    client, server = pair.connected()
    client.shutdown_write(pair.now)
    client.shutdown_write(pair.now)
    with pytest.raises(EndpointClosed):
        client.write(b"x", pair.now)
    server.close(pair.now)
    with pytest.raises(EndpointClosed):
        server.write(b"x", pair.now)
    pair.run()
    assert client.error is server.error is None


def test_writing_to_what_broke_takes_nothing() -> None:
    peer = Peer()
    peer.connect()
    peer.send("R")
    assert peer.connection.write(b"x", peer.now) == 0
    assert peer.connection.readable
    assert not peer.connection.writable


def test_what_arrived_before_a_reset_can_be_read() -> None:
    peer = Peer()
    peer.connect()
    peer.send("PA", payload=b"last words")
    peer.send("R")
    assert peer.connection.error == "reset"
    assert peer.connection.read() == b"last words"
    assert not peer.connection.eof


def test_close_with_unread_data_resets() -> None:
    peer = Peer()
    peer.connect()
    peer.send("PA", payload=b"unread")
    peer.connection.close(peer.now)
    assert "RA" in [seen.flags for seen in peer.take()]
    assert not peer.stack.connections


def test_close_while_connecting_says_nothing() -> None:
    peer = Peer()
    peer.dial()
    peer.connection.close(peer.now)
    assert peer.take() == []
    assert not peer.stack.connections


def test_close_sends_what_was_written() -> None:
    pair = Pair()
    client, server = pair.connected()
    client.write(bytes(100_000), pair.now)
    client.close(pair.now)
    client.close(pair.now)
    got = 0

    def read(now: float) -> None:
        nonlocal got
        got += len(server.read())

    pair.on_turn = read
    pair.run(until=lambda: server.eof)
    assert got == 100_000
    server.close(pair.now)
    pair.run()
    assert not pair.a.connections
    assert not pair.b.connections


def test_abort_resets_both() -> None:
    pair = Pair()
    client, server = pair.connected()
    client.abort(pair.now)
    client.abort(pair.now)
    pair.run(seconds=1)
    assert (client.error, server.error) == ("aborted", "reset")
    assert client.finished
    assert server.finished
    assert not pair.a.connections
    assert not pair.b.connections


def test_info_adds_up() -> None:
    pair = Pair(delay=0.05)
    client, server = pair.connected()
    client.write(bytes(50_000), pair.now)
    pair.run(seconds=2)
    info = client.info()
    assert info.state == "ESTABLISHED"
    assert info.srtt == pytest.approx(0.1, abs=0.02)
    assert (info.bytes_sent, info.unsent, info.in_flight) == (50_000, 0, 0)
    assert info.bytes_acked == 50_001  # and the SYN
    assert server.info().bytes_received == server.info().unread == 50_000
    assert server.info().receive_window > 0


def test_how_long_a_closed_connection_waits_for_the_peers_end() -> None:
    for timeout, lasts in ((None, 60.0), (1.5, 1.5)):
        peer = Peer()
        peer.connect()
        peer.connection.set_fin_timeout(timeout)
        peer.connection.close(peer.now)
        assert [seen.flags for seen in peer.take()] == ["FA"]
        peer.send("A")
        peer.wait(lasts - 0.1)
        assert peer.stack.connections["FIN_WAIT_2"] == 1
        peer.wait(0.2)
        assert not peer.stack.connections


# what an application may set --------------------------------------------------------------------------------------


def test_a_listener_is_told_of_a_connection_with_its_ends_and_state_in_words() -> None:
    peer = Peer()
    connection = peer.connect()
    port = connection.local[1]
    assert repr(connection) == f"<TcpConnection 100.64.0.1 {port} -> 100.64.0.2 80 ESTABLISHED>"
    assert (connection.local, connection.remote, connection.link) == ((A4, port), (B4, 80), "peer")


@pytest.mark.parametrize(("size", "kept"), [(2047, 2048), (2048, 2048), (100_000, 100_000), (9 << 20, 8 << 20)])
def test_a_receive_buffer_of_a_fixed_size(size: int, kept: int) -> None:
    connection = Peer().connect()
    connection.set_receive_buffer(size)
    assert connection.info().receive_space == kept
    assert not connection._tcb.autotunes


@pytest.mark.parametrize(("size", "kept"), [(100, 2048), (2048, 2048), (50_000, 50_000)])
def test_a_send_buffer_of_a_fixed_size(size: int, kept: int) -> None:
    peer = Peer()
    connection = peer.connect()
    connection.set_send_buffer(size)
    assert connection.write(bytes(kept - 1), peer.now) == kept - 1
    assert connection.writable
    assert connection.write(b"xy", peer.now) == 1
    assert not connection.writable
    assert connection.write(b"x", peer.now) == 0
    assert connection.info().send_limit == kept


def test_there_is_room_again_when_a_third_of_the_send_buffer_is_empty() -> None:
    peer = Peer()
    connection = peer.connect()
    connection.set_send_buffer(3000)
    connection.write(bytes(3001), peer.now)
    peer.take()
    peer.stack.take_ready()
    peer.send("A", ack=1000)
    assert peer.stack.take_ready() == []  # 2,001 wait
    peer.send("A", ack=1001)
    assert peer.stack.take_ready() == [connection]
    peer.send("A", ack=1500)
    assert peer.stack.take_ready() == []  # it was told


def test_who_was_refused_nothing_is_not_told_of_room() -> None:
    peer = Peer()
    connection = peer.connect()
    connection.set_send_buffer(3000)
    connection.write(bytes(3000), peer.now)
    peer.take()
    peer.stack.take_ready()
    peer.send("A", ack=3001)
    assert peer.stack.take_ready() == []


def test_an_empty_write_takes_nothing_and_sends_nothing() -> None:
    peer = Peer()
    connection = peer.connect()
    assert connection.write(b"", peer.now) == 0
    assert peer.take() == []


def test_more_holds_a_small_segment_back_until_the_next_write() -> None:
    peer = Peer()
    connection = peer.connect()
    connection.write(b"head", peer.now, more=True)
    assert peer.take() == []
    connection.write(b"body", peer.now)
    assert [seen.payload for seen in peer.take()] == [b"headbody"]


def test_nodelay_lets_out_what_a_cork_holds() -> None:
    peer = Peer()
    connection = peer.connect()
    connection.set_cork(True, peer.now)
    connection.write(b"held", peer.now)
    assert peer.take() == []
    connection.set_nodelay(False)
    assert peer.take() == []
    connection.set_nodelay(True)
    assert [seen.payload for seen in peer.take()] == [b"held"]
    connection.write(b"held again", peer.now)
    assert peer.take() == []
    connection.set_cork(False, peer.now)
    assert [seen.payload for seen in peer.take()] == [b"held again"]


def test_nodelay_with_nothing_to_send_forces_nothing_later() -> None:
    peer = Peer()
    connection = peer.connect()
    connection.set_nodelay(True)
    connection.set_cork(True, peer.now)
    connection.write(b"held", peer.now)
    assert peer.take() == []


def test_keepalive_set_before_the_handshake_is_over_begins_then() -> None:
    peer = Peer()
    connection = peer.dial()
    connection.set_keepalive((10.0, 5.0, 2), peer.now)
    assert connection._tcb.keepalive_at == math.inf
    peer.clock.advance(0.5)
    peer.answer()
    peer.take()
    assert connection._tcb.keepalive_at == peer.now + 10
    probes = peer.wait(10.5)
    assert [(seen.flags, seen.seq, seen.size) for seen in probes] == [("A", 0, 0)]
    connection.set_keepalive(None, peer.now)
    assert connection._tcb.keepalive_at == math.inf


def test_a_strategy_takes_the_window_over_and_an_unknown_one_is_refused() -> None:
    peer = Peer()
    connection = peer.connect()
    connection._tcb.congestion.cwnd, connection._tcb.congestion.ssthresh = 50_000.0, 40_000.0
    connection.set_congestion("reno")
    info = connection.info()
    assert (info.congestion, info.cwnd, info.ssthresh) == ("reno", 50_000, 40_000)
    with pytest.raises(ValueError, match="no congestion control 'bbr': cubic, reno"):
        connection.set_congestion("bbr")


def test_the_user_s_timeout_counts_from_the_first_byte_that_waits() -> None:
    """Also of a window that is closed, where nothing is out."""
    peer = Peer()
    connection = peer.connect()
    peer.send("A", window=0)
    connection.set_user_timeout(1.0, peer.now)
    peer.clock.advance(5)
    connection.write(b"x", peer.now)
    began = peer.now
    peer.clock.advance(0.5)
    connection.write(b"y", peer.now)  # does not start it anew
    peer.wait(0.499)
    assert connection.error is None
    peer.wait(0.002)
    assert connection.error == "timeout"
    assert peer.now == pytest.approx(began + 1.0, abs=0.002)


# closing ----------------------------------------------------------------------------------------------------------


def test_reading_nothing_more_after_close_even_of_what_has_ended() -> None:
    peer = Peer()
    connection = peer.connect()
    peer.send("A", payload=b"last words")
    peer.send("R")
    connection.close(peer.now)
    assert connection.read() == b""
    with pytest.raises(EndpointClosed):
        connection.write(b"x", peer.now)


def test_lingering_is_over_when_everything_was_acknowledged() -> None:
    peer = Peer()
    connection = peer.connect()
    connection.set_linger(5.0)
    connection.write(b"x", peer.now)
    connection.close(peer.now)
    assert connection._tcb.linger_at == peer.now + 5
    peer.take()
    peer.send("A")
    assert connection._tcb.linger_at == peer.now + 60  # for the peer's FIN


def test_closed_when_the_peer_owes_its_fin_alone_it_waits_a_minute_for_that() -> None:
    peer = Peer()
    connection = peer.connect()
    connection.set_linger(5.0)
    connection.shutdown_write(peer.now)
    peer.take()
    peer.send("A")
    peer.wait(100)
    assert connection.state == "FIN_WAIT_2"  # half closed, as long as the application likes
    connection.close(peer.now)
    assert connection._tcb.linger_at == peer.now + 60


def test_the_faces_of_each_state() -> None:
    """connected, readable, writable, eof, finished: as a server sees its connection through an orderly end."""
    peer = Peer()
    connection = peer.dial()

    def faces() -> tuple[bool, ...]:
        return (
            connection.connected,
            connection.readable,
            connection.writable,
            connection.eof,
            connection.finished,
        )

    seen = [faces()]
    peer.answer()
    peer.take()
    seen.append(faces())
    peer.send("FA", payload=b"x")
    seen.append(faces())
    connection.read()
    seen.append(faces())
    connection.shutdown_write(peer.now)
    peer.take()
    seen.append(faces())
    peer.send("A")
    seen.append(faces())
    assert seen == [
        (False, False, False, False, False),
        (True, False, True, False, False),
        (True, True, True, False, False),
        (True, True, True, True, False),
        (True, True, False, True, False),
        (False, True, False, True, True),
    ]


def test_closing_twice_gives_no_more_time() -> None:
    peer = Peer()
    connection = peer.connect()
    connection.set_linger(5.0)
    connection.write(b"x", peer.now)
    connection.close(peer.now)
    ends = connection._tcb.linger_at
    peer.take()
    peer.clock.advance(1)
    connection.close(peer.now)
    assert connection._tcb.linger_at == ends
    assert connection.state == "FIN_WAIT_1"


def test_ending_the_stream_of_what_broke_changes_nothing() -> None:
    peer = Peer()
    connection = peer.connect()
    peer.send("R")
    peer.take()
    connection.shutdown_write(peer.now)
    assert (connection.state, connection.error) == ("CLOSED", "reset")
    assert connection.write(b"x", peer.now) == 0
    assert peer.stack.deadline() > peer.now


def test_keepalive_set_on_an_idle_connection_is_in_the_deadline() -> None:
    peer = Peer()
    connection = peer.connect()
    peer.wait(5)
    assert peer.stack.deadline() == math.inf
    connection.set_keepalive((10.0, 5.0, 2), peer.now)
    assert peer.take() == []
    assert peer.stack.deadline() == peer.now + 10


def test_the_users_timeout_passes_also_where_nothing_may_be_sent() -> None:
    peer = Peer()
    connection = peer.connect()
    connection.set_user_timeout(1.0, peer.now)
    peer.stack.hold("peer")
    connection.write(b"x", peer.now)
    assert peer.wait(0.999) == []
    assert connection.error is None
    peer.wait(0.002)
    assert connection.error == "timeout"


def test_what_is_read_leaves_the_memory_of_the_stack_at_once() -> None:
    peer = Peer()
    connection = peer.connect()
    peer.send("A", payload=bytes(1000))
    connection.read(400)
    assert peer.stack._tcp.memory.held == 600
    connection.read_chunks()
    assert peer.stack._tcp.memory.held == 0


def test_the_users_timeout_of_a_dialled_connection_counts_from_its_syn() -> None:
    peer = Peer()
    connection = peer.stack.connect(B4, 80, peer.now)
    connection.set_user_timeout(2.0, peer.now)
    assert connection.write(b"early", peer.now) == 5
    peer.clock.advance(0.5)
    drain(peer.stack, peer.now)
    for at, error in ((2.4, None), (2.6, "timeout")):
        while peer.stack.deadline() <= 1000.0 + at:
            peer.clock.advance_to(peer.stack.deadline())
            drain(peer.stack, peer.now)
        assert connection.error == error


def test_an_acknowledgement_lets_out_what_more_has_held() -> None:
    """As in Linux: MSG_MORE is about the push that it belongs to, a cork about all of them."""
    for cork, goes in ((False, True), (True, False)):
        peer = Peer()
        connection = peer.connect()
        connection.set_cork(cork, peer.now)
        connection.write(bytes(1208 + 100), peer.now, more=True)
        assert [seen.size for seen in peer.take()] == [1208]
        peer.send("A")
        assert [seen.size for seen in peer.take()] == ([100] if goes else [])


def test_closing_throws_away_what_is_unread() -> None:
    peer = Peer()
    connection = peer.connect()
    peer.send("A", payload=b"unread")
    connection.close(peer.now)
    assert (connection.read(), connection.info().unread) == (b"", 0)
