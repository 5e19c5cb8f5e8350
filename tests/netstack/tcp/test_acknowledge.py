"""What an acknowledgement does: RFC 3042, RFC 6582, D-SACK, samples; in the order that matters."""

from __future__ import annotations

import math

import pytest

from tests.netstack.peer import Peer, Seen

MSS = 1208


def sender(segments: int = 10, **options: bool) -> tuple[Peer, int]:
    """So many segments are out; the first one's number."""
    peer = Peer(**options)
    peer.connect(rtt=0.1)
    peer.send("A")  # the first window with its scale
    peer.connection.write(bytes(40 * MSS), peer.now)
    una = peer.take()[0].seq
    peer.clock.advance(0.1)
    return peer, una


@pytest.mark.parametrize("sack", [True, False])
def test_limited_transmit(sack: bool) -> None:
    """The first two duplicates each let out a new segment."""
    peer, una = sender(sack=sack)
    for count in (1, 2):
        peer.send("A", ack=una, blocks=[(una + MSS, una + (1 + count) * MSS)] if sack else ())
        assert [(seen.seq, seen.size) for seen in peer.take()] == [(una + (9 + count) * MSS, MSS)]


def test_a_duplicate_report_is_no_sack() -> None:
    peer, una = sender()
    peer.send("A", ack=una + 2 * MSS, blocks=[(una, una + MSS)])
    info = peer.connection.info()
    assert (info.dsacks, info.sacked) == (1, 0)


def test_a_duplicate_inside_what_is_sacked_is_reported_with_its_block() -> None:
    peer, una = sender()
    peer.send("A", ack=una, blocks=[(una + 2 * MSS, una + 3 * MSS), (una + MSS, una + 4 * MSS)])
    info = peer.connection.info()
    assert (info.dsacks, info.sacked) == (1, 3 * MSS)


@pytest.mark.parametrize("block", [(-5000, -4000), (30 * MSS, 31 * MSS), (3 * MSS, 2 * MSS), (MSS, MSS)])
def test_blocks_that_cannot_be_are_ignored(block: tuple[int, int]) -> None:
    peer, una = sender()
    peer.send("A", ack=una, blocks=[(una + block[0], una + block[1])])
    info = peer.connection.info()
    assert (info.sacked, info.lost) == (0, 0)


def test_a_timeout_spares_what_was_sent_just_now() -> None:
    """RFC 8985 §6.3: it has not had the time to arrive."""
    peer, una = sender()
    peer.send("A", ack=una + MSS)
    peer.clock.advance(0.25)  # just before the timer
    peer.send("A", ack=una + MSS, blocks=[(una + 2 * MSS, una + 3 * MSS)])
    peer.take()
    while not peer.connection.info().retries:
        peer.next()
    assert peer.connection.info().ca_state == "loss"
    assert peer.connection.info().packets_lost < peer.connection.info().packets_out


def test_without_sack_no_second_episode_before_the_first_ones_end() -> None:
    peer, una = sender(sack=False)
    for _ in range(3):
        peer.send("A", ack=una)
    peer.take()
    high = peer.received
    peer.send("A", ack=high)
    ssthresh = peer.connection.info().ssthresh
    for _ in range(4):
        peer.send("A", ack=high)
    assert peer.connection.info().ssthresh == ssthresh


@pytest.mark.parametrize("duplicates", [0, 1])
def test_a_duplicate_report_widens_the_reordering_window(duplicates: int) -> None:
    """RFC 8985 §6.2: a quarter of the round trip more for each round with one."""
    peer, una = sender()
    peer.send("A", ack=una + 2 * MSS, blocks=[(una, una + MSS)] * duplicates)
    peer.send("A", ack=una + 2 * MSS, blocks=[(una + 3 * MSS, una + 4 * MSS)])
    peer.wait(0.03)
    assert peer.connection.info().packets_retransmitted == 1 - duplicates
    peer.wait(0.03)
    assert peer.connection.info().packets_retransmitted == 1


def test_without_sack_a_partial_acknowledgement_takes_from_the_duplicates() -> None:
    """RFC 6675's pipe without its blocks: of three segments, the first was the hole and two had been counted."""
    peer, una = sender(sack=False)
    for _ in range(4):
        peer.send("A", ack=una)
    assert peer.connection.info().sacked == 4 * MSS
    peer.send("A", ack=una + 3 * MSS)
    assert peer.connection.info().sacked == 2 * MSS


def timed_out(peer: Peer, times: int = 1) -> list[Seen]:
    """What the retransmission timer sends, after the tail probe."""
    seen: list[Seen] = []
    while peer.connection.info().backoff < times:
        seen = peer.next()
    return seen


# what has arrived -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("duplicates", "ack", "sacked", "delivered"),
    [
        (0, MSS, 0, MSS),
        (0, 1, 0, 1),
        (2, 0, 2 * MSS, 2 * MSS),
        (2, 1, 2 * MSS, 2 * MSS + 1),
        (2, MSS, 2 * MSS, 3 * MSS),  # the hole
        (2, 2 * MSS, MSS, 3 * MSS),  # and one that had been counted
        (2, 3 * MSS, 0, 3 * MSS),
        (2, 5 * MSS, 0, 5 * MSS),
        (2, 10 * MSS, 0, 10 * MSS),
    ],
)
def test_without_sack_each_segment_is_counted_once(duplicates: int, ack: int, sacked: int, delivered: int) -> None:
    peer, una = sender(sack=False)
    before = peer.connection.info().bytes_acked
    for _ in range(duplicates):
        peer.send("A", ack=una)
    if ack:
        peer.send("A", ack=una + ack)
    info = peer.connection.info()
    assert (info.sacked, info.bytes_acked - before) == (sacked, delivered)


def test_with_sack_each_byte_is_counted_once() -> None:
    peer, una = sender()
    before, counts = peer.connection.info().bytes_acked, []
    for ack, block in ((0, 5), (0, 6), (1, 6), (8, 9), (10, 0)):
        blocks = [(una + 3 * MSS, una + block * MSS)] if block > 3 and ack < 3 else []
        peer.send("A", ack=una + ack * MSS, blocks=blocks)
        counts.append((peer.connection.info().bytes_acked - before) // MSS)
    assert counts == [2, 3, 4, 8, 10]


def test_blocks_that_were_not_agreed_on_say_nothing() -> None:
    peer, una = sender(sack=False)
    before = peer.connection.info().bytes_acked
    for number in range(2, 6):
        peer.send("PA", ack=una, payload=b"x", blocks=[(una + MSS, una + number * MSS)])
    info = peer.connection.info()
    assert (info.sacked, info.packets_retransmitted, info.bytes_acked - before) == (0, 0, 0)


@pytest.mark.parametrize(
    ("ack", "left", "right", "sacked"),
    [
        (0, 9, 10, 1),  # up to snd_nxt
        (0, 9, 11, 0),  # beyond
        (0, 0, 1, 1),  # pointless but possible, as in Linux
        (2, 2, 3, 1),
        (2, 3, 3, 0),
        (-1, 1, 2, 1),  # an overtaken acknowledgement
        (-1, -1, 2, 0),  # of what is acknowledged since
    ],
)
def test_which_blocks_are_inside_what_is_out(ack: int, left: int, right: int, sacked: int) -> None:
    peer, una = sender()
    if ack < 0:
        peer.send("A", ack=una + MSS)
        una += MSS
        peer.take()
        right, left = right + 0, left
    peer.send("A", ack=una + ack * MSS, blocks=[(una + left * MSS, una + right * MSS)])
    assert peer.connection.info().sacked == sacked * MSS


# duplicates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blocks", "dsacks"),
    [
        ([(0, 1)], 1),
        ([(1, 2)], 1),
        ([(2, 3)], 0),  # above the acknowledgement, and inside nothing
        ([(1, 1)], 0),
        ([(1, 0)], 0),
        ([(4, 5), (3, 6)], 1),
        ([(3, 5), (3, 6)], 1),
        ([(4, 6), (3, 6)], 1),
        ([(3, 6), (3, 6)], 1),
        ([(3, 7), (3, 6)], 0),
        ([(4, 5), (7, 8)], 0),  # two blocks as usual
        ([(7, 8), (4, 5)], 0),
        ([(9, 11), (8, 12)], 0),  # never sent
        ([(0, 1), (4, 5)], 1),  # the first alone can be one
        ([(4, 5), (0, 1)], 0),
    ],
)
def test_what_is_a_duplicate_report(blocks: list[tuple[int, int]], dsacks: int) -> None:
    """RFC 2883 §4, all in segments; two are acknowledged."""
    peer, una = sender()
    peer.send("A", ack=una + 2 * MSS, blocks=[(una + left * MSS, una + right * MSS) for left, right in blocks])
    assert peer.connection.info().dsacks == dsacks


@pytest.mark.parametrize(("below", "dsacks"), [(0, 1), (1, 0)])
def test_a_duplicate_of_what_was_out_long_ago_is_not_believed(below: int, dsacks: int) -> None:
    """As in Linux: no further back than the greatest window and what is out."""
    peer, una = sender()
    tcb = peer.connection._tcb
    left = una - tcb.max_snd_wnd - 10 * MSS - below
    peer.send("A", ack=una, blocks=[(left, left + MSS)])
    assert peer.connection.info().dsacks == dsacks


@pytest.mark.parametrize(
    ("probe", "segment", "mult"),
    [(True, 9, 1), (True, 8, 2), (False, 9, 2)],
)
def test_a_duplicate_that_the_tail_probe_caused_does_not_widen_the_window(probe: bool, segment: int, mult: int) -> None:
    peer = Peer()
    peer.connect(rtt=0.1)
    peer.connection.write(bytes(10 * MSS), peer.now)
    peer.take()
    if probe:
        assert [seen.seq for seen in peer.next()] == [1 + 9 * MSS]
    peer.send("A", ack=1 + 10 * MSS, blocks=[(1 + segment * MSS, 1 + (segment + 1) * MSS)])
    assert peer.connection._tcb.recovery.rack.reo_mult == mult


def test_the_duplicate_of_a_probe_with_new_data_widens_it() -> None:
    peer = Peer()
    peer.connect(rtt=0.1)
    peer.connection.write(bytes(11 * MSS), peer.now)
    peer.take()
    assert [seen.seq for seen in peer.next()] == [1 + 10 * MSS]
    peer.send("A", ack=1 + 11 * MSS, blocks=[(1 + 10 * MSS, 1 + 11 * MSS)])
    assert peer.connection._tcb.recovery.rack.reo_mult == 2


def test_a_probe_before_the_episode_is_part_of_what_was_sent_again() -> None:
    """Both were needless: the reduction is taken back when the peer has reported both, not before."""
    mss = 1220
    peer = Peer(stamps=False)
    peer.connect(rtt=0.1)
    peer.connection.write(bytes(10 * mss), peer.now)
    peer.take()
    peer.next()  # the tenth again
    peer.send("A", ack=1, blocks=[(1 + mss, 1 + 4 * mss)])
    assert [seen.seq for seen in peer.take()] == [1]
    peer.send("A", ack=1 + 9 * mss, blocks=[(1, 1 + mss)])
    assert peer.connection.info().ca_state == "recovery"
    peer.send("A", ack=1 + 10 * mss, blocks=[(1 + 9 * mss, 1 + 10 * mss)])
    info = peer.connection.info()
    assert (info.ca_state, info.ssthresh) == ("open", math.inf)


# samples --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stamps", [False, True])
def test_the_sample_is_of_the_newest_that_arrived(stamps: bool) -> None:
    peer = Peer(stamps=stamps)
    peer.connect(rtt=0.1)
    peer.connection.set_nodelay(True)
    for _ in range(2):
        peer.connection.write(b"x", peer.now)
        peer.take()
        peer.clock.advance(0.05)
    peer.clock.advance(0.15)
    peer.send("A")
    assert peer.connection.info().srtt == pytest.approx(0.1 + (0.2 - 0.1) / 8)


@pytest.mark.parametrize(
    ("stamps", "echo", "blocks", "sampled"),
    [
        (True, 0, [], True),
        (False, 0, [], False),  # which of the two it answers nobody knows (Karn)
        (True, 5000, [], False),  # an echo of what was never sent
        (True, None, [], False),  # none
        (True, 0, [(0, 1)], False),  # a duplicate's is an old one
    ],
)
def test_a_sample_of_what_was_sent_twice(
    stamps: bool, echo: int | None, blocks: list[tuple[int, int]], sampled: bool
) -> None:
    """RFC 7323 §4: only the timestamp tells."""
    peer, una = sender(stamps=stamps)
    timed_out(peer)
    before = peer.connection.info().srtt
    peer.clock.advance(0.3)
    peer.echo = 0 if echo is None else peer.echo + echo
    mss = MSS if stamps else 1220
    peer.send("A", ack=una + mss, blocks=[(una + left * mss, una + right * mss) for left, right in blocks])
    after = before + (0.3 - before) / 8 if sampled else before
    assert peer.connection.info().srtt == pytest.approx(after, abs=0.0002)


def test_what_was_sent_before_a_timeout_gives_no_sample_after_it() -> None:
    """Its acknowledgement was lost, and this is a later one."""
    peer, una = sender(stamps=False)
    before = peer.connection.info().srtt
    timed_out(peer)
    peer.send("A", ack=una + 3 * 1220)
    assert peer.connection.info().srtt == before


def test_what_is_only_sacked_gives_no_sample_if_it_was_sent_twice() -> None:
    """Its echo is of what came in order before it (RFC 7323 §4.3)."""
    peer, una = sender()
    peer.send("A", ack=una, blocks=[(una + 7 * MSS, una + 10 * MSS)])
    peer.take()
    before = peer.connection.info().srtt
    peer.clock.advance(0.3)
    peer.send("A", ack=una, blocks=[(una + MSS, una + 2 * MSS), (una + 7 * MSS, una + 10 * MSS)])
    assert peer.connection.info().srtt == before


@pytest.mark.parametrize(("late", "counts"), [(False, False), (True, True)])
def test_an_echo_tells_rack_which_of_two_transmissions_arrived(late: bool, counts: bool) -> None:
    """RFC 8985 §6.2: the original's answer says nothing about the retransmission."""
    peer, una = sender()
    timed_out(peer)
    again = peer.now
    echo = peer.echo
    peer.clock.advance(0.2)
    peer.echo = echo if late else echo - 100
    peer.send("A", ack=una + MSS)
    assert (peer.connection._tcb.recovery.rack.time == again) is counts


# timeouts -------------------------------------------------------------------------------------------------------


def test_only_progress_ends_the_backoff() -> None:
    """RFC 6298 §5; a duplicate is none, a byte is."""
    peer, una = sender()
    timed_out(peer, 2)
    peer.send("A", ack=una)
    info = peer.connection.info()
    assert (info.retries, info.backoff) == (2, 2)
    peer.send("A", ack=una + 1)
    info = peer.connection.info()
    assert (info.retries, info.backoff) == (0, 0)


def test_a_timeout_lowers_ssthresh_once_and_leaves_one_timer() -> None:
    peer, _ = sender()
    for times in (1, 2):
        timed_out(peer, times)
        info, tcb = peer.connection.info(), peer.connection._tcb
        assert (info.ssthresh, info.cwnd, info.in_flight) == (7 * MSS, MSS, MSS)
        assert tcb.deadline() == tcb.rto_at == pytest.approx(peer.now + info.rto)


def test_a_timeout_forgets_what_duplicates_seemed_to_say() -> None:
    peer, una = sender(sack=False)
    for _ in range(2):
        peer.send("A", ack=una)
    assert peer.connection.info().sacked == 2 * MSS
    timed_out(peer)
    info = peer.connection.info()
    assert (info.sacked, info.lost, info.in_flight) == (0, info.outstanding, MSS)


def test_a_timeout_lets_out_one_segment_beside_what_may_still_arrive() -> None:
    """RFC 8985 §6.3: the first has had a round trip and the reordering window, the second has not."""
    peer = Peer()
    peer.connect(rtt=0.1)
    peer.connection._tcb.settings.tail_loss_probe = False
    for pause in (0.25, 0.0):
        peer.connection.write(bytes(MSS), peer.now)
        peer.take()
        peer.clock.advance(pause)
    (seen,) = timed_out(peer)
    assert (seen.seq, seen.size) == (1, MSS)
    info = peer.connection.info()
    assert (info.lost, info.cwnd, info.in_flight) == (MSS, 2 * MSS, 2 * MSS)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_timeout_that_follows_another_is_doubted_too(times: int) -> None:
    """F-RTO, as in Linux: nothing was acknowledged between them."""
    peer, una = sender(stamps=False)
    timed_out(peer, times)
    peer.send("A", ack=una + 1220)
    peer.take()
    peer.send("A", ack=una + 2 * 1220)
    assert peer.connection.info().ca_state == "open"


def test_a_timeout_while_another_is_repaired_is_not_doubted() -> None:
    peer, una = sender(stamps=False)
    timed_out(peer)
    peer.send("A", ack=una + 1220)
    peer.take()
    timed_out(peer)
    assert not peer.connection._tcb.recovery.frto.is_on


@pytest.mark.parametrize(("segments", "state", "reduced"), [(10, "open", True), (9, "loss", True)])
def test_what_covers_the_whole_flight_does_not_answer_f_rtos_question(segments: int, state: str, reduced: bool) -> None:
    """RFC 5682 §2.1, step 2a: the retransmission may have filled the only hole."""
    peer = Peer(stamps=False)
    peer.connect(rtt=0.1)
    peer.connection.write(bytes(10 * 1220), peer.now)
    peer.take()
    timed_out(peer)
    peer.connection._tcb.recovery.frto.is_on = segments == 10
    peer.send("A", ack=1 + segments * 1220)
    info = peer.connection.info()
    assert (info.ca_state, info.ssthresh < 1e9) == (state, reduced)


# the episode ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "cwnd"), [("acknowledged", 4), ("sacked", 3)])
def test_a_segment_more_leaves_only_where_the_acknowledgement_advances(answer: str, cwnd: int) -> None:
    """RFC 9937 §6, SafeACK: seven of ten are lost, three went again, one of them has arrived."""
    peer, una = sender()
    peer.send("A", ack=una, blocks=[(una + 7 * MSS, una + 10 * MSS)])
    assert [seen.seq for seen in peer.take()] == [una, una + MSS, una + 2 * MSS]
    peer.clock.advance(0.1)
    if answer == "acknowledged":
        peer.send("A", ack=una + MSS, blocks=[(una + 7 * MSS, una + 10 * MSS)])
    else:
        peer.send("A", ack=una, blocks=[(una, una + MSS), (una + 7 * MSS, una + 10 * MSS)])
    assert peer.connection.info().cwnd == cwnd * MSS


def test_nothing_more_leaves_where_a_retransmission_was_lost() -> None:
    """RFC 9937 §6, SafeACK: the first came, the second did not, the third did."""
    peer, una = sender()
    peer.send("A", ack=una, blocks=[(una + 7 * MSS, una + 10 * MSS)])
    peer.take()
    peer.clock.advance(0.1)
    peer.send("A", ack=una + MSS, blocks=[(una + 2 * MSS, una + 3 * MSS), (una + 7 * MSS, una + 10 * MSS)])
    assert peer.connection.info().cwnd == 2 * MSS


def test_recovery_begins_with_what_was_in_flight_before_the_news() -> None:
    """RFC 9937 §6: 12 out and 2 of them sacked, so 7/10 of what arrives from now on leaves, rounded up."""
    peer, una = sender()
    sent = []
    for number in range(2, 6):
        peer.send("A", ack=una, blocks=[(una + MSS, una + number * MSS)])
        sent.append([seen.seq - una for seen in peer.take()])
    assert sent == [[10 * MSS], [11 * MSS], [0], []]
    assert peer.connection.info().cwnd == 8 * MSS + -(-2 * MSS * 7 // 10) - MSS


def test_the_reordering_timer_begins_an_episode_with_one_segment() -> None:
    peer, una = sender()
    peer.send("A", ack=una, blocks=[(una + MSS, una + 2 * MSS)])
    peer.take()
    in_flight = peer.connection.info().in_flight
    (seen,) = peer.next()
    info = peer.connection.info()
    assert (seen.seq, info.ca_state) == (una, "recovery")
    assert (info.cwnd, info.in_flight, info.ssthresh) == (in_flight, in_flight, 7 * MSS)


def test_an_episode_ends_at_ssthresh_when_all_that_was_out_is_acknowledged() -> None:
    peer, una = sender()
    rack = peer.connection._tcb.recovery.rack
    rack.duplicate_reported(una, una)
    rack._persist = 1
    peer.send("A", ack=una, blocks=[(una + 7 * MSS, una + 10 * MSS)])
    peer.take()
    peer.clock.advance(0.1)
    peer.send("A", ack=una + 10 * MSS - 1)
    assert (peer.connection.info().ca_state, rack.reo_mult) == ("recovery", 2)
    peer.send("A", ack=una + 10 * MSS)
    info = peer.connection.info()
    assert (info.ca_state, info.cwnd, info.ssthresh, rack.reo_mult) == ("open", 7 * MSS, 7 * MSS, 1)


def test_without_sack_the_next_episode_begins_beyond_the_first() -> None:
    """RFC 6582 §3.2, step 2: more than `recover` is acknowledged."""
    peer, una = sender(sack=False)
    for _ in range(3):
        peer.send("A", ack=una)
    peer.take()
    high = peer.connection._tcb.recovery.high_seq - peer.connection._tcb.iss
    peer.send("A", ack=high)
    peer.take()
    for ack, recovers in ((high, False), (high + 1, True)):
        for _ in range(3):
            peer.send("A", ack=ack)
        peer.send("A", ack=ack)
        assert (peer.connection.info().ca_state == "recovery") is recovers


def test_without_sack_a_segment_of_its_own_is_named_whole() -> None:
    peer = Peer(sack=False)
    peer.connect(rtt=0.1)
    peer.send("A")  # the window with its scale
    for _ in range(5):
        peer.connection.write(bytes(MSS), peer.now)
        peer.take()
    for _ in range(3):
        peer.send("A", ack=1)
    board = peer.connection._tcb.scoreboard
    assert [(sent.start < sent.end, sent.lost) for sent in board.segments] == [(True, True)] + [(True, False)] * 4


# windows and timers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "grows"), [(3, False), (4, True)])
def test_where_segments_overtake_each_other_sacks_are_progress(width: int, grows: bool) -> None:
    """As in Linux: once the reordering seen is above three segments."""
    peer, una = sender()
    before = peer.connection.info().cwnd
    peer.connection._tcb.recovery.rack.note_reordering(width * MSS)
    peer.send("A", ack=una, blocks=[(una + MSS, una + 2 * MSS)])
    assert peer.connection.info().cwnd == before + (MSS if grows else 0)


def test_each_progress_starts_the_timer_anew_and_the_last_stops_it() -> None:
    peer, una = sender()
    tcb = peer.connection._tcb
    peer.connection._tcb.send_buffer.end = tcb.snd_nxt  # nothing more to send
    peer.clock.advance(0.05)
    before = tcb.rto_at
    peer.send("A", ack=una)
    assert tcb.rto_at == before
    peer.send("A", ack=una + 1)
    assert tcb.rto_at == peer.now + tcb.rtt.rto
    peer.send("A", ack=una + 10 * MSS)
    assert tcb.deadline() == math.inf


def test_no_probe_of_the_tail_where_sacks_show_it() -> None:
    """RFC 8985 §7.2; nor without SACK, nor in an episode."""
    peer, una = sender()
    tcb = peer.connection._tcb
    assert tcb.tail_at < math.inf
    peer.send("A", ack=una, blocks=[(una + MSS, una + 2 * MSS)])
    assert tcb.tail_at == math.inf
    peer.send("A", ack=una + 2 * MSS)
    assert tcb.tail_at < math.inf
    peer, una = sender()
    peer.send("A", ack=una, blocks=[(una + 7 * MSS, una + 10 * MSS)])
    peer.take()
    peer.send("A", ack=una + 9 * MSS)
    info = peer.connection.info()
    assert (info.ca_state, info.sacked, peer.connection._tcb.tail_at) == ("recovery", MSS, math.inf)
    assert sender(sack=False)[0].connection._tcb.tail_at == math.inf


@pytest.mark.parametrize(("size", "seconds"), [(MSS, 1.0), (MSS + 1, 0.802)])
def test_a_lone_segment_gets_time_for_a_delayed_acknowledgement(size: int, seconds: float) -> None:
    peer = Peer()
    peer.connect(rtt=0.4)
    peer.connection.set_nodelay(True)
    peer.connection.write(bytes(size), peer.now)
    began = peer.now
    peer.take()
    peer.next()
    assert peer.now - began == pytest.approx(seconds)
    assert peer.connection.info().retries == 0


def test_a_probe_is_never_later_than_the_timeout() -> None:
    peer = Peer()
    peer.connect(rtt=0.1)
    peer.connection.write(b"x", peer.now)
    peer.take()
    tcb = peer.connection._tcb
    assert tcb.tail_at == tcb.rto_at == pytest.approx(peer.now + 0.3)


def test_a_segment_with_data_does_not_answer_the_probe() -> None:
    """RFC 8985 §7.4.2: only a second acknowledgement that says nothing else shows that original and probe arrived."""
    peer = Peer()
    peer.connect(rtt=0.1)
    peer.connection.write(bytes(3 * MSS), peer.now)
    peer.take()
    peer.next()
    peer.send("A")
    assert peer.connection._tcb.recovery.tlp.is_out
    peer.send("PA", payload=b"x", blocks=[(1 + 5 * MSS, 1 + 6 * MSS)])
    assert peer.connection._tcb.recovery.tlp.is_out
    peer.send("A")
    assert not peer.connection._tcb.recovery.tlp.is_out
    assert peer.connection.info().ssthresh == math.inf


@pytest.mark.parametrize("stamps", [True, False])
def test_the_duplicate_of_a_probe_counts_when_nothing_is_out_any_more(stamps: bool) -> None:
    """Else what is sent next would seem to show that the probe had repaired a loss."""
    mss = MSS if stamps else 1220
    peer = Peer(stamps=stamps)
    peer.connect(rtt=0.1)
    peer.connection.write(bytes(3 * mss), peer.now)
    peer.take()
    peer.next()
    peer.send("A")
    peer.send("A", blocks=[(1 + 2 * mss, 1 + 3 * mss)])
    peer.connection.write(b"more", peer.now)
    peer.take()
    peer.clock.advance(0.1)
    peer.send("A")
    assert peer.connection.info().ssthresh == math.inf


def test_a_probe_that_was_answered_is_no_part_of_a_later_episode() -> None:
    """What that one sent again is all that has to be reported for it to be taken back."""
    mss = 1220
    peer = Peer(stamps=False)
    peer.connect(rtt=0.1)
    peer.connection.write(bytes(mss), peer.now)
    peer.take()
    peer.next()
    peer.send("A", blocks=[(1, 1 + mss)])
    peer.connection.write(bytes(10 * mss), peer.now)
    una = peer.take()[0].seq
    peer.send("A", ack=una, blocks=[(una + mss, una + 9 * mss)])
    assert [seen.seq for seen in peer.take()] == [una]
    peer.send("A", ack=una + 9 * mss, blocks=[(una, una + mss)])
    info = peer.connection.info()
    assert (info.ca_state, info.ssthresh) == ("open", math.inf)


@pytest.mark.parametrize("data", [b"", b"x"])
def test_a_sack_after_a_timeout_shows_that_it_was_real(data: bytes) -> None:
    """RFC 5682 §3.1, step 3a: new data arrived before what was lost; the segment may carry data of its own."""
    peer, una = sender(stamps=False)
    timed_out(peer)
    peer.send("A", ack=una + 1220)
    new = peer.take()
    peer.send("PA", ack=una + 1220, payload=data, blocks=[(new[0].seq, new[0].seq + 1220)])
    assert una + 1220 in [seen.seq for seen in peer.take()]
