"""Which segments are acceptable, to the number: the sequence window, timestamps, resets, acknowledgements, windows.

What is dropped is counted under its reason, so a test can tell the last number that is taken from the first that is
not.
"""

from __future__ import annotations

from typing import Any

import pytest

from netstack.wire import tcp
from tests.netstack.peer import ISS, Peer

OUTSIDE = "tcp: outside the window"
OLD_STAMP = "tcp: old timestamp"


def established(**options: Any) -> Peer:
    peer = Peer(**options)
    peer.connect()
    return peer


def advanced() -> Peer:
    """100 bytes have come, were read and acknowledged; 200 of ours were acknowledged."""
    peer = established()
    peer.connection._tcb.quick_acks = 0
    peer.send("A", payload=bytes(100))
    peer.connection.read()
    peer.connection.write(bytes(200), peer.now)
    peer.take()
    peer.send("A")
    return peer


def dropped(peer: Peer, reason: str) -> int:
    return peer.stack.dropped[reason]


# sequence numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seq", "ack", "older", "shrunk", "counts"),
    [
        (50, 1201, 0, True, True),
        (100, 1201, 0, True, True),
        (50, 1202, 0, True, False),  # more than is out
        (50, 201, 0, True, False),  # nothing new
        (50, 1201, 20, True, False),  # a stamp from before
        (50, 1201, 0, False, False),  # the peer hears us: it will say so again
        (101 - 2**20, 1201, 0, True, True),  # as far back as a window reaches
        (100 - 2**20, 1201, 0, True, False),
    ],
)
def test_an_acknowledgement_left_of_the_window_counts_if_it_is_news_of_a_peer_that_took_window_back(
    seq: int, ack: int, older: int, shrunk: bool, counts: bool
) -> None:
    """Both ends may believe that of the other, and acknowledge from where the other has long been."""
    peer = advanced()
    connection = peer.connection
    connection.write(bytes(1000), peer.now)
    peer.take()
    peer.clock.advance(0.01)
    peer.send("A", ack=201, window=0 if shrunk else None)
    peer.send("A", seq=seq, ack=ack, stamp=peer.stamp() - older, window=3)
    assert connection.info().in_flight == (0 if counts else 1000)
    assert (connection.info().send_window == 3 << 8) is counts
    assert dropped(peer, OUTSIDE) + dropped(peer, OLD_STAMP) == 1
    assert connection.info().bytes_received == 100


@pytest.mark.parametrize(
    ("flags", "seq", "size", "outside"),
    [
        ("A", 101, 0, 0),
        ("A", 100, 0, 1),  # a keepalive probe: old, but answered
        ("A", 100, 1, 0),  # its end is what we acknowledged last
        ("A", 99, 1, 1),
        ("FA", 100, 0, 0),  # the FIN has a number too
        ("FA", 99, 0, 1),
        ("SA", 100, 0, 0),  # and the SYN
        ("SA", 99, 0, 1),
    ],
)
def test_what_ends_before_the_last_acknowledgement_is_outside(flags: str, seq: int, size: int, outside: int) -> None:
    peer = advanced()
    peer.send(flags, seq=seq, payload=bytes(size))
    assert dropped(peer, OUTSIDE) == outside


@pytest.mark.parametrize(("offset", "outside"), [(0, 0), (1, 1)])
def test_what_begins_beyond_the_right_edge_is_outside(offset: int, outside: int) -> None:
    peer = advanced()
    edge = peer.seq + peer.connection.info().receive_window
    peer.send("A", seq=edge + offset)
    assert dropped(peer, OUTSIDE) == outside


def test_data_beyond_the_right_edge_is_answered_without_a_duplicate_report() -> None:
    peer = advanced()
    peer.send("A", seq=peer.seq + peer.connection.info().receive_window + 1, payload=b"x")
    (ack,) = peer.take()
    assert (ack.ack, ack.options.sack) == (101, ())


@pytest.mark.parametrize(("dsack", "sack"), [(True, True), (False, True), (True, False)])
def test_old_data_is_reported_as_a_duplicate_where_that_is_wanted(dsack: bool, sack: bool) -> None:
    peer = Peer(sack=sack)
    peer.stack.options.dsack = dsack
    peer.connect()
    peer.send("A", payload=b"0123456789")
    peer.take()
    for seq, payload, block in ((1, b"0123", (1, 5)), (7, b"6789ab", (7, 11))):  # old whole, and in part
        peer.send("A", seq=seq, payload=payload)
        (ack,) = peer.take()
        wanted = [((ISS + left) & 0xFFFF_FFFF, (ISS + right) & 0xFFFF_FFFF) for left, right in [block]]
        assert list(ack.options.sack) == (wanted if dsack and sack else [])
    assert peer.connection.read() == b"0123456789ab"


def test_data_outside_is_answered_every_time_the_rest_twice_a_second() -> None:
    peer = advanced()
    for _ in range(3):
        peer.send("A", seq=50, payload=b"x")
        assert [seen.flags for seen in peer.take()] == ["A"]
    answers = []
    for at in (0.0, 0.49, 0.01, 0.49, 0.02):
        peer.clock.advance(at)
        peer.send("A", seq=50)
        answers.append(len(peer.take()))
    assert answers == [1, 0, 1, 0, 1]


def test_a_fin_beyond_the_window_is_not_taken_at_its_edge_it_is() -> None:
    for beyond, taken in ((0, True), (1, False)):
        peer = established(scale=None)
        room = peer.connection.info().receive_window
        peer.send("A", payload=bytes(40_000))
        peer.send("FA", payload=bytes(room - 40_000 + beyond))
        assert len(peer.connection.read()) == room
        assert peer.connection.eof is taken
        assert peer.connection.state == ("CLOSE_WAIT" if taken else "ESTABLISHED")


def test_a_second_fin_elsewhere_changes_nothing() -> None:
    peer = established()
    peer.send("FA", seq=11)
    peer.send("FA", seq=21)
    peer.send("FA", seq=6)
    peer.send("A", seq=1, payload=b"0123456789")
    assert peer.connection.read() == b"0123456789"
    assert (peer.connection.eof, peer.connection.state) == (True, "CLOSE_WAIT")
    assert peer.take()[-1].ack == 12


# timestamps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("older", "old"), [(0, 0), (1, 1)])
def test_a_stamp_is_old_from_one_tick_on(older: int, old: int) -> None:
    peer = advanced()
    peer.send("A", payload=b"x", stamp=peer.stamp() - older)
    assert dropped(peer, OLD_STAMP) == old
    assert peer.connection.read() == (b"" if old else b"x")


@pytest.mark.parametrize(("days", "old"), [(23.99, 1), (24, 0)])
def test_after_24_days_stamps_tell_nothing(days: float, old: int) -> None:
    peer = advanced()
    peer.clock.advance(days * 86_400)
    peer.send("A", payload=b"x", stamp=1)
    assert dropped(peer, OLD_STAMP) == old


def test_a_reset_may_have_any_stamp() -> None:
    peer = advanced()
    peer.send("R", stamp=1)
    assert peer.connection.error == "reset"


def test_old_data_or_fin_by_its_stamp_is_answered_every_time_the_rest_twice_a_second() -> None:
    peer = advanced()
    for flags, payload in (("A", b"x"), ("A", b"x"), ("FA", b""), ("FA", b"")):
        peer.send(flags, payload=payload, seq=peer.seq, stamp=1)
        assert [seen.flags for seen in peer.take()] == ["A"]
    answers = []
    for _ in range(3):
        peer.send("A", seq=peer.seq, stamp=1)
        answers.append(len(peer.take()))
    assert answers == [1, 0, 0]


@pytest.mark.parametrize(
    ("fields", "old"),
    [
        ({}, 0),
        ({"ack": 200}, 1),
        ({"window": 1}, 1),
        ({"seq": 100}, 1),
        ({"payload": b"x"}, 1),
        ({"flags": "FA"}, 1),
        ({"flags": "SA"}, 1),
    ],
)
def test_only_a_plain_duplicate_acknowledgement_may_have_been_overtaken(fields: dict[str, Any], old: int) -> None:
    peer = advanced()
    flags = fields.pop("flags", "A")
    peer.send(flags, **{"seq": peer.seq, "stamp": peer.stamp() - 1, **fields})
    assert dropped(peer, OLD_STAMP) == old


@pytest.mark.parametrize(("late", "old"), [(240, 0), (241, 1)])
def test_it_was_overtaken_for_no_longer_than_a_timeout(late: int, old: int) -> None:
    """1.2 RTO, as Linux has it."""
    peer = advanced()
    assert peer.connection.info().rto == pytest.approx(0.2, abs=1e-5)
    peer.send("A", seq=peer.seq, stamp=peer.stamp() - late)
    assert dropped(peer, OLD_STAMP) == old


def test_a_pure_acknowledgement_brings_its_stamp_too_unless_data_waits() -> None:
    peer = advanced()
    peer.send("A", stamp=peer.stamp() + 5)
    peer.connection.write(b"a", peer.now)
    (seen,) = peer.take()
    assert seen.options.timestamps is not None
    assert seen.options.timestamps[1] == 1_000_005
    peer.connection._tcb.quick_acks = 0
    peer.send("A", payload=b"x", stamp=1_000_006)
    peer.send("A", stamp=1_000_009)  # seq is beyond what we have acknowledged: RFC 7323 §4.3
    peer.connection.write(b"b", peer.now)
    (seen,) = peer.take()
    assert seen.options.timestamps is not None
    assert seen.options.timestamps[1] == 1_000_006


def test_without_stamps_agreed_on_they_are_not_looked_at() -> None:
    peer = established(stamps=False)
    peer.send("A", payload=b"x", options=tcp.timestamp_options(5, 0))
    peer.send("A", payload=b"y", options=tcp.timestamp_options(1, 0))
    assert peer.connection.read() == b"xy"


# resets ---------------------------------------------------------------------------------------------------------


def test_a_reset_while_both_sides_open_is_a_refusal() -> None:
    peer = Peer()
    peer.dial()
    peer.answer("S")
    peer.take()
    peer.send("R")
    assert peer.connection.error == "refused"


@pytest.mark.parametrize(
    ("flags", "ack", "error"), [("RA", 1, "refused"), ("RA", 0, None), ("RA", 2, None), ("R", 1, None)]
)
def test_only_a_reset_that_acknowledges_the_syn_refuses(flags: str, ack: int, error: str | None) -> None:
    peer = Peer()
    peer.dial()
    peer.send(flags, seq=0, ack=ack)
    assert peer.connection.error == error
    assert peer.take() == []


@pytest.mark.parametrize(("ack", "state"), [(0, "SYN_SENT"), (1, "ESTABLISHED"), (2, "SYN_SENT")])
def test_a_syn_ack_acknowledges_the_syn_and_no_more(ack: int, state: str) -> None:
    peer = Peer()
    peer.dial()
    peer.send("SA", seq=0, ack=ack, options=peer.syn_options())
    assert peer.connection.state == state
    assert [(seen.flags, seen.seq) for seen in peer.take()] == ([("A", 1)] if ack == 1 else [("R", ack)])


def test_both_open_at_once_and_each_answers_the_other() -> None:
    peer = Peer()
    peer.dial()
    peer.answer("S")
    peer.take()
    peer.send("SA", seq=5, ack=1)
    assert peer.connection.state == "SYN_RECEIVED"
    peer.send("SA", seq=0, ack=1, options=peer.syn_options())
    assert peer.connection.state == "ESTABLISHED"
    peer.connection.write(b"hello", peer.now)
    assert peer.take()[-1].payload == b"hello"


@pytest.mark.parametrize(("ack", "flags"), [(0, ["R"]), (1, []), (2, ["R"])])
def test_half_open_only_the_acknowledgement_of_our_syn_counts(ack: int, flags: list[str]) -> None:
    peer = Peer()
    listener = peer.stack.listen(8080)
    peer.port, peer.their_port = 5000, 8080
    peer.send("S", seq=0, options=peer.syn_options())
    peer.seq = 1
    peer.take()
    peer.send("A", ack=ack, payload=b"x", seq=1)
    assert [(seen.flags, seen.seq) for seen in peer.take() if seen.flags == "R"] == [(flag, ack) for flag in flags]
    assert listener.readable is not bool(flags)
    assert peer.stack._tcp.memory.held == (0 if flags else 1)


def test_data_for_nobody_is_reset_what_was_here_before_is_not() -> None:
    peer = advanced()
    peer.connection.close(peer.now)
    peer.take()
    peer.send("A", seq=91, payload=bytes(10))  # again: read long ago
    assert [seen.flags for seen in peer.take()] == ["A"]
    peer.send("A", seq=92, payload=bytes(10), ack=201)
    assert [(seen.flags, seen.seq) for seen in peer.take()] == [("R", 201)]
    assert not peer.stack.connections


# acknowledgements and windows -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ack", "reason"),
    [
        (251, None),
        (252, "tcp: acknowledges what was not sent"),
        (201 - 65_535, None),
        (200 - 65_535, "tcp: acknowledgement too old"),
    ],
)
def test_an_acknowledgement_is_of_what_is_out_or_within_one_window_before(ack: int, reason: str | None) -> None:
    peer = established(scale=None)
    peer.connection.write(bytes(200), peer.now)
    peer.take()
    peer.send("A")
    peer.connection.write(bytes(50), peer.now)
    peer.take()
    peer.send("A", ack=ack, payload=b"x", seq=1)
    assert peer.connection.read() == (b"" if reason else b"x")
    assert peer.stack.dropped == ({reason: 1} if reason else {})
    assert peer.connection.info().outstanding == (0 if ack == 251 else 50)


@pytest.mark.parametrize(
    ("seq", "ack", "counts"),
    [
        (101, 1, True),  # as new as the last one
        (101, 51, True),
        (100, 1, False),  # older data, nothing new acknowledged: the window is old
        (100, 2, True),  # what acknowledges something new counts
    ],
)
def test_an_old_segment_does_not_change_the_window(seq: int, ack: int, counts: bool) -> None:
    peer = established(scale=None)
    peer.connection.write(bytes(50), peer.now)
    peer.take()
    peer.send("A", ack=1, payload=bytes(100))
    peer.take()
    peer.send("A", ack=1)
    before = peer.connection.info().send_window
    assert before == 65_535
    peer.send("A", seq=seq, ack=ack, window=1000, payload=b"x" if seq < 101 else b"")
    assert peer.connection.info().send_window == (1000 if counts else before)


def test_an_older_acknowledgement_does_not_change_the_window() -> None:
    peer = established(scale=None)
    peer.connection.write(bytes(200), peer.now)
    peer.take()
    peer.send("A", ack=101)
    peer.send("A", ack=100, window=1000)
    peer.send("A", ack=100, window=1000, payload=b"x", seq=1)
    assert peer.connection.info().send_window == 65_535
    peer.send("A", ack=101, window=1000)
    assert peer.connection.info().send_window == 1000


def test_the_window_is_scaled_but_for_that_of_the_syn() -> None:
    peer = Peer(scale=3)
    peer.dial()
    peer.window = 1000
    peer.answer()
    assert peer.connection.info().send_window == 1000
    peer.take()
    peer.send("A")
    assert peer.connection.info().send_window == 8000


# the peer's SYN ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("v6", "mss", "ours"),
    [(False, None, 536), (True, None, 1220), (False, 700, 700), (False, 100, 216), (True, 216, 216)],
)
def test_the_longest_segment_is_what_the_syn_says_or_the_default(v6: bool, mss: int | None, ours: int) -> None:
    peer = Peer(v6=v6, stamps=False)
    peer.dial()
    peer.send("SA", seq=0, options=b"" if mss is None else b"\x02\x04" + mss.to_bytes(2, "big"))
    info = peer.connection.info()
    assert info.mss == ours
    assert (info.has_sack, info.has_timestamps, info.send_scale, info.receive_scale) == (False, False, 0, 0)
    assert info.receive_space == 65_535
    assert info.cwnd == min(10 * ours, max(2 * ours, 14_600))


def test_a_connection_of_the_peer_s_offers_what_an_unscaled_window_can() -> None:
    peer = Peer()
    peer.dial()
    peer.answer()
    assert peer.connection.info().receive_window == 65_535
    (ack,) = peer.take()
    assert (ack.ack, ack.window << 8) == (1, 1 << 20)
    assert ack.options.timestamps is not None
    assert ack.options.timestamps[1] == 1_000_000


# room -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "full", "taken"), [(65_536, True, True), (65_537, True, False), (65_537, False, True)]
)
def test_where_the_stack_has_no_memory_left_each_connection_has_64_kib(held: int, full: bool, taken: bool) -> None:
    peer = established()
    for size in (40_000, held - 40_000):
        peer.send("A", payload=bytes(size))
    peer.take()
    memory = peer.stack._tcp.memory
    assert memory.held == held
    memory.held = memory.ceiling - (not full)
    peer.send("A", payload=b"x")
    assert peer.connection.info().unread == held + taken
    assert dropped(peer, "tcp: memory full") == (not taken)


def test_what_only_the_send_buffer_holds_up_is_told_apart() -> None:
    """All of it is out, the application was refused more, and what is acknowledged has not made room yet."""
    peer = established()
    connection = peer.connection
    connection.set_send_buffer(3000)
    connection.write(bytes(3001), peer.now)
    peer.take()
    peer.clock.advance(0.25)
    peer.send("A", ack=100)
    peer.clock.advance(0.5)
    info = connection.info(peer.now)
    assert (info.busy_time, info.buffer_limited_time, info.window_limited_time) == pytest.approx((0.75, 0.5, 0.0))
    peer.send("A", ack=3001)
    peer.clock.advance(5)
    info = connection.info(peer.now)
    assert (info.busy_time, info.buffer_limited_time) == pytest.approx((0.75, 0.5))


def test_a_sender_that_was_refused_nothing_is_busy_and_no_more() -> None:
    peer = established()
    peer.connection.write(bytes(3000), peer.now)
    peer.take()
    peer.send("A", ack=100)
    peer.clock.advance(0.5)
    info = peer.connection.info(peer.now)
    assert (info.busy_time, info.buffer_limited_time) == pytest.approx((0.5, 0.0))


def test_data_makes_readable_whichever_way_it_came() -> None:
    peer = established()
    for fields in ({}, {"window": 1000}, {"seq": 20}):
        peer.send("A", payload=b"x" * 5, **fields)
        assert peer.stack.take_ready() == ([] if "seq" in fields else [peer.connection])
    peer.send("A", payload=b"y" * 9)  # fills the gap
    assert peer.stack.take_ready() == [peer.connection]
    assert len(peer.connection.read()) == 24


def test_half_open_a_syn_again_is_answered_again_twice_a_second_at_most() -> None:
    peer = Peer()
    peer.stack.listen(8080)
    peer.port, peer.their_port = 5000, 8080
    peer.send("S", seq=0, options=peer.syn_options())
    peer.take()
    answers = []
    for pause in (0, 0.1, 0.4):
        peer.clock.advance(pause)
        peer.send("S", seq=0, options=peer.syn_options())
        answers.append([(seen.flags, seen.seq, seen.ack) for seen in peer.take()])
    assert answers == [[("SA", 0, 1)], [], [("SA", 0, 1)]]
    peer.send("S", seq=-5, options=peer.syn_options())
    assert peer.stack.dropped == {"tcp: SYN in a connection": 3, OUTSIDE: 1}


@pytest.mark.parametrize(
    ("second", "reported"),
    [((1, 4), (1, 4)), ((4, 6), (1, 6)), ((2, 9), (1, 9)), ((5, 8), (1, 4)), ((6, 9), (1, 4))],
)
def test_duplicates_of_one_batch_are_reported_joined_or_the_first_alone(
    second: tuple[int, int], reported: tuple[int, int]
) -> None:
    peer = established()
    peer.send("A", payload=b"0123456789")
    peer.take()
    packets = [
        peer.packet("A", seq=left, payload=b"0123456789"[left - 1 : right - 1]) for left, right in ((1, 4), second)
    ]
    peer.stack.receive([("peer", packets)], peer.now)
    ((left, right),) = peer.take()[-1].options.sack
    assert ((left - ISS) & 0xFFFF_FFFF, (right - ISS) & 0xFFFF_FFFF) == reported
