from __future__ import annotations

import math

import pytest

from tsnet.edge.run.alarms import Alarms


def test_they_ring_in_order_and_once() -> None:
    alarms, rung = Alarms(), list[str]()
    assert alarms.due() == math.inf
    alarms.at(2.0, lambda: rung.append("second"))
    alarms.at(1.0, lambda: rung.append("first"))
    alarms.at(2.0, lambda: rung.append("third"))
    assert alarms.due() == 1.0
    alarms.ring(0.9)
    assert rung == []
    alarms.ring(2.0)
    alarms.ring(9.0)
    assert rung == ["first", "second", "third"]


def test_a_cancelled_one_is_silent_and_not_waited_for() -> None:
    alarms, rung = Alarms(), list[str]()
    early = alarms.at(1.0, lambda: rung.append("early"))
    alarms.at(2.0, lambda: rung.append("late"))
    early.cancel()
    assert alarms.due() == 2.0
    alarms.ring(3.0)
    assert rung == ["late"]


def test_never_costs_nothing() -> None:
    alarms = Alarms()
    for _ in range(100):
        alarms.at(math.inf, lambda: None)
    assert alarms._heap == []


def test_one_that_raises_keeps_the_others() -> None:
    alarms, rung = Alarms(), list[str]()
    alarms.at(1.0, lambda: 1 / 0)
    alarms.at(1.0, lambda: rung.append("other"))
    with pytest.raises(ZeroDivisionError):
        alarms.ring(1.0)
    alarms.ring(1.0)
    assert rung == ["other"]


def test_one_may_set_another() -> None:
    alarms, rung = Alarms(), list[str]()
    alarms.at(1.0, lambda: alarms.at(1.0, lambda: rung.append("at once")))
    alarms.ring(1.0)
    assert rung == ["at once"]
