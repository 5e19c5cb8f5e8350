"""A token bucket on a hand clock; shares; memory; runs."""

from __future__ import annotations

import pytest

from netstack.limits import FULL, SHARE, Memory, RunLimits, Shares, TokenBucket


def test_a_burst_then_the_rate() -> None:
    bucket = TokenBucket(rate=10, burst=3)
    assert [bucket.take(100.0) for _ in range(5)] == [True, True, True, False, False]
    assert not bucket.take(100.05)
    assert bucket.take(100.15)
    assert not bucket.take(100.15)


def test_it_fills_no_further_than_the_burst() -> None:
    bucket = TokenBucket(rate=10, burst=2)
    bucket.take(0.0)
    assert [bucket.take(1e6) for _ in range(4)] == [True, True, False, False]


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(rate=1, burst=1)
    assert bucket.take(10.0)
    assert not bucket.take(9.0)
    assert not bucket.take(9.5)


def test_memory_is_scarce_from_three_quarters_on() -> None:
    memory = Memory(100)
    seen = []
    for held in (75, 76, 99, 100):
        memory.held = held
        seen.append((memory.is_scarce, memory.is_full))
    assert seen == [(False, False), (True, False), (True, False), (True, True)]


def test_nobody_has_more_than_two_thirds() -> None:
    places = Shares(9)
    assert [places.take("greedy") for _ in range(8)] == [True] * 6 + [False] * 2
    assert [places.take("other") for _ in range(4)] == [True] * 3 + [False]
    assert places.taken == 9
    places.give_back("greedy")
    assert [places.take("third"), places.take("greedy")] == [True, False]


def test_what_is_given_back_in_the_middle_of_a_take_stays_given_back() -> None:
    """As by a finalizer, which the collector may run there."""
    places = Shares(9)
    places.take("first", 2)

    class Late:
        def __hash__(self) -> int:
            if places.of("first"):
                places.give_back("first", 2)
            return 1

    late = Late()
    assert places.take(late)
    assert places.taken == 1
    places.give_back(late)
    assert places.taken == 0


def test_a_share_is_given_whole_or_not_at_all() -> None:
    room = Shares(900)
    assert room.take("one", 599)
    assert not room.take("one", 2)
    assert room.take("one", 1)
    assert not room.take("two", 301)
    room.give_back("one", 600)
    assert room.taken == 0
    assert room.take("two", 600)


def test_what_is_refused_is_counted_by_reason() -> None:
    places = Shares(3)
    assert [places.take(holder) for holder in ("a", "a", "a", "b", "c")] == [True, True, False, True, False]
    assert places.refused == {SHARE: 1, FULL: 1}
    assert (places.refusal("a"), places.refusal("c"), places.of("a"), places.of("c")) == (SHARE, FULL, 2, 0)
    assert places.refused == {SHARE: 1, FULL: 1}  # asking counts nothing


def test_nobody_in_particular_counts_in_the_total_alone() -> None:
    places = Shares(3)
    assert [places.take(None) for _ in range(4)] == [True] * 3 + [False]
    assert places.refused == {FULL: 1}
    places.give_back(None)
    assert places.take("somebody")


def test_the_share_of_one_can_be_said_and_the_total_changed() -> None:
    places = Shares(10, each=2)
    assert [places.take("a") for _ in range(3)] == [True, True, False]
    places = Shares(3)
    assert [places.take("a") for _ in range(3)] == [True, True, False]
    places.total = 6
    assert [places.take("a") for _ in range(3)] == [True, True, False]
    places.total = 1  # what is taken stays taken
    assert (places.taken, places.total, places.each) == (4, 1, 1)
    assert not places.take("b")
    places.give_back("a", 4)
    assert places.take("b")


def test_the_smallest_whole_goes_to_one() -> None:
    assert [Shares(0).take("one"), Shares(1).take("one")] == [True, True]


@pytest.mark.parametrize(
    ("limits", "length", "count"),
    [
        (RunLimits(), 1280, 51),
        (RunLimits(), 1000, 64),
        (RunLimits(overhead=48), 1280, 49),
        (RunLimits(packets=3), 40, 3),
        (RunLimits(size=2559), 1280, 1),
        (RunLimits(size=2560), 1280, 2),
        (RunLimits(size=2560, overhead=1), 1280, 1),
        (RunLimits(packets=0, size=0), 65_535, 1),
    ],
)
def test_packets_of_one_run(limits: RunLimits, length: int, count: int) -> None:
    assert limits.count(length) == count
