"""TIME_WAIT: what answers, what restarts it, what may take its place."""

from __future__ import annotations

import math

import pytest

from netstack.tcp import timewait
from netstack.wire import tcp
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


def test_the_answer_has_the_numbers_and_the_stamp_of_the_connection() -> None:
    for v6 in (False, True):
        peer = waiting(v6=v6)
        stamp = peer.connection._tcb.stamp
        peer.wait(7)
        peer.send("A", seq=1, payload=b"old")
        (ack,) = peer.take()
        assert (ack.flags, ack.seq, ack.ack, ack.window) == ("A", peer.received, peer.seq, 0)
        assert ack.options.timestamps == (stamp(peer.now), 1_000_000)
        assert peer.wait(1) == []
    peer = waiting(stamps=False)
    peer.send("A", seq=1, payload=b"old")
    assert peer.take()[0].options.timestamps is None


@pytest.mark.parametrize(
    ("flags", "seq", "payload", "answered"),
    [("A", 0, b"", False), ("A", 1, b"", True), ("A", -1, b"", True), ("A", 0, b"x", True), ("S", -1, b"", True)],
)
def test_only_what_is_expected_and_empty_gets_no_answer(flags: str, seq: int, payload: bytes, answered: bool) -> None:
    peer = waiting()
    peer.send(flags, seq=peer.seq + seq, payload=payload, stamp=1)
    assert [seen.flags for seen in peer.take()] == ["A"] * answered


def opens(peer: Peer, seq: int, options: bytes, flags: str = "S") -> bool:
    """Whether this SYN, `seq` beyond the end of the peer's stream, finds the old connection out of its way."""
    peer.stack.listen(peer.their_port)
    peer.stack.receive([("peer", [peer.packet(flags, seq=peer.seq + seq, options=options)])], peer.now)
    return peer.stack.connections["SYN_RECEIVED"] == 1


@pytest.mark.parametrize(
    ("ours", "seq", "stamp", "new"),
    [
        (True, -5, 1_000_001, True),  # a newer stamp tells, whatever the number (RFC 6191)
        (True, 5, 1_000_000, False),
        (True, 5, 999_999, False),
        (True, 1, None, True),  # without a stamp the number must be beyond (RFC 1122)
        (True, 0, None, False),
        (False, 1, 5, True),  # stamps were not agreed on: they tell nothing
        (False, 0, 2_000_000, False),
    ],
)
def test_which_syn_is_new(ours: bool, seq: int, stamp: int | None, new: bool) -> None:
    options = tcp.syn_options(1220, 8, True, None if stamp is None else (stamp, 0))
    assert opens(waiting(stamps=ours), seq, options) is new


@pytest.mark.parametrize("flags", ["SA", "SR", "A"])
def test_only_a_bare_syn_is_new(flags: str) -> None:
    assert not opens(waiting(stamps=False), 100, b"", flags)


def test_a_new_connection_begins_64_kib_beyond_the_old_one() -> None:
    peer = waiting()
    before = peer.their_iss + peer.received
    reopen(peer, 5, 2_000_000)
    assert (peer.their_iss - before) & 0xFFFF_FFFF == 65_536


def test_a_record_that_is_restarted_goes_behind_the_others() -> None:
    peer = Peer()
    peer.connect()
    table = timewait.TimeWaitTable()
    records = []
    for number in range(2):
        records.append(timewait.TimeWait(peer.connection._tcb, float(number)))
        records[-1].key = bytes((number,))
        table.add(records[-1])
    assert table.deadline() == 60
    records[0].expires_time = 90
    table.restarted(records[0])
    assert table.deadline() == 61
    table.expire(60.9)
    assert len(table) == 2
    table.expire(61)
    assert (len(table), table.deadline()) == (1, 90)
    table.remove(bytes((0,)))
    table.remove(bytes((0,)))
    assert (len(table), table.deadline()) == (0, math.inf)


def test_as_many_as_linux_keeps_at_least() -> None:
    assert timewait.MAX_RECORDS == 32_768
    assert timewait.REUSE_AFTER == 1.0
