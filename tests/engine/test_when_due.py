"""A machine is asked after each call to it and at its deadline, and otherwise left alone."""

from __future__ import annotations

import math

from tsnet.engine.when_due import WhenDue


class Alarm:
    """A machine that is next due when it was told to be."""

    at = math.inf

    def deadline(self) -> float:
        return self.at


def test_it_is_due_at_first_after_each_call_and_when_its_time_comes() -> None:
    alarm = Alarm()
    due = WhenDue(alarm)
    assert due.is_due(-1e9)
    due.rest()
    assert due.at == math.inf
    assert not due.is_due(1e9)
    assert due.wake() is alarm
    assert due.is_due(-1e9)
    alarm.at = 5.0
    due.rest()
    assert [due.is_due(now) for now in (4.9, 5.0)] == [False, True]


def test_a_deadline_that_moves_while_nobody_asks_is_not_looked_at() -> None:
    alarm = Alarm()
    due = WhenDue(alarm)
    due.rest()
    alarm.at = 1.0
    assert not due.is_due(2.0)
