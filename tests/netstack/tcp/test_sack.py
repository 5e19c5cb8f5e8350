"""The scoreboard against a byte-by-byte twin."""

from __future__ import annotations

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
