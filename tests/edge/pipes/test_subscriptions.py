from __future__ import annotations

from tsnet.edge.pipes.subscriptions import LIMIT, Subscription


def subscription() -> Subscription:
    return Subscription()


def test_events_in_order() -> None:
    some = subscription()
    for number in range(3):
        some.put(number)
    assert [some.take() for _ in range(4)] == [0, 1, 2, None]


def test_when_nobody_reads_the_oldest_give_way_and_are_counted() -> None:
    some = subscription()
    for number in range(LIMIT + 5):
        some.put(number)
    assert some.missed == 5
    assert some.take() == 5


def test_a_waiter_is_woken_by_an_event_and_by_the_end() -> None:
    some, woken = subscription(), []
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
