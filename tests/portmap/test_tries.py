"""When a question is asked again, and when it is given up."""

from __future__ import annotations

import math

from tsnet.portmap.tries import Tries


def test_it_is_asked_as_often_as_there_are_pauses_and_once_more() -> None:
    tries, now, sent = Tries((0.25, 0.5), 2.0, 10.0), 10.0, []
    while not tries.is_over(now):
        if tries.take(now):
            sent.append(now)
        assert tries.deadline() > now
        now = tries.deadline()
    assert sent == [10.0, 10.25, 10.75]
    assert now == 12.0
    assert not tries.take(now)


def test_nothing_is_asked_twice_at_once() -> None:
    tries = Tries((), math.inf, 0.0)
    assert tries.take(0.0)
    assert not tries.take(0.0)
    assert tries.deadline() == math.inf
