"""When data is acknowledged, and what is learnt of the peer on the way: the length of its segments, the round trip seen
from the receiver, and how much the application takes, which the buffer follows.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.netstack.peer import Peer

MIB = 1 << 20


def under_way(**options: Any) -> Peer:
    """A connection whose quick acknowledgements are used up, with segments of 1,000 bytes."""
    peer = Peer(**options)
    peer.connect()
    for _ in range(20):
        peer.send("A", payload=bytes(1000))
        peer.connection.read()
        peer.take()
    peer.send("A", payload=bytes(1000))
    peer.send("A", payload=bytes(1000))
    peer.connection.read()
    peer.take()
    assert peer.connection.info().receive_mss == 1000
    return peer


# delayed acknowledgements -----------------------------------------------------------------------------------------


def answered() -> Peer:
    """A connection whose application has answered so far."""
    peer = Peer()
    peer.connect()
    peer.send("PA", payload=b"question")
    peer.connection.read()
    peer.connection.write(b"answer", peer.now)
    peer.take()
    return peer


def test_the_end_of_a_stream_is_acknowledged_by_the_end_of_the_other() -> None:
    peer = answered()
    peer.send("FA")
    assert peer.connection.eof
    assert peer.take() == []
    peer.connection.close(peer.now)
    (seen,) = peer.take()
    assert (seen.flags, seen.ack) == ("FA", peer.seq)
    peer.send("A")
    assert peer.connection.state == "CLOSED"


def test_the_end_of_a_stream_is_acknowledged_after_40_ms() -> None:
    peer = answered()
    peer.send("FA")
    assert peer.wait(0.039) == []
    assert [(seen.flags, seen.ack) for seen in peer.wait(0.002)] == [("A", peer.seq)]
    assert peer.connection.state == "CLOSE_WAIT"


def test_the_end_of_a_stream_that_comes_again_is_acknowledged_at_once() -> None:
    peer = answered()
    peer.send("FA")
    assert peer.take() == []
    peer.send("FA", seq=peer.seq - 1)
    assert [(seen.flags, seen.ack) for seen in peer.take()] == [("A", peer.seq)]


def test_the_end_of_a_stream_with_nothing_answered_is_acknowledged_at_once() -> None:
    peer = Peer()
    peer.connect()
    peer.send("PA", payload=b"news")
    peer.take()
    peer.send("FA")
    assert [(seen.flags, seen.ack) for seen in peer.take()] == [("A", peer.seq)]


def test_the_first_sixteen_are_acknowledged_at_once() -> None:
    peer = Peer()
    peer.connect()
    answers = []
    for _ in range(20):
        peer.send("A", payload=bytes(10))
        answers.append(len(peer.take()))
    assert answers == [1] * 15 + [0] * 5  # the handshake's was one of them


@pytest.mark.parametrize(("second", "at_once"), [(999, False), (1000, True), (1001, False)])
def test_two_full_segments_are_acknowledged_at_once(second: int, at_once: bool) -> None:
    """A longer one tells that the others were not full."""
    peer = under_way()
    peer.send("A", payload=bytes(1000))
    assert peer.take() == []
    peer.send("A", payload=bytes(second))
    assert bool(peer.take()) is at_once


def test_less_is_acknowledged_40_ms_after_the_first() -> None:
    peer = under_way()
    peer.send("A", payload=b"a")
    began = peer.now
    peer.clock.advance(0.03)
    peer.send("A", payload=b"b")
    assert peer.take() == []
    assert peer.stack.deadline() == began + 0.04
    assert [seen.ack for seen in peer.next()] == [peer.seq]
    assert peer.now == began + 0.04
    assert peer.connection._tcb.delack_at == math.inf


@pytest.mark.parametrize(("pause", "at_once"), [(0.15, False), (0.35, True)])
def test_after_a_pause_longer_than_a_timeout_it_is_as_at_the_beginning(pause: float, at_once: bool) -> None:
    peer = under_way()
    peer.clock.advance(pause)
    assert 0.15 < peer.connection.info().rto < 0.35
    peer.send("A", payload=b"x")
    assert bool(peer.take()) is at_once


def test_a_batch_beyond_a_gap_makes_the_duplicates_that_a_peer_without_sack_counts() -> None:
    """Three and the last (RFC 5681 §3.2), each with what had come by then."""
    peer = under_way()
    packets = [peer.packet("A", seq=peer.seq + 1000 * n, payload=bytes(1000)) for n in range(1, 8)]
    peer.stack.receive([("peer", packets)], peer.now)
    ends = [seen.options.sack[0][1] - seen.options.sack[0][0] for seen in peer.take()]
    assert ends == [2000, 3000, 4000, 7000]


def test_while_a_gap_is_open_everything_is_acknowledged_at_once() -> None:
    peer = under_way()
    peer.send("A", seq=peer.seq + 2000, payload=bytes(1000))
    peer.take()
    peer.send("A", payload=bytes(10))
    assert [seen.ack for seen in peer.take()] == [peer.seq]


# the round trip, seen by a receiver -------------------------------------------------------------------------------


def heard(peer: Peer, ticks: int, size: int = 10) -> float:
    """Data that answers what we sent `ticks` milliseconds ago; the estimate after it."""
    tcb = peer.connection._tcb
    peer.echo = (tcb.stamp(peer.now) - ticks) & 0xFFFF_FFFF
    peer.send("A", payload=bytes(size))
    return peer.connection.info().receive_rtt


def test_the_receivers_round_trip_falls_at_once_and_rises_slowly() -> None:
    peer = Peer()
    peer.connect()
    assert heard(peer, 50) == pytest.approx(0.05)
    assert heard(peer, 200) == pytest.approx(0.05 * 1.01 + 0.001)
    assert heard(peer, 51) == pytest.approx(0.051)
    assert heard(peer, 20) == pytest.approx(0.02)
    assert heard(peer, 0) == pytest.approx(0.001)  # the clock ticks no finer


def test_no_echo_and_one_of_the_future_measure_nothing() -> None:
    peer = Peer()
    peer.connect()
    before = heard(peer, 50)
    assert heard(peer, -1) == before
    peer.echo = 0
    peer.send("A", payload=b"x")
    assert peer.connection.info().receive_rtt == before


def test_out_of_order_data_measures_too() -> None:
    peer = Peer()
    peer.connect()
    peer.echo = (peer.connection._tcb.stamp(peer.now) - 30) & 0xFFFF_FFFF
    peer.send("A", payload=b"x", seq=50)
    assert peer.connection.info().receive_rtt == pytest.approx(0.03)


# the buffer follows the application -------------------------------------------------------------------------------


def rounds(peer: Peer, *sizes: int, pause: float = 0.1) -> list[int]:
    """One size a round trip of 100 ms is read; the buffer after each."""
    spaces = []
    for size in sizes:
        for at in range(0, size, 1000):
            heard(peer, 100, min(1000, size - at))
        peer.connection.read()
        peer.take()
        peer.clock.advance(pause)
        heard(peer, 100, 1000)
        peer.connection.read()
        peer.take()
        spaces.append(peer.connection.info().receive_space)
    return spaces


def measured(**options: Any) -> Peer:
    peer = Peer(**options)
    peer.connect()
    heard(peer, 100, 1000)
    peer.connection.read()
    peer.take()
    return peer


def test_the_buffer_is_twice_what_was_read_in_a_round_trip_and_more_while_that_grows() -> None:
    """As Linux's tcp_rcv_space_adjust: 2 x + 16 segments, and twice that times the growth."""
    peer = measured()
    spaces = rounds(peer, 399_000, 599_000, 599_000)
    first = 2 * 400_000 + 16_000
    assert first < MIB
    second = 2 * 600_000 + 16_000
    assert spaces == [MIB, second + 2 * second * 200_000 // 400_000, second + 2 * second * 200_000 // 400_000]


def test_it_ends_at_eight_mebibytes() -> None:
    assert rounds(measured(), 499_000, 999_000, 1_999_000)[-1] == 8 * MIB


@pytest.mark.parametrize("why", ["fixed", "unscaled", "scarce", "slow"])
def test_it_does_not_grow(why: str) -> None:
    peer = measured(scale=None if why == "unscaled" else 8)
    if why == "fixed":
        peer.connection.set_receive_buffer(MIB)
    if why == "scarce":
        peer.stack._tcp.memory.held = peer.stack._tcp.memory.plenty + 1
    spaces = rounds(peer, 399_000, 899_000, pause=0.5 if why == "slow" else 0.1)
    assert spaces == [65_535 if why == "unscaled" else MIB] * 2


# blocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stamps", "count"), [(True, 3), (False, 4)])
def test_an_acknowledgement_reports_as_many_stretches_as_its_options_have_room_for(stamps: bool, count: int) -> None:
    """The latest first; 40 bytes of options in all, twelve of them timestamps (RFC 2018 §3)."""
    peer = Peer(stamps=stamps)
    peer.connect()
    for number in range(1, 7):
        peer.send("A", seq=100 * number, payload=b"x")
        (ack,) = peer.take()
        lefts = [(left - 0xFFFF_FF00) & 0xFFFF_FFFF for left, _ in ack.options.sack]
        assert lefts == [100 * n for n in range(number, max(number - count, 0), -1)]
    peer.send("A", seq=600, payload=b"x")  # a duplicate takes the first place
    (ack,) = peer.take()
    assert len(ack.options.sack) == count
    assert ack.options.sack[0] == ack.options.sack[1]


def test_half_a_round_trip_tells_nothing_of_what_is_read_in_one() -> None:
    peer = measured()
    assert rounds(peer, 699_000, pause=0.05) == [MIB]
    assert rounds(measured(), 699_000, pause=0.1)[0] > MIB


def test_what_was_here_in_part_is_acknowledged_at_once() -> None:
    peer = under_way()
    peer.send("A", seq=peer.seq - 5, payload=bytes(10))
    assert [seen.ack for seen in peer.take()] == [peer.seq + 5]
