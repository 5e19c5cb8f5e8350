"""The reactor on real sockets; time is a hand clock wherever a wait must not really last."""

from __future__ import annotations

import math
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.interrupts import interrupted
from tsnet.edge.io import reactor as reactor_module
from tsnet.edge.io.reactor import READ, WRITE, Reactor


class HandClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def reactor(clock: HandClock) -> Iterator[Reactor]:
    reactor = Reactor(clock)
    yield reactor
    reactor.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    yield left, right
    left.close()
    right.close()


Pair = tuple[socket.socket, socket.socket]


# --- sockets ----------------------------------------------------------------------------------------------------


def test_a_readable_socket_calls_back_until_it_is_read(reactor: Reactor, pair: Pair) -> None:
    seen: list[int] = []
    reactor.add(pair[0], READ, seen.append)
    pair[1].send(b"x")
    reactor.wait(math.inf)
    reactor.wait(math.inf)
    assert seen == [READ, READ]
    pair[0].recv(10)
    reactor.wait(0)
    assert len(seen) == 2


def test_interest_can_change(reactor: Reactor, pair: Pair) -> None:
    seen: list[int] = []
    reactor.add(pair[0], READ, seen.append)
    reactor.wait(0)
    assert seen == []
    reactor.change(pair[0], READ | WRITE)
    reactor.wait(math.inf)
    assert seen == [WRITE]
    reactor.change(pair[0], READ)
    reactor.wait(0)
    assert seen == [WRITE]


def test_a_removed_socket_is_silent_and_may_be_removed_again(reactor: Reactor, pair: Pair) -> None:
    reactor.add(pair[0], WRITE, lambda mask: pytest.fail("called after remove"))
    reactor.remove(pair[0])
    reactor.remove(pair[0])
    reactor.wait(0)
    pair[0].close()
    reactor.remove(pair[0])


def test_a_callback_may_remove_a_socket_of_the_same_poll(reactor: Reactor, pair: Pair) -> None:
    seen: list[str] = []

    def first(name: str, other: socket.socket) -> None:
        seen.append(name)
        reactor.remove(other)

    reactor.add(pair[0], WRITE, lambda mask: first("left", pair[1]))
    reactor.add(pair[1], WRITE, lambda mask: first("right", pair[0]))
    reactor.wait(math.inf)
    assert len(seen) == 1


# --- calls ------------------------------------------------------------------------------------------------------


def test_call_soon_runs_in_the_next_wait(reactor: Reactor) -> None:
    seen: list[int] = []
    reactor.call_soon(lambda: seen.append(1))
    reactor.call_soon(lambda: seen.append(2))
    assert seen == []
    reactor.wait(math.inf)
    assert seen == [1, 2]


def test_a_call_that_calls_again_waits_for_the_next_round(reactor: Reactor) -> None:
    seen: list[int] = []

    def again() -> None:
        seen.append(1)
        reactor.call_soon(again)

    reactor.call_soon(again)
    reactor.wait(math.inf)
    assert seen == [1]
    reactor.wait(math.inf)
    assert seen == [1, 1]


def test_call_soon_wakes_a_wait_from_another_thread() -> None:
    reactor = Reactor(time.monotonic)
    seen: list[int] = []
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        while not seen:
            reactor.wait(math.inf)

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait()
    reactor.call_soon(lambda: seen.append(threading.get_ident()))
    thread.join(5)
    assert seen == [thread.ident]
    reactor.close()


def test_no_call_is_lost_between_threads() -> None:
    reactor = Reactor(time.monotonic)
    seen: list[int] = []
    count, threads = 2000, 4

    def call() -> None:
        for number in range(count):
            reactor.call_soon(lambda number=number: seen.append(number))  # type: ignore[misc]

    callers = [threading.Thread(target=call) for _ in range(threads)]
    for caller in callers:
        caller.start()
    while len(seen) < count * threads:
        reactor.wait(math.inf)
    for caller in callers:
        caller.join()
    assert sorted(seen) == sorted(list(range(count)) * threads)
    reactor.close()


def test_many_calls_are_one_wake_up(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[None] = []
    monkeypatch.setattr(reactor._bell, "ring", lambda: rung.append(None))
    for _ in range(1000):
        reactor.call_soon(lambda: None)
    assert len(rung) == 1


def test_a_call_that_raises_leaves_the_others(reactor: Reactor) -> None:
    seen: list[int] = []

    def fail() -> None:
        raise ZeroDivisionError

    reactor.call_soon(fail)
    reactor.call_soon(lambda: seen.append(1))
    with pytest.raises(ZeroDivisionError):
        reactor.wait(math.inf)
    reactor.wait(math.inf)
    assert seen == [1]


# --- timers -----------------------------------------------------------------------------------------------------


def test_timers_run_in_order_when_due(reactor: Reactor, clock: HandClock) -> None:
    seen: list[str] = []
    reactor.call_at(103, lambda: seen.append("later"))
    reactor.call_at(101, lambda: seen.append("soon"))
    reactor.call_at(101, lambda: seen.append("as soon"))
    assert reactor.next_event() == 101
    reactor.wait(0)
    assert seen == []
    clock.now = 102.0
    reactor.wait(math.inf)
    assert seen == ["soon", "as soon"]
    assert reactor.next_event() == 103
    clock.now = 104.0
    reactor.wait(math.inf)
    assert seen[2:] == ["later"]
    assert reactor.next_event() == math.inf


def test_a_cancelled_timer_never_runs(reactor: Reactor, clock: HandClock) -> None:
    timer = reactor.call_at(101, lambda: pytest.fail("cancelled"))
    timer.cancel()
    assert reactor.next_event() == math.inf
    clock.now = 102.0
    reactor.wait(0)


def test_a_timer_may_cancel_the_next_one(reactor: Reactor, clock: HandClock) -> None:
    second = reactor.call_at(102, lambda: pytest.fail("cancelled"))
    reactor.call_at(101, second.cancel)
    clock.now = 103.0
    reactor.wait(0)


def test_wait_ends_after_until_not_before() -> None:
    reactor = Reactor(time.monotonic)
    until = time.monotonic() + 0.005
    reactor.wait(until)
    assert time.monotonic() >= until
    reactor.close()


# --- the descriptor, the end ------------------------------------------------------------------------------------


def test_the_descriptor_is_readable_exactly_when_there_is_work(reactor: Reactor, pair: Pair) -> None:
    def readable() -> bool:
        return bool(select.select([reactor.fileno()], [], [], 0)[0])

    assert not readable()
    reactor.call_soon(lambda: None)
    assert readable()
    reactor.wait(math.inf)
    assert not readable()
    reactor.add(pair[0], READ, lambda mask: None)
    pair[1].send(b"x")
    assert readable()


def test_close_twice_and_calls_afterwards_are_harmless(clock: HandClock) -> None:
    reactor = Reactor(clock)
    reactor.close()
    reactor.close()
    reactor.call_soon(lambda: pytest.fail("called after close"))


@pytest.mark.parametrize("end", [Reactor.close, Reactor.orphan])
def test_after_its_end_nothing_can_be_removed_twice(end: Callable[[Reactor], None], pair: Pair) -> None:
    reactor = Reactor(time.monotonic)
    reactor.add(pair[0], READ, lambda mask: None)
    assert not reactor.is_closed
    end(reactor)
    end(reactor)
    assert reactor.is_closed
    reactor.remove(pair[0])


# --- interrupts -------------------------------------------------------------------------------------------------


def is_awake(reactor: Reactor) -> bool:
    """Whether a `wait` would end at once."""
    return bool(select.select([reactor.fileno()], [], [], 0)[0])


def test_an_interrupted_call_loses_no_wake(clock: HandClock) -> None:
    seen: list[str] = []

    def call(reactor: Reactor) -> None:
        reactor.call_soon(lambda: seen.append("interrupted"))

    for reactor in interrupted(lambda: Reactor(clock), call, reactor_module):
        assert is_awake(reactor) or not reactor._calls
        seen.clear()
        reactor.call_soon(lambda: seen.append("later"))
        assert is_awake(reactor)
        reactor.wait(math.inf)
        assert seen[-1] == "later"
        reactor.close()


class Collecting(Reactor):
    """A reactor in whose lock the collector runs a finalizer that has something to say."""

    finalizers: tuple[Callable[[], None], ...] = ()

    @property
    def _closed(self) -> bool:
        finalizers, self.finalizers = self.finalizers, ()
        for finalizer in finalizers:
            self.call_soon(finalizer)
        return self._is_closed

    @_closed.setter
    def _closed(self, value: bool) -> None:
        self._is_closed = value


def test_a_finalizer_may_call_in_the_middle_of_a_call(clock: HandClock) -> None:
    seen: list[str] = []
    reactor = Collecting(clock)
    reactor.finalizers = (lambda: seen.append("finalizer"),)
    thread = threading.Thread(target=reactor.call_soon, args=(lambda: seen.append("call"),), daemon=True)
    thread.start()
    thread.join(1)
    assert not thread.is_alive()
    reactor.wait(math.inf)
    assert sorted(seen) == ["call", "finalizer"]
    reactor.close()


def test_a_socket_of_which_nothing_is_waited_for_rests(reactor: Reactor, pair: Pair, clock: HandClock) -> None:
    seen: list[int] = []
    reactor.add(pair[0], READ, seen.append)
    pair[1].send(b"x")
    reactor.change(pair[0], 0)
    reactor.change(pair[0], 0)
    reactor.wait(clock.now)
    assert seen == []
    reactor.change(pair[0], READ)
    reactor.wait(clock.now)
    assert seen == [READ]
    reactor.change(pair[0], 0)
    reactor.remove(pair[0])
    reactor.wait(clock.now)
    assert seen == [READ]
