from __future__ import annotations

import math

import pytest

from tsnet.testing.timeline import EPOCH, START, Timeline


def test_time_jumps_to_the_next_event() -> None:
    timeline, seen = Timeline(), []
    timeline.at(START + 5, lambda: seen.append(timeline.now))
    timeline.wait(math.inf)
    assert seen == [START + 5]
    assert timeline.wall == EPOCH + 5


def test_until_comes_first_if_it_is_earlier() -> None:
    timeline = Timeline()
    timeline.at(START + 5, lambda: pytest.fail("too early"))
    timeline.wait(START + 3)
    assert timeline.now == START + 3
    timeline.wait(START)
    assert timeline.now == START + 3


def test_equal_times_run_in_the_order_of_their_coming() -> None:
    timeline, seen = Timeline(), []
    for number in range(10):
        timeline.at(START + 1, lambda number=number: seen.append(number))  # type: ignore[misc]
    timeline.wait(math.inf)
    assert seen == list(range(10))


def test_what_has_passed_runs_at_once_but_not_before_the_next_wait() -> None:
    timeline, seen = Timeline(), []
    timeline.at(START - 5, lambda: seen.append(timeline.now))
    assert seen == []
    timeline.wait(math.inf)
    assert seen == [START]


def test_an_event_that_brings_itself_about_does_not_hold_the_wait() -> None:
    timeline, seen = Timeline(), []

    def again() -> None:
        seen.append(1)
        timeline.at(timeline.now, again)

    timeline.at(START, again)
    timeline.wait(math.inf)
    timeline.wait(math.inf)
    assert seen == [1, 1]


def test_calls_run_before_time_passes() -> None:
    timeline, seen = Timeline(), []
    timeline.at(START + 5, lambda: seen.append("event"))
    timeline.call_soon(lambda: seen.append("call"))
    assert timeline.next_event() == START
    timeline.wait(math.inf)
    assert seen == ["call"]
    assert timeline.next_event() == START + 5


def test_a_world_at_a_standstill_says_so() -> None:
    timeline = Timeline()
    assert timeline.next_event() == math.inf
    with pytest.raises(RuntimeError, match="stands still"):
        timeline.wait(math.inf)


def test_the_trace_tells_kinds_parts_and_times_apart() -> None:
    def trace(*records: tuple[object, ...], at: float = START) -> str:
        timeline = Timeline()
        timeline.now = at
        for record in records:
            timeline.record("kind", *record)
        return timeline.trace

    traces = [trace(), trace((b"ab",)), trace((b"a", b"b")), trace((b"ab",), at=START + 1), trace((b"a",), (b"b",))]
    assert len(set(traces)) == len(traces)
    assert trace((b"ab", 1)) == trace((b"ab", 1))
