"""Writes by a worker: in order, the newest wins, everybody is told, and a store that hangs holds nobody up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from tsnet.edge.io.saver import MAX_UNANSWERED, Done, Saver
from tsnet.edge.io.store import MemoryStore
from tsnet.errors import Error, StateError

PATIENCE = 10.0


class Gated(MemoryStore):
    """Its writes wait for `gate`, and are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.begun, self.closed = threading.Event(), threading.Semaphore(0), threading.Event()
        self.written: list[tuple[str, bytes]] = []
        self.threads: set[int] = set()
        self.failure: BaseException | None = None
        self.writing = 0

    def write(self, key: str, value: bytes) -> None:
        self.writing += 1
        assert self.writing == 1
        assert not self.closed.is_set()
        self.threads.add(threading.get_ident())
        self.begun.release()
        assert self.gate.wait(PATIENCE)
        self.writing -= 1
        if self.failure is not None:
            raise self.failure
        self.written.append((key, value))

    def close(self) -> None:
        assert self.writing == 0
        assert not self.closed.is_set()
        self.closed.set()


class NodeThread:
    """The thread of the test as a node's: functions from any thread run here, when the test says so."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []
        self._called = threading.Condition()
        self.told: list[tuple[str, Error | None]] = []

    def call_soon(self, function: Callable[[], None]) -> None:
        with self._called:
            self._calls.append(function)
            self._called.notify()

    def step(self) -> None:
        with self._called:
            assert self._called.wait_for(lambda: self._calls, PATIENCE)
            calls, self._calls = self._calls, []
        for function in calls:
            function()

    def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self.step()

    def note(self, name: str) -> Done:
        return lambda error: self.told.append((name, error))


@pytest.fixture
def node() -> NodeThread:
    return NodeThread()


@pytest.fixture
def store() -> Iterator[Gated]:
    store = Gated()
    yield store
    store.gate.set()
    for thread in threading.enumerate():
        if thread.name == "tsnet-saver":
            thread.join(PATIENCE)


@pytest.fixture
def saver(store: Gated, node: NodeThread) -> Saver:
    return Saver(store, node.call_soon)


# --- what is written, and who is told ---------------------------------------------------------------------------


def test_a_worker_writes_and_the_nodes_thread_is_told(saver: Saver, store: Gated, node: NodeThread) -> None:
    store.gate.set()
    where: list[int] = []
    saver.save("a", b"1", lambda error: where.append(threading.get_ident()))
    assert not saver.is_idle
    assert where == []
    node.until(lambda: saver.is_idle)
    assert where == [threading.get_ident()]
    assert store.written == [("a", b"1")]
    assert threading.get_ident() not in store.threads


def test_the_newest_of_a_key_is_written_and_all_who_waited_are_told(
    saver: Saver, store: Gated, node: NodeThread
) -> None:
    saver.save("a", b"1", node.note("a1"))
    assert store.begun.acquire(timeout=PATIENCE)  # this one is being written: it does not wait any more
    for key, value in (("a", b"2"), ("b", b"1"), ("a", b"3"), ("b", b"2"), ("a", b"4")):
        saver.save(key, value, node.note(key + value.decode()))
    assert node.told == []
    store.gate.set()
    node.until(lambda: saver.is_idle)
    assert store.written == [("a", b"1"), ("a", b"4"), ("b", b"2")]
    assert [name for name, error in node.told if error is None] == ["a1", "a2", "a3", "a4", "b1", "b2"]


def test_one_write_at_a_time_and_none_is_lost(saver: Saver, store: Gated, node: NodeThread) -> None:
    store.gate.set()
    for number in range(500):
        saver.save(f"k{number % 7}", b"%d" % number, node.note(str(number)))
        if number % 10 == 0:
            node.until(lambda: saver.is_idle)
    node.until(lambda: saver.is_idle)
    assert sorted(int(name) for name, _ in node.told) == list(range(500))
    assert not [error for _, error in node.told if error is not None]
    assert dict(store.written) == {f"k{number % 7}": b"%d" % number for number in range(493, 500)}


def test_between_writes_there_is_no_thread(saver: Saver, store: Gated, node: NodeThread) -> None:
    store.gate.set()
    for _ in range(3):
        saver.save("a", b"1", node.note("a"))
        node.until(lambda: saver.is_idle)
        assert saver._worker is None


def test_whoever_is_told_may_save_again(saver: Saver, store: Gated, node: NodeThread) -> None:
    store.gate.set()
    saver.save("a", b"1", lambda error: saver.save("a", b"2", node.note("again")))
    node.until(lambda: saver.is_idle)
    assert node.told == [("again", None)]
    assert store.written == [("a", b"1"), ("a", b"2")]


def test_one_who_fails_when_told_does_not_keep_it_from_the_others(saver: Saver, store: Gated, node: NodeThread) -> None:
    def fail(error: Error | None) -> None:
        raise ZeroDivisionError

    saver.save("b", b"", node.note("b"))
    assert store.begun.acquire(timeout=PATIENCE)
    saver.save("a", b"1", fail)
    saver.save("a", b"2", node.note("a"))
    store.gate.set()
    while not saver.is_idle:
        node._calls, calls = [], node._calls
        for call in calls:
            try:
                call()
            except ZeroDivisionError:
                node.told.append(("failed", None))
    assert node.told == [("b", None), ("failed", None), ("a", None)]


# --- failures ---------------------------------------------------------------------------------------------------


def test_a_failure_is_told_to_all_who_waited_and_the_next_write_is_tried(
    saver: Saver, store: Gated, node: NodeThread
) -> None:
    saver.save("b", b"", node.note("b"))
    assert store.begun.acquire(timeout=PATIENCE)
    saver.save("a", b"1", node.note("a1"))
    saver.save("a", b"2", node.note("a2"))
    store.failure = StateError("the disk is full")
    store.gate.set()
    node.until(lambda: saver.is_idle)
    assert [(name, str(error)) for name, error in node.told] == [
        (name, "the disk is full") for name in ("b", "a1", "a2")
    ]
    store.failure = None
    saver.save("a", b"3", node.note("a3"))
    node.until(lambda: saver.is_idle)
    assert node.told[-1] == ("a3", None)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (KeyError("privkey:secret"), "KeyError"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (SystemExit("privkey:secret"), "SystemExit"),
    ],
)
def test_whatever_an_applications_store_raises_is_a_state_error_without_its_text(
    saver: Saver, store: Gated, node: NodeThread, failure: BaseException, reason: str
) -> None:
    """A database's error may quote the row, which holds the keys; and frames of a traceback hold the value."""
    store.failure = failure
    store.gate.set()
    saver.save("a", b"privkey:secret", node.note("a"))
    node.until(lambda: saver.is_idle)
    error = node.told[0][1]
    assert isinstance(error, StateError)
    assert str(error) == f"a is not saved: the Gated failed: {reason}"
    assert (error.__traceback__, error.__cause__) == (None, None)


def test_the_traceback_of_a_state_error_is_dropped_too(saver: Saver, store: Gated, node: NodeThread) -> None:
    store.failure = StateError("no")
    store.gate.set()
    saver.save("a", b"privkey:secret", node.note("a"))
    node.until(lambda: saver.is_idle)
    assert node.told == [("a", store.failure)]
    assert store.failure.__traceback__ is None


@pytest.mark.parametrize("refusal", [RuntimeError("can't start new thread"), MemoryError()], ids=repr)
def test_where_no_thread_can_be_had_the_nodes_own_one_writes(
    saver: Saver, store: Gated, node: NodeThread, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise refusal

    store.gate.set()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        saver.save("a", b"1", node.note("a1"))
        assert (store.written, store.threads) == ([("a", b"1")], {threading.get_ident()})
        assert node.told == []
        node.step()
    assert node.told == [("a1", None)]
    assert saver.is_idle
    saver.save("a", b"2", node.note("a2"))
    node.until(lambda: saver.is_idle)
    assert (node.told[-1], store.written[-1]) == (("a2", None), ("a", b"2"))
    assert len(store.threads) == 2


def test_an_interrupt_while_the_thread_starts_is_no_end(
    saver: Saver, store: Gated, node: NodeThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node's thread may be the program's own, where Ctrl-C is raised: before, or just after, the worker runs."""
    start = threading.Thread.start
    store.gate.set()
    for has_begun in (False, True):

        def interrupted(self: threading.Thread, has_begun: bool = has_begun) -> None:
            if has_begun:
                start(self)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                saver.save("a", b"1", node.note("a1"))
        saver.save("a", b"2", node.note("a2"))
        node.until(lambda: saver.is_idle)
        assert store.written[-1] == ("a", b"2")


def test_a_worker_that_begins_late_leaves_the_writing_to_the_next(
    saver: Saver, store: Gated, node: NodeThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C hit while the system was still making its thread, and the next `save` has started another."""
    start, late = threading.Thread.start, []

    def interrupted(self: threading.Thread) -> None:
        late.append(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            saver.save("a", b"1", node.note("a1"))
    saver.save("a", b"2", node.note("a2"))
    saver.save("b", b"1", node.note("b1"))
    assert store.begun.acquire(timeout=PATIENCE)
    start(late[0])
    late[0].join(PATIENCE)
    assert not late[0].is_alive()
    assert not store.begun.acquire(blocking=False)
    store.gate.set()
    node.until(lambda: saver.is_idle)
    assert {name for name, error in node.told if error is None} == {"a1", "a2", "b1"}


# --- a store that hangs -----------------------------------------------------------------------------------------


def test_too_many_who_wait_are_turned_away_but_the_newest_value_is_kept(
    saver: Saver, store: Gated, node: NodeThread
) -> None:
    for number in range(MAX_UNANSWERED + 10):
        saver.save("a", b"%d" % number, node.note(str(number)))
    node.until(lambda: len(node.told) == 10)
    assert [int(name) for name, _ in node.told] == list(range(1, 11)), "the older ones"
    assert {str(error) for _, error in node.told} == {"a is not saved: its store has not answered for long"}
    assert len(saver._waiting["a"].told) < MAX_UNANSWERED
    store.gate.set()
    node.until(lambda: saver.is_idle)
    assert store.written[-1] == ("a", b"%d" % (MAX_UNANSWERED + 9))


def test_close_does_not_wait_for_it_and_the_store_is_closed_after_the_last_write(
    saver: Saver, store: Gated, node: NodeThread
) -> None:
    saver.save("a", b"1", node.note("a"))
    saver.save("b", b"1", node.note("b"))
    assert not saver.close()
    assert not saver.close(0.01)
    assert not store.closed.is_set()  # so its lock is kept: nobody else writes there meanwhile
    store.gate.set()
    assert saver.close(PATIENCE)
    assert store.closed.is_set()
    assert store.written == [("a", b"1"), ("b", b"1")]
    node.until(lambda: saver.is_idle)
    assert node.told == [("a", None), ("b", None)]


# --- close ------------------------------------------------------------------------------------------------------


def test_when_idle_it_is_closed_on_return(saver: Saver, store: Gated, node: NodeThread) -> None:
    store.gate.set()
    for number in range(20):
        saver.save("a", b"%d" % number, node.note("a"))
        node.until(lambda: saver.is_idle)
    assert saver.close()
    assert store.closed.is_set()
    assert saver.close()


def test_when_the_last_answer_is_on_its_way_the_worker_has_let_go(store: Gated, node: NodeThread) -> None:
    """Else a `close` right after that answer would leave the store open a moment longer than it says."""
    workers: list[threading.Thread | None] = []

    def call_soon(function: Callable[[], None]) -> None:
        workers.append(watched._worker)
        node.call_soon(function)

    watched = Saver(store, call_soon)
    store.gate.set()
    watched.save("a", b"1", node.note("a"))
    node.until(lambda: watched.is_idle)
    assert workers == [None]


def test_one_that_never_wrote_closes_its_store(saver: Saver, store: Gated) -> None:
    assert saver.close()
    assert store.closed.is_set()


def test_after_close_nothing_is_taken(saver: Saver, store: Gated, node: NodeThread) -> None:
    saver.close()
    saver.save("a", b"1", node.note("a"))
    assert node.told == []
    node.step()
    assert [(name, str(error)) for name, error in node.told] == [("a", "a is not saved: the node was closed")]
    assert saver.is_idle
    assert store.written == []


def test_a_store_that_does_not_close_well_is_reported_without_its_text(
    node: NodeThread, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck(MemoryStore):
        def close(self) -> None:
            raise ValueError("privkey:secret")

    with caplog.at_level(logging.WARNING, "tsnet"):
        assert Saver(Stuck(), node.call_soon).close()
    assert [record.getMessage() for record in caplog.records] == ["the Stuck of this node did not close: ValueError"]


# --- without threads --------------------------------------------------------------------------------------------


def test_a_virtual_world_has_no_threads(store: Gated, node: NodeThread) -> None:
    saver = Saver(store, node.call_soon, in_thread=False)
    store.gate.set()
    saver.save("a", b"1", node.note("a1"))
    assert store.written == [("a", b"1")]
    assert node.told == []  # never from within `save`
    store.failure = StateError("full")
    saver.save("a", b"2", node.note("a2"))
    assert not saver.is_idle
    node.step()
    assert node.told == [("a1", None), ("a2", store.failure)]
    assert store.threads == {threading.get_ident()}
    assert saver.is_idle
    assert saver.close()
    assert store.closed.is_set()
