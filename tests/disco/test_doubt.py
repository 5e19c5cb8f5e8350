"""Doubt: how long it holds, and that it is longer each time."""

from __future__ import annotations

from tsnet.disco.constants import DOUBT, MAX_DOUBT
from tsnet.disco.doubt import Doubt


def test_it_holds_for_a_while_and_twice_as_long_each_time_up_to_a_limit() -> None:
    doubt, now, lasted = Doubt(), 10.0, list[float]()
    assert not doubt.holds(now)
    for _ in range(9):
        doubt.begin(now)
        began = now
        while doubt.holds(now):
            now += DOUBT
        lasted.append(now - began)
    assert lasted[:3] == [DOUBT, 2 * DOUBT, 4 * DOUBT]
    assert lasted[-2:] == [MAX_DOUBT, MAX_DOUBT]


def test_what_is_forgotten_begins_anew() -> None:
    doubt = Doubt()
    doubt.begin(0.0)
    doubt.begin(0.0)
    doubt.forget()
    assert not doubt.holds(0.0)
    doubt.begin(0.0)
    assert doubt.holds(DOUBT - 1.0)
    assert not doubt.holds(DOUBT)
