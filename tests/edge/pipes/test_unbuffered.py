from __future__ import annotations

from typing import Any

import pytest

from tests.edge.turns import Turns
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.pipes.unbuffered import UnbufferedPipe
from tsnet.errors import NotUp, StreamReset


class PumpLike:
    """What a UnbufferedPipe asks of a pump: the time, and a turn."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.marks = 0

    def now(self) -> float:
        return self.turns.pair.now

    def mark(self) -> None:
        self.marks += 1


def bridged(turns: Turns) -> tuple[UnbufferedPipe, Pipe, Pipe, list[int]]:
    """(the direct end, its pipe, the other end, one entry for each call of the bridge)."""
    left, right = turns.connected()
    pump: Any = PumpLike(turns)
    direct, calls = UnbufferedPipe(left, pump), []
    direct.on_change(lambda: calls.append(1))
    return direct, left, right, calls


def test_bytes_both_ways_without_the_pipes_buffers() -> None:
    turns = Turns()
    direct, left, right, calls = bridged(turns)
    assert direct.write_some(b"hello") == 5
    turns.settle()
    assert right.take(100) == b"hello"
    right.give(b"answer")
    turns.settle()
    assert calls
    assert not left._inbox
    assert direct.read_available(100) == b"answer"
    assert direct.read_available(100) == b""
    assert (direct.local_address, direct.remote_address) == (left.local, left.remote)


def test_what_had_arrived_and_what_was_given_before_come_first() -> None:
    turns = Turns()
    left, right = turns.connected()
    right.give(b"early ")
    turns.settle()
    left.give(b"first ")
    pump: Any = PumpLike(turns)
    direct = UnbufferedPipe(left, pump)
    direct.on_change(lambda: None)
    assert direct.write_some(b"second") == 0  # not before what was given
    turns.settle()
    assert direct.write_some(b"second") == 6
    right.give(b"late")
    turns.settle()
    assert direct.read_available(100) == b"early "
    assert direct.read_available(100) == b"late"
    turns.settle()
    assert right.take(6) + right.take(100) == b"first second"  # type: ignore[operator]


def test_the_peers_end_comes_after_its_bytes() -> None:
    turns = Turns()
    direct, _, right, _ = bridged(turns)
    right.give(b"bye")
    right.finish()
    turns.settle()
    assert (direct.read_available(100), direct.read_available(100)) == (b"bye", None)


def test_our_end_waits_for_what_the_connection_had_no_room_for() -> None:
    turns = Turns()
    direct, _, right, calls = bridged(turns)
    left_over = bytes(5_000_000)
    while taken := direct.write_some(left_over):
        left_over = left_over[taken:]
    direct.send_eof()
    turns.settle(0.01)
    received = 0
    for _ in range(200):
        while data := right.take(1 << 20):
            received += len(data)
        if data is None:
            break
        if left_over:
            left_over = left_over[direct.write_some(left_over) :]
        turns.settle(0.1)
    assert received == 5_000_000
    assert calls


def test_a_reset_is_raised_after_what_came_before() -> None:
    turns = Turns()
    direct, _, right, _ = bridged(turns)
    right.give(b"last")
    turns.settle()
    right.abort()
    turns.settle()
    assert direct.read_available(100) == b"last"
    for use in (lambda: direct.read_available(1), lambda: direct.write_some(b"x")):
        with pytest.raises(StreamReset):
            use()


def test_close_ends_in_order_and_forgets() -> None:
    turns = Turns()
    direct, left, right, _ = bridged(turns)
    direct.write_some(b"bye")
    direct.close()
    turns.settle()
    assert (right.take(100), right.take(100)) == (b"bye", None)
    assert left.connection not in turns.owners


def test_abort_resets() -> None:
    turns = Turns()
    direct, left, right, _ = bridged(turns)
    direct.abort()
    turns.settle()
    with pytest.raises(StreamReset):
        right.take(1)
    assert left.connection not in turns.owners


def test_the_node_closes_and_the_bridge_is_told() -> None:
    turns = Turns()
    direct, left, right, calls = bridged(turns)
    direct.write_some(b"parting")
    left.end(turns.pair.now)
    turns.settle()
    assert (right.take(100), right.take(100)) == (b"parting", None)
    with pytest.raises(OSError):
        direct.write_some(b"too late")
    before = len(calls)
    left.fail(NotUp("gone"))
    assert len(calls) == before + 1
    with pytest.raises(NotUp):
        direct.read_available(1)
