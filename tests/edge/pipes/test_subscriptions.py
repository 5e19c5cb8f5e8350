from __future__ import annotations

import gc
import weakref

from tests.interrupts import interrupted
from tsnet.edge.pipes import subscriptions, waiters
from tsnet.edge.pipes.subscriptions import LIMIT, Subscription


def test_events_in_order() -> None:
    some = Subscription()
    for number in range(3):
        some.put(number)
    assert [some.take() for _ in range(4)] == [0, 1, 2, None]


def test_when_nobody_reads_the_oldest_give_way_and_are_counted() -> None:
    some = Subscription()
    for number in range(LIMIT + 5):
        some.put(number)
    assert some.missed == 5
    assert some.take() == 5


def test_a_waiter_is_woken_by_an_event_and_by_the_end() -> None:
    some, woken = Subscription(), []
    assert some.when_ready(lambda: woken.append("event"))
    some.put(1)
    assert not some.when_ready(lambda: woken.append("needless"))
    some.take()
    assert some.when_ready(lambda: woken.append("end"))
    some.end()
    assert woken == ["event", "end"]
    assert not some.when_ready(lambda: woken.append("needless"))
    assert (some.take(), some.ended) == (None, True)


def test_close_ends_it_at_once() -> None:
    some = Subscription()
    some.put(1)
    some.close()
    assert some.ended
    assert some.take() is None


def test_what_came_before_the_end_can_be_taken_and_nothing_comes_after_it() -> None:
    some = Subscription()
    some.put(1)
    some.end()
    some.end()
    some.put(2)
    assert (some.take(), some.take(), some.ended) == (1, None, True)


def test_several_readers_each_event_wakes_one_and_the_end_wakes_all() -> None:
    some, woken = Subscription(), []
    for name in ("one", "two", "three"):
        assert some.when_ready(lambda name=name: woken.append(name))  # type: ignore[misc]
    some.put(1)
    assert woken == ["one"]
    some.end()
    assert woken == ["one", "two", "three"]


def test_a_reader_that_gives_up_after_its_wake_hands_it_on() -> None:
    some, woken = Subscription(), []

    def one() -> None:
        woken.append("one")

    some.when_ready(one)
    some.when_ready(lambda: woken.append("two"))
    some.put(1)
    some.forget(one)
    assert woken == ["one", "two"]


def test_close_tells_the_end_to_who_waits() -> None:
    some, woken = Subscription(), []
    some.when_ready(lambda: woken.append("reader"))
    some.close()
    assert (woken, some.ended) == (["reader"], True)


def test_a_dropped_one_is_gone_at_once() -> None:
    some = Subscription()
    some.put(1)
    some.when_ready(lambda: None)
    reference = weakref.ref(some)
    gc.disable()
    try:
        del some
        assert reference() is None
    finally:
        gc.enable()


def test_an_interrupted_wait_uses_up_no_wake() -> None:
    woken: list[str] = []

    def wait(some: Subscription) -> None:
        some.when_ready(lambda: woken.append("first"))

    for some in interrupted(Subscription, wait, subscriptions, waiters):
        woken.clear()
        assert some.when_ready(lambda: woken.append("second"))
        some.put(1)
        some.put(2)
        assert "second" in woken


def test_an_interrupted_close_may_be_said_again() -> None:
    for some in interrupted(Subscription, Subscription.close, subscriptions, waiters):
        some.close()
        assert some.ended
