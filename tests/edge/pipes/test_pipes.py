from __future__ import annotations

import random
import threading
import weakref
from collections.abc import Callable

import pytest

from tests.edge.turns import Turns
from tests.interrupts import interrupted
from tsnet.edge.pipes import pipes, waiters
from tsnet.edge.pipes.pipes import INBOX_LIMIT, OUTBOX_LIMIT, READ_SIZE, Pipe, stream_error
from tsnet.errors import DialTimeout, HostUnreachable, NotUp, StreamReset


def drain(pipe: Pipe) -> bytes:
    """All that has arrived."""
    found = b""
    while data := pipe.take(1 << 20):
        found += data
    return found


def transfer(turns: Turns, sender: Pipe, receiver: Pipe, payload: bytes, piece: int = 65_536) -> bytes:
    received, at = bytearray(), 0
    for _ in range(10_000):
        while at < len(payload) and (taken := sender.give(payload[at : at + piece])):
            at += taken
        turns.settle(0.05)
        received += drain(receiver)
        if len(received) == len(payload):
            return bytes(received)
    raise AssertionError("it did not arrive")


# --- bytes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_both_ways_at_once_in_order(loss: float) -> None:
    turns = Turns(loss=loss, seed=4)
    left, right = turns.connected()
    payload = random.Random(1).randbytes(400_000)
    left.give(b"hello")
    assert transfer(turns, right, left, payload) == payload
    assert drain(right) == b"hello"


def test_take_gives_at_most_what_is_asked_for() -> None:
    turns = Turns()
    left, right = turns.connected()
    left.give(b"abcdefgh")
    turns.settle()
    assert [right.take(3), right.take(3), right.take(3), right.take(3)] == [b"abc", b"def", b"gh", b""]


def test_nothing_is_no_obstacle() -> None:
    turns = Turns()
    left, right = turns.connected()
    assert left.give(b"") == 0
    left.give(b"after it")
    turns.settle()
    assert right.take(100) == b"after it"


def test_a_full_outbox_takes_nothing_and_says_when_it_does() -> None:
    turns = Turns()
    left, right = turns.connected()
    given = 0
    while taken := left.give(bytes(100_000)):
        given += taken
    assert given == OUTBOX_LIMIT
    assert left.when_writable(turns.wake("writer"))
    turns.settle(0.05)
    assert turns.woken == ["writer"]
    assert left.give(b"more") == 4
    assert not left.when_writable(turns.wake("needless"))
    assert right.take(1) == b"\0"


def test_a_full_inbox_closes_the_window_and_reading_opens_it() -> None:
    turns = Turns()
    left, right = turns.connected()
    payload, at = random.Random(2).randbytes(1024 * 1024) * 12, 0
    for _ in range(100):
        while at < len(payload) and (taken := left.give(payload[at:])):
            at += taken
        turns.settle(0.1)
    assert at < len(payload)  # it is not read, so it is not taken for ever
    assert INBOX_LIMIT <= right._produced - right._consumed < INBOX_LIMIT + READ_SIZE
    received = bytearray(drain(right))
    for _ in range(100):
        while at < len(payload) and (taken := left.give(payload[at:])):
            at += taken
        turns.settle(0.5)
        received += drain(right)
    assert bytes(received) == payload


def test_a_reader_that_empties_the_inbox_while_it_is_found_full_still_asks_for_more() -> None:
    turns = Turns()
    _, right = turns.connected()
    right._produced, right._consumed = INBOX_LIMIT, INBOX_LIMIT  # all was taken between the two looks
    assert right._has_inbox_room()
    right._produced = 2 * INBOX_LIMIT
    assert not right._has_inbox_room()
    assert right._starved


def test_tiny_segments_are_kept_by_the_connection_which_joins_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "MAX_CHUNKS", 8)
    turns = Turns()
    left, right = turns.connected()
    left.connection.set_nodelay(True)
    for number in range(100):
        left.give(b"%02d" % number)
        turns.settle(0.01)
    turns.settle()
    assert len(right._inbox) == 8
    received = b""
    while (data := right.take(100)) or right._starved:
        received += data or b""
        turns.settle(0.01)
    assert received == b"".join(b"%02d" % number for number in range(100))


def test_a_reader_is_woken_once_a_turn() -> None:
    turns = Turns()
    left, right = turns.connected()
    assert right.when_readable(turns.wake("reader"))
    left.give(bytes(30_000))
    turns.settle()
    assert turns.woken == ["reader"]
    assert not right.when_readable(turns.wake("needless"))


# --- ends -------------------------------------------------------------------------------------------------------


def test_half_closed_the_other_half_goes_on() -> None:
    turns = Turns()
    left, right = turns.connected()
    left.give(b"question")
    left.finish()
    turns.settle()
    assert (right.take(100), right.take(100)) == (b"question", None)
    right.give(b"answer")
    turns.settle()
    assert left.take(100) == b"answer"
    right.close()
    turns.settle()
    assert left.take(100) is None


def test_close_delivers_what_was_given_and_leaves_no_owner() -> None:
    turns = Turns()
    left, right = turns.connected()
    payload = bytes(300_000)
    left.give(payload)
    left.close()
    turns.settle(5)
    assert drain(right) == payload
    assert right.take(1) is None
    right.close()
    turns.settle(5)
    assert turns.owners == {}


def test_a_stream_that_has_ended_both_ways_is_forgotten_though_nobody_closes_it() -> None:
    turns = Turns()
    left, right = turns.connected()
    left.finish()
    right.finish()
    turns.settle(5)
    assert turns.owners == {}
    assert (left.take(1), right.take(1)) == (None, None)


def test_a_forgotten_pipe_is_no_leak() -> None:
    turns = Turns()
    left, right = turns.connected()
    left.abort()
    turns.settle()
    gone = weakref.ref(left)
    turns.forgotten.clear()
    del left
    assert gone() is None
    assert right.error is not None


def test_abort_resets_and_both_sides_know_why() -> None:
    turns = Turns()
    left, right = turns.connected()
    right.give(b"unread")
    left.give(b"lost")
    left.abort()
    turns.settle()
    with pytest.raises(StreamReset) as reset:
        drain(right)
    assert reset.value.ended_by == "peer"
    with pytest.raises(StreamReset):
        right.give(b"more")


def test_what_came_before_a_reset_can_still_be_read() -> None:
    turns = Turns()
    left, right = turns.connected()
    left.give(b"last words")
    turns.settle()
    left.abort()
    turns.settle()
    assert right.take(100) == b"last words"
    with pytest.raises(StreamReset):
        right.take(100)


def test_an_end_that_came_before_the_reset_stays_an_end() -> None:
    turns = Turns()
    left, right = turns.connected()
    left.finish()
    turns.settle()
    left.abort()
    turns.settle()
    assert right.take(100) is None
    with pytest.raises(StreamReset):
        right.give(b"too late")


def test_closing_with_data_unread_is_seen_as_a_reset() -> None:
    turns = Turns()
    left, right = turns.connected()
    left.give(bytes(INBOX_LIMIT))
    turns.settle()
    left.give(bytes(INBOX_LIMIT))
    turns.settle()
    right.close()
    turns.settle()
    with pytest.raises(StreamReset):
        drain(left)


def test_close_and_abort_wake_whoever_waits() -> None:
    for end in (Pipe.close, Pipe.abort):
        turns = Turns()
        left, _ = turns.connected()
        while left.give(bytes(OUTBOX_LIMIT)):
            pass
        left.when_readable(turns.wake("reader"))
        left.when_writable(turns.wake("writer"))
        end(left)
        assert turns.woken == ["reader", "writer"]


def test_finish_wakes_the_writer_who_can_give_nothing_more() -> None:
    turns = Turns()
    left, _ = turns.connected()
    while left.give(bytes(OUTBOX_LIMIT)):
        pass
    left.when_writable(turns.wake("writer"))
    left.finish()
    assert turns.woken == ["writer"]


# --- the node's end ---------------------------------------------------------------------------------------------


def test_the_node_closes_what_was_given_is_delivered_and_no_more_is_taken() -> None:
    turns = Turns()
    left, right = turns.connected()
    left.give(b"parting")
    left.when_readable(turns.wake("reader"))
    left.end(turns.pair.now)
    assert turns.woken == ["reader"]
    with pytest.raises(NotUp):
        left.give(b"more")
    turns.settle()
    assert (right.take(100), right.take(100)) == (b"parting", None)


def test_what_is_given_in_the_very_moment_of_the_end_is_lost_and_harms_nobody() -> None:
    turns = Turns()
    left, right = turns.connected()
    left.end(turns.pair.now)
    left._outbox.append(b"from another thread")
    left._request()
    turns.settle()
    assert right.take(100) is None


def test_the_node_is_gone() -> None:
    turns = Turns()
    left, _ = turns.connected()
    left.when_readable(turns.wake("reader"))
    left.fail(NotUp("gone"))
    assert turns.woken == ["reader"]
    for use in (lambda: left.take(1), lambda: left.give(b"x")):
        with pytest.raises(NotUp):
            use()


def test_in_a_forked_child_nobody_is_woken() -> None:
    turns = Turns()
    left, _ = turns.connected()
    left.when_readable(turns.wake("reader"))
    left.orphan(NotUp("the parent's"))
    assert turns.woken == []
    with pytest.raises(NotUp):
        left.take(1)


# --- two threads ------------------------------------------------------------------------------------------------


def test_an_application_in_another_thread() -> None:
    """The node's side runs here; the application gives and takes there, with waits, as fast as it can."""
    turns = Turns()
    left, right = turns.connected()
    payload = random.Random(3).randbytes(4 * 1024 * 1024)
    received = bytearray()

    def write() -> None:
        at = 0
        while at < len(payload):
            at += left.give(payload[at : at + 50_000])
            free = threading.Event()
            if left.when_writable(free.set):
                assert free.wait(10)
        left.finish()

    def read() -> None:
        while (data := right.take(30_000)) is not None:
            received.extend(data)
            news = threading.Event()
            if not data and right.when_readable(news.set):
                assert news.wait(10)

    threads = [threading.Thread(target=write), threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        turns.settle(0.001)
    assert bytes(received) == payload


@pytest.mark.parametrize(
    ("code", "kind", "builtin"),
    [
        ("timeout", DialTimeout, TimeoutError),
        ("unreachable", HostUnreachable, OSError),
        ("aborted", StreamReset, ConnectionResetError),
        ("reset", StreamReset, ConnectionResetError),
        ("anything else", StreamReset, ConnectionResetError),
    ],
)
def test_every_end_has_an_error_that_names_the_peer(code: str, kind: type, builtin: type) -> None:
    error = stream_error(code, ("100.64.0.1", 80))
    assert isinstance(error, kind)
    assert isinstance(error, builtin)
    assert "100.64.0.1:80" in str(error)


# --- interrupts -------------------------------------------------------------------------------------------------


class Both(Turns):
    """A connected pair of pipes."""

    def __init__(self, received: bytes = b"") -> None:
        super().__init__()
        self.left, self.right = self.connected()
        if received:
            self.right.give(received)
            self.settle()


@pytest.mark.parametrize("size", [3, 100])
def test_an_interrupted_take_loses_at_most_what_it_took_and_counts_it(size: int) -> None:
    for both in interrupted(lambda: Both(b"abcdefgh"), lambda both: both.left.take(size), pipes):
        rest = drain(both.left)
        assert rest in (b"abcdefgh", b"abcdefgh"[size:])
        assert both.left._produced == both.left._consumed
        both.right.give(b"more")
        both.settle()
        assert drain(both.left) == b"more"


def test_an_interrupted_take_still_asks_for_what_waits_in_the_connection() -> None:
    def starved() -> Both:
        both = Both(b"all of it")
        both.left._starved = True
        return both

    for both in interrupted(starved, lambda both: both.left.take(100), pipes, waiters):
        both.left.take(100)
        assert both.left.take(100) == b""
        assert both.left in both.scheduled


def test_an_interrupted_give_gives_all_or_nothing_and_is_heard() -> None:
    for both in interrupted(Both, lambda both: both.left.give(b"hello"), pipes, waiters):
        assert both.left in both.scheduled or not both.left._outbox
        both.settle()
        assert drain(both.right) in (b"", b"hello")
        assert both.left.give(bytes(OUTBOX_LIMIT)) == OUTBOX_LIMIT


def test_room_that_an_interrupt_took_comes_back() -> None:
    both = Both()
    both.left.give(b"x")
    both.left._given += OUTBOX_LIMIT  # an interrupt came between the two steps of `give`
    assert both.left.give(b"y") == 0
    assert both.left.when_writable(both.wake("writer"))
    both.settle()
    assert both.woken == ["writer"]
    assert both.left.has_room
    assert both.left.give(bytes(OUTBOX_LIMIT)) == OUTBOX_LIMIT


@pytest.mark.parametrize("end", [Pipe.close, Pipe.finish, Pipe.abort])
def test_an_interrupted_end_ends_all_the_same(end: Callable[[Pipe], None]) -> None:
    for moment, both in enumerate(interrupted(Both, lambda both: end(both.left), pipes, waiters)):
        if moment == 0:  # it had not begun: a second call does it
            end(both.left)
        both.left.when_readable(both.wake("reader"))
        both.settle()
        if end is Pipe.abort:
            with pytest.raises(StreamReset):
                both.right.take(1)
        else:
            assert both.right.take(1) is None
        both.right.close()
        both.settle(60)
        end(both.left)  # once more than needed


# --- a node that is gone ----------------------------------------------------------------------------------------


def test_when_the_node_is_gone_a_bridge_is_called_at_once_and_says_why() -> None:
    both, calls = Both(b"arrived"), []
    both.left.direct = lambda: calls.append(both.left.gone)
    both.left.fail(NotUp("the node is gone"))
    assert calls == [True]
    assert isinstance(both.left.write_error, NotUp)
    assert both.left.take(100) == b"arrived"
    with pytest.raises(NotUp):
        both.left.take(100)
