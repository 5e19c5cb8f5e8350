"""TIME_WAIT: what answers, what restarts it, what may take its place."""

from __future__ import annotations

from netstack.tcp import timewait
from tests.netstack.peer import Peer, quiet


def waiting(**options: bool) -> Peer:
    """We accepted, the stack closed first: it is in TIME_WAIT."""
    peer = Peer(**options)
    peer.connect()
    peer.connection.close(peer.now)
    peer.take()
    peer.send("FA")
    assert [seen.flags for seen in peer.take()] == ["A"]
    assert peer.stack.connections == {"TIME_WAIT": 1}
    return peer


def test_it_ends_after_a_minute() -> None:
    peer = waiting()
    peer.wait(1)
    assert peer.stack.deadline() == peer.now - 1 + timewait.TIME_WAIT_TIMEOUT
    peer.wait(timewait.TIME_WAIT_TIMEOUT - 1)
    assert not peer.stack.connections
    assert quiet(peer.stack)


def test_the_fin_again_is_acknowledged_and_starts_the_minute_anew() -> None:
    peer = waiting()
    peer.wait(50)
    peer.send("FA", seq=peer.seq - 1)
    (ack,) = peer.take()
    assert (ack.flags, ack.ack) == ("A", peer.seq)
    peer.wait(50)
    assert peer.stack.connections == {"TIME_WAIT": 1}
    peer.wait(11)
    assert not peer.stack.connections


def test_an_acknowledgement_is_not_answered() -> None:
    peer = waiting()
    peer.send("A")
    assert peer.take() == []


def test_rst_is_ignored() -> None:
    peer = waiting()
    peer.send("R")
    assert peer.take() == []
    assert peer.stack.connections == {"TIME_WAIT": 1}


def test_old_data_is_acknowledged() -> None:
    peer = waiting()
    peer.send("PA", seq=1, payload=b"old")
    assert [seen.ack for seen in peer.take()] == [peer.seq]


def reopen(peer: Peer, seq: int, stamp: int) -> list[str]:
    """We connect from the same port to the same port, where a listener is now."""
    from netstack.wire import tcp

    peer.stack.listen(peer.their_port)
    options = tcp.syn_options(1220, 8, True, (stamp, 0)) if peer.stamps else tcp.syn_options(1220, 8, True, None)
    packet = peer.packet("S", seq=seq, options=options)
    peer.stack.receive([("peer", [packet])], peer.now)
    return [seen.flags for seen in peer.take()]


def test_a_newer_syn_opens_a_new_connection() -> None:
    assert reopen(waiting(), 5, 2_000_000) == ["SA"]
    assert reopen(waiting(stamps=False), 5, 0) == ["SA"]


def test_an_older_syn_is_of_the_old_connection() -> None:
    assert reopen(waiting(), 5, 5) == ["A"]
    assert reopen(waiting(stamps=False), 0, 0) == ["A"]


def test_the_new_initial_sequence_number_is_beyond_the_old_connection() -> None:
    peer = waiting()
    before = peer.their_iss + peer.received
    reopen(peer, 5, 2_000_000)
    assert 0 < (peer.their_iss - before) & 0xFFFF_FFFF < 2**31


def test_the_table_is_bounded() -> None:
    table = timewait.TimeWaitTable()
    peer = Peer()
    peer.connect()
    for number in range(timewait.MAX_RECORDS + 10):
        record = timewait.TimeWait(peer.connection._tcb, float(number))
        record.key = number.to_bytes(4, "big")
        table.add(record)
    assert len(table) == timewait.MAX_RECORDS
    assert table.get((5).to_bytes(4, "big")) is None
    assert table.deadline() == 10 + timewait.TIME_WAIT_TIMEOUT


def test_the_wait_is_that_of_linux() -> None:
    assert timewait.TIME_WAIT_TIMEOUT == 60
