"""The lazy heap beside a plain `min`: early perhaps, late never."""

from __future__ import annotations

import math
import random

import pytest

from tsnet.wireguard.alarms import Alarms


class Clock:
    """An owner whose deadline the test sets."""

    def __init__(self) -> None:
        self.at = math.inf
        self.armed_at = math.inf
        self.rung: list[float] = []

    def deadline(self) -> float:
        return self.at

    def ring(self, now: float) -> None:
        self.rung.append(now)
        self.at = math.inf


def test_without_owners_never() -> None:
    assert Alarms[Clock]().deadline() == math.inf


def test_who_is_due_is_called_and_nobody_else() -> None:
    alarms, clocks = Alarms[Clock](), [Clock(), Clock(), Clock()]
    for clock, at in zip(clocks, (3.0, 1.0, math.inf), strict=True):
        clock.at = at
        alarms.arm(clock)
    assert alarms.deadline() == 1.0
    alarms.run_due(2.0, lambda clock: clock.ring(2.0))
    assert [clock.rung for clock in clocks] == [[], [2.0], []]
    assert alarms.deadline() == 3.0


def test_a_deadline_that_moved_out_costs_one_look() -> None:
    alarms, clock = Alarms[Clock](), Clock()
    clock.at = 1.0
    alarms.arm(clock)
    clock.at = 5.0
    alarms.arm(clock)
    assert alarms.deadline() == 1.0
    alarms.run_due(1.0, lambda clock: clock.ring(1.0))
    assert clock.rung == []
    assert alarms.deadline() == 5.0


def test_a_deadline_that_moved_in_supersedes_the_old_entry() -> None:
    alarms, clock = Alarms[Clock](), Clock()
    for at in (5.0, 3.0, 1.0):
        clock.at = at
        alarms.arm(clock)
    alarms.run_due(1.0, lambda clock: clock.ring(1.0))
    alarms.run_due(9.0, lambda clock: clock.ring(9.0))
    assert clock.rung == [1.0]
    assert alarms.deadline() == math.inf


def test_who_has_left_is_not_called() -> None:
    alarms, clock = Alarms[Clock](), Clock()
    clock.at = 1.0
    alarms.arm(clock)
    alarms.disarm(clock)
    assert alarms.deadline() == math.inf
    alarms.run_due(2.0, lambda clock: clock.ring(2.0))
    assert clock.rung == []


@pytest.mark.parametrize("seed", range(20))
def test_early_perhaps_late_never(seed: int) -> None:
    chance = random.Random(seed)
    alarms, clocks, now = Alarms[Clock](), [Clock() for _ in range(20)], 0.0
    for _ in range(2000):
        clock = chance.choice(clocks)
        clock.at = now + chance.choice([0.0, 0.1, 0.3, 5.0, 5.0, 10.0, math.inf])
        alarms.arm(clock)
        assert alarms.deadline() <= min(c.at for c in clocks)
        if chance.random() < 0.3:
            now += chance.random()
            due = {id(c) for c in clocks if c.at <= now}
            called: set[int] = set()

            def ring(clock: Clock, now: float = now, called: set[int] = called) -> None:
                called.add(id(clock))
                clock.ring(now)

            alarms.run_due(now, ring)
            assert called == due
            assert alarms.deadline() > now
    assert len(alarms) < 10 * len(clocks)
