from __future__ import annotations

import pytest

from tsnet.base.allowance import BURST, MAX_EARNED, RATE, Allowance, Flood
from tsnet.base.malformed import MalformedError


def test_a_burst_is_let_through_and_then_the_rate() -> None:
    allowance = Allowance(0.0)
    for _ in range(int(BURST)):
        allowance.spend("pings", 0.0)
    for _ in range(int(RATE)):
        allowance.spend("pings", 1.0)
    with pytest.raises(Flood):
        allowance.spend("pings", 1.0)


def test_the_reason_names_what_came_most() -> None:
    allowance = Allowance(0.0, burst=10)
    for _ in range(9):
        allowance.spend("resets", 0.0)
    allowance.spend("pings", 0.0)
    with pytest.raises(MalformedError, match=r"^flood of resets$"):
        allowance.spend("pings", 0.0)
    assert allowance.counts == {"resets": 9, "pings": 2}


def test_a_dear_frame_takes_several_tokens() -> None:
    allowance = Allowance(0.0, burst=10)
    allowance.spend("settings", 0.0, 8)
    with pytest.raises(Flood):
        allowance.spend("settings", 0.0, 3)


def test_what_we_cause_ourselves_is_earned() -> None:
    allowance = Allowance(0.0, burst=2)
    for _ in range(100):
        allowance.earn(1)
        allowance.spend("window updates", 0.0)


def test_what_was_earned_is_used_first_and_bounded() -> None:
    allowance = Allowance(0.0, burst=2)
    allowance.earn(10 * MAX_EARNED)
    for _ in range(int(MAX_EARNED) + 2):
        allowance.spend("window updates", 0.0)
    with pytest.raises(Flood):
        allowance.spend("window updates", 0.0)
