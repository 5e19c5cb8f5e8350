"""The scoreboard against a byte-by-byte twin."""

from __future__ import annotations

import itertools
import random

import pytest

from netstack.tcp.sack import Scoreboard, Sent


class Twin:
    """One entry a byte: what is known of it."""

    def __init__(self) -> None:
        self.sacked: set[int] = set()
        self.lost: set[int] = set()
        self.resent: set[int] = set()


def check(board: Scoreboard, twin: Twin, una: int, nxt: int) -> None:
    at = una
    for sent in board.segments:
        assert sent.start == at < sent.end
        for byte in range(sent.start, sent.end):
            assert (byte in twin.sacked, byte in twin.lost, byte in twin.resent) == (
                sent.sacked,
                sent.lost,
                sent.resent,
            )
        at = sent.end
    assert at == nxt or not board.segments
    assert (board.sacked_out, board.lost_out, board.resent_out) == tuple(
        map(len, (twin.sacked, twin.lost, twin.resent))
    )
    assert board.in_flight == (nxt - una) - len(twin.sacked) - len(twin.lost) + len(twin.resent)
    linked = list(board.by_time())
    assert [sent.sent_time for sent in linked] == sorted(sent.sent_time for sent in linked)
    assert set(linked) == {s for s in board.segments if not s.sacked and (not s.lost or s.resent)}
    assert set(board.to_resend) == {s for s in board.segments if s.lost and not s.resent}


@pytest.mark.parametrize("seed", range(60))
def test_any_history_agrees_with_the_twin(seed: int) -> None:
    chance = random.Random(seed)
    board, twin, una, nxt, now = Scoreboard(), Twin(), 100, 100, 0.0
    for _ in range(120):
        now += 1
        action = chance.choice(["send", "send", "sack", "sack", "ack", "lose", "resend", "all", "unmark"])
        if action == "send":
            size = 10 * chance.randrange(1, 6)
            board.send(nxt, nxt + size, now)
            nxt += size
        elif action == "sack" and nxt > una:
            left = chance.randrange(una, nxt)
            right = chance.randrange(left + 1, nxt + 1)
            board.sack(left, right, 1)
            known = set(range(left, right))
            twin.sacked |= known
            twin.lost -= known
            twin.resent -= known
        elif action == "ack" and nxt > una:
            una = chance.randrange(una, nxt + 1)
            board.acknowledge(una)
            for known in (twin.sacked, twin.lost, twin.resent):
                known -= set(range(una))
        elif action == "lose":
            for sent in list(board.by_time())[: chance.randrange(3)]:
                board.mark_lost(sent)
                twin.lost |= set(range(sent.start, sent.end))
                twin.resent -= set(range(sent.start, sent.end))
        elif action == "resend" and (first := board.first_lost()) is not None:
            if first.end - first.start > 1 and chance.random() < 0.5:
                first = board.split(first, chance.randrange(first.start + 1, first.end))
            board.resend(first, now)
            twin.resent |= set(range(first.start, first.end))
        elif action == "all" and chance.random() < 0.2:
            if una in twin.sacked:
                twin.sacked.clear()
            board.mark_all_lost()
            twin.resent.clear()
            twin.lost = {byte for byte in range(una, nxt) if byte not in twin.sacked}
        elif action == "unmark" and chance.random() < 0.1:
            for sent in board.to_resend:
                twin.lost -= set(range(sent.start, sent.end))
            board.unmark_lost()
            break  # the order of transmission is not kept by this
        check(board, twin, una, nxt)


def send(board: Scoreboard, *sizes: int) -> list[Sent]:
    start = board.segments[-1].end if board.segments else 0
    sent = []
    for number, size in enumerate(sizes):
        sent.append(board.send(start, start + size, float(number)))
        start += size
    return sent


def test_a_super_segment_is_cut_at_whole_segments() -> None:
    board = Scoreboard()
    send(board, 100)
    (delivered,) = board.sack(15, 55, 10)
    assert (delivered.start, delivered.end) == (20, 50)
    assert [(s.start, s.end, s.sacked) for s in board.segments] == [(0, 20, False), (20, 50, True), (50, 100, False)]


def test_a_block_smaller_than_a_segment_says_nothing() -> None:
    board = Scoreboard()
    send(board, 100)
    assert board.sack(11, 19, 10) == []
    assert len(board.segments) == 1


def test_a_block_reported_again_delivers_nothing() -> None:
    board = Scoreboard()
    send(board, 10, 10, 10)
    assert len(board.sack(10, 30, 10)) == 2
    assert board.sack(10, 30, 10) == []
    assert len(board.segments) == 2  # the sacked ones are one


def test_alternating_blocks_do_not_cost_more_than_segments() -> None:
    board = Scoreboard()
    send(board, 10_000)
    for left in range(0, 10_000, 20):
        board.sack(left, left + 10, 10)
    assert len(board.segments) == 1000
    board.sack(0, 10_000, 10)
    assert len(board.segments) == 1


def test_acknowledge_returns_what_was_not_sacked() -> None:
    board = Scoreboard()
    send(board, 10, 10, 10)
    board.sack(10, 20, 10)
    delivered = board.acknowledge(25)
    assert [(s.start, s.end) for s in delivered] == [(0, 10), (20, 25)]
    assert (board.outstanding, board.in_flight) == (5, 5)


def test_a_receiver_that_reneges_is_found_by_the_timeout() -> None:
    board = Scoreboard()
    send(board, 10, 10)
    board.sack(10, 20, 10)
    board.acknowledge(10)
    board.mark_all_lost()
    assert board.sacked_out == 0
    assert (board.lost_out, len(board.to_resend)) == (10, 1)


def test_what_is_delivered_keeps_its_size_when_neighbours_merge() -> None:
    board = Scoreboard()
    send(board, 10, 10, 10)
    board.sack(10, 20, 10)
    (delivered,) = board.sack(20, 30, 10)
    assert (delivered.start, delivered.end) == (20, 30)


@pytest.mark.parametrize("ack", [10, 15, 20])
def test_what_is_acknowledged_is_delivered_whole_and_nothing_empty(ack: int) -> None:
    board = Scoreboard()
    board.send(0, 10, 1.0)
    board.send(10, 20, 1.0)
    delivered = [(sent.start, sent.end) for sent in board.acknowledge(ack)]
    left = [(sent.start, sent.end) for sent in board.segments]
    assert [size for size in delivered + left if size[0] >= size[1]] == []
    assert (delivered[-1][1], left[:1]) == (ack, [(ack, 20)] if ack < 20 else [])


def state(board: Scoreboard) -> str:
    """One letter a segment: sacked, lost, resent, or out."""
    letters = []
    for sent in board.segments:
        letters.append("s" if sent.sacked else "r" if sent.resent else "l" if sent.lost else "o")
        assert not sent.resent or sent.lost
    return "".join(letters)


@pytest.mark.parametrize(
    ("left", "right", "start", "end"),
    [
        (100, 205, 100, 205),
        (99, 206, 100, 205),
        (100, 200, 100, 200),
        (100, 110, 100, 110),
        (95, 119, 100, 110),
        (101, 120, 110, 120),
        (109, 131, 110, 130),
        (110, 120, 110, 120),
        (190, 204, 190, 200),
        (200, 205, 200, 205),  # the last is shorter than a segment
        (195, 205, 200, 205),
        (195, 210, 200, 205),
    ],
)
def test_a_block_takes_the_whole_segments_inside_it(left: int, right: int, start: int, end: int) -> None:
    board = Scoreboard()
    board.send(100, 205, 1.0)
    (delivered,) = board.sack(left, right, 10)
    assert (delivered.start, delivered.end, delivered.sacked) == (start, end, True)
    assert (board.sacked_out, board.in_flight) == (end - start, 105 - (end - start))
    edges = sorted({100, start, end, 205})
    assert [(s.start, s.end, s.sacked) for s in board.segments] == [
        (low, high, (low, high) == (start, end)) for low, high in itertools.pairwise(edges)
    ]


@pytest.mark.parametrize(("left", "right"), [(100, 109), (101, 119), (110, 119), (200, 204), (201, 205), (90, 100)])
def test_a_block_without_a_whole_segment_inside_it_takes_none(left: int, right: int) -> None:
    board = Scoreboard()
    board.send(100, 205, 1.0)
    assert board.sack(left, right, 10) == []
    assert (state(board), board.sacked_out) == ("o", 0)


@pytest.mark.parametrize(
    ("left", "right", "after"),
    [
        (0, 10, "sooo"),
        (10, 20, "osoo"),
        (5, 25, "osoo"),
        (10, 30, "oso"),
        (30, 40, "ooos"),
        (0, 40, "s"),
        (40, 50, "oooo"),
    ],
)
def test_a_block_over_several_transmissions(left: int, right: int, after: str) -> None:
    board = Scoreboard()
    send(board, 10, 10, 10, 10)
    board.sack(left, right, 10)
    assert state(board) == after


@pytest.mark.parametrize("order", list(itertools.permutations([0, 10, 20, 30])))
def test_sacked_neighbours_become_one_in_whatever_order_they_come(order: tuple[int, ...]) -> None:
    board = Scoreboard()
    send(board, 10, 10, 10, 10)
    for left in order:
        board.sack(left, left + 10, 10)
    assert [(s.start, s.end) for s in board.segments] == [(0, 40)]
    assert (board.sacked_out, board.in_flight) == (40, 0)


def test_each_transmission_is_counted_and_the_last_ones_time_kept() -> None:
    board = Scoreboard()
    first, second = send(board, 10, 10)
    assert (first.transmissions, first.sent_time) == (1, 0.0)
    board.again(first, 5.0)
    assert (first.transmissions, first.sent_time) == (2, 5.0)
    assert list(board.by_time()) == [second, first]
    board.mark_lost(second)
    board.resend(second, 6.0)
    assert (second.transmissions, second.sent_time) == (2, 6.0)
    assert list(board.by_time()) == [first, second]
    board.mark_lost(second)
    board.resend(second, 7.0)
    assert second.transmissions == 3


def test_both_parts_of_a_split_keep_the_history() -> None:
    for prepare, after in (("", "oo"), ("l", "ll"), ("lr", "rr")):
        board = Scoreboard()
        (sent,) = send(board, 20)
        if prepare:
            board.mark_lost(sent)
        if "r" in prepare:
            board.resend(sent, 3.0)
        left = board.split(sent, 5)
        assert (state(board), board.segments) == (after, [left, sent])
        assert (left.start, left.end, sent.start, sent.end) == (0, 5, 5, 20)
        assert (left.transmissions, left.sent_time) == (sent.transmissions, sent.sent_time)
        assert board.to_resend == ([left, sent] if after == "ll" else [])
        assert list(board.by_time()) == ([] if after == "ll" else [left, sent])


def test_what_is_lost_waits_in_the_order_of_the_stream() -> None:
    board = Scoreboard()
    sent = send(board, 10, 10, 10)
    for index in (2, 0, 1, 1):  # twice the same is once
        board.mark_lost(sent[index])
    assert (board.to_resend, board.first_lost(), board.lost_out) == (sent, sent[0], 30)
    board.resend(sent[0], 3.0)
    assert (board.first_lost(), board.lost_out, board.resent_out, board.in_flight) == (sent[1], 30, 10, 10)
    board.mark_lost(sent[0])
    assert (board.first_lost(), board.lost_out, board.resent_out, board.in_flight) == (sent[0], 30, 0, 0)


@pytest.mark.parametrize(("sacked", "reneges", "after"), [(10, False, "lsol"), (0, True, "llll")])
def test_a_timeout_loses_the_first_and_what_had_its_time(sacked: int, reneges: bool, after: str) -> None:
    """A head that is sacked but not acknowledged: the receiver has reneged (RFC 2018 §8), and nothing is certain."""
    board = Scoreboard()
    send(board, 10, 10, 10, 10)
    board.sack(sacked, sacked + 10, 10)
    board.mark_lost_where(lambda sent: sent.start == 30)
    assert (state(board), board.sacked_out) == (after, 0 if reneges else 10)
    assert board.lost_out == 10 * after.count("l")


def test_nothing_out_is_nothing_lost() -> None:
    board = Scoreboard()
    board.mark_all_lost()
    assert (board.outstanding, board.in_flight, board.lost_out, board.first_lost(), board.oldest) == (
        0,
        0,
        0,
        None,
        None,
    )


@pytest.mark.parametrize(("size", "sacked"), [(-5, 0), (0, 0), (5, 5), (20, 20), (21, 20), (99, 20)])
def test_what_is_lost_cannot_be_assumed_to_have_arrived(size: int, sacked: int) -> None:
    board = Scoreboard()
    first, *_ = send(board, 10, 10, 10)
    board.mark_lost(first)
    board.assume_sacked(size)
    assert board.sacked_out == sacked


def test_losses_that_were_none_are_on_their_way_again() -> None:
    board = Scoreboard()
    sent = send(board, 10, 10, 10)
    board.mark_lost(sent[0])
    board.mark_lost(sent[1])
    board.resend(sent[0], 3.0)
    board.unmark_lost()
    assert (state(board), board.lost_out, board.resent_out, board.in_flight) == ("roo", 10, 10, 30)
    assert board.to_resend == []
    assert list(board.by_time()) == [sent[2], sent[0], sent[1]]


@pytest.mark.parametrize("fate", ["out", "lost", "resent", "sacked"])
@pytest.mark.parametrize("ack", [9, 10, 15])
def test_an_acknowledgement_settles_whatever_was_known(fate: str, ack: int) -> None:
    board = Scoreboard()
    sent, _ = send(board, 10, 10)
    if fate == "sacked":
        board.sack(0, 10, 10)
    elif fate != "out":
        board.mark_lost(sent)
        if fate == "resent":
            board.resend(sent, 3.0)
    delivered = board.acknowledge(ack)
    assert sum(s.end - s.start for s in delivered) == (ack if fate != "sacked" else max(ack - 10, 0))
    assert not any(s.sacked or s.lost or s.resent for s in delivered)
    left = max(10 - ack, 0)
    lost = left if fate in ("lost", "resent") else 0
    assert (board.sacked_out, board.lost_out) == (left if fate == "sacked" else 0, lost)
    assert board.resent_out == (left if fate == "resent" else 0)
    assert board.outstanding == 20 - ack
