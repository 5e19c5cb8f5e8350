"""The face of a connection: what an application sees."""

from __future__ import annotations

import pytest

from netstack import EndpointClosed
from tests.netstack.pair import A4, A6, B4, B6, Pair
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
