"""What is taken for a sleep, and that every room is told of it once."""

from __future__ import annotations

import math

import pytest

from tests.traces import Traced
from tsnet.engine.sleep import SUSPENDED_AFTER, Sleep


class Room:
    def __init__(self) -> None:
        self.told: list[float] = []

    def suspended(self, now: float) -> None:
        self.told.append(now)


@pytest.mark.parametrize(
    ("due", "now", "slept"),
    [
        (105.0, 100.0 + SUSPENDED_AFTER, False),  # no longer than a busy machine may take
        (105.0, 106.0 + SUSPENDED_AFTER, True),
        (200.0, 210.0, False),  # nothing was due before
        (math.inf, 10_000.0, False),
        (-math.inf, 101.0, False),
    ],
)
def test_a_turn_that_is_late(due: float, now: float, slept: bool) -> None:
    rooms = Room(), Room()
    assert Sleep(*rooms, trace=None).late(due, 100.0, now) is slept
    assert [room.told for room in rooms] == [[now] if slept else []] * 2


@pytest.mark.parametrize(
    ("seconds", "slept"), [(0.0, False), (-3600.0, False), (SUSPENDED_AFTER, False), (SUSPENDED_AFTER + 1, True)]
)
def test_a_wall_clock_that_is_ahead(seconds: float, slept: bool) -> None:
    room = Room()
    assert Sleep(room, trace=None).ahead(seconds, 7.0) is slept
    assert room.told == ([7.0] if slept else [])


def test_it_is_traced() -> None:
    traced = Traced()
    Sleep(trace=traced("node")).ahead(60.0, 7.0)
    assert [(event, fields) for _room, event, fields in traced.told] == [("the machine slept", {"for_about": 60.0})]
