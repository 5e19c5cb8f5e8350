"""Stamps only ever grow: within a tick, under a clock that goes back, over a restart."""

from __future__ import annotations

import itertools
import random

import pytest

from tests.wireguard import vectors
from tsnet.wireguard.tai64n import MARK_AHEAD, STAMP_SIZE, TICK, Timestamps, encode

NOW = 1_700_000_000.123456789


def test_the_computed_stamp() -> None:
    assert Timestamps().next(NOW) == vectors.TIMESTAMP
    assert len(vectors.TIMESTAMP) == STAMP_SIZE


@pytest.mark.parametrize(
    ("unix_nanoseconds", "stamp"),
    [
        (0, "400000000000000a00000000"),
        (1_000_000_000, "400000000000000b00000000"),
        (TICK, "400000000000000a01000000"),
        (TICK - 1, "400000000000000a00000000"),
        (999_999_999, "400000000000000a3b000000"),
    ],
)
def test_layout_and_whitening(unix_nanoseconds: int, stamp: str) -> None:
    assert encode(unix_nanoseconds).hex() == stamp


def test_within_one_tick_each_stamp_is_one_tick_later() -> None:
    timestamps = Timestamps()
    stamps = [timestamps.next(NOW) for _ in range(200)]  # over the end of several seconds
    assert all(later > earlier for earlier, later in itertools.pairwise(stamps))
    assert len({stamp[8:] for stamp in stamps}) == 60  # 1e9 / 2**24, rounded up
    assert int.from_bytes(stamps[-1][:8]) - int.from_bytes(stamps[0][:8]) == 3


@pytest.mark.parametrize("seed", range(10))
def test_no_clock_makes_it_go_back(seed: int) -> None:
    chance = random.Random(seed)
    timestamps, latest, wall = Timestamps(), b"", NOW
    for _ in range(300):
        wall += chance.choice([0.0, 0.001, 0.02, 5.0, -1.0, -3600.0, 3600.0])
        stamp = timestamps.next(wall)
        assert stamp > latest
        latest = stamp


def test_the_mark_is_moved_first_of_all_and_then_every_ten_minutes() -> None:
    timestamps = Timestamps()
    marks = []
    for second in range(3600):
        timestamps.next(NOW + second)
        mark = timestamps.take_mark()
        if mark is not None:
            marks.append((second, mark))
    assert [second for second, _ in marks] == [0, 600, 1200, 1800, 2400, 3000]
    assert all(mark == int(NOW) + second + MARK_AHEAD for second, mark in marks)
    assert timestamps.take_mark() is None


def test_every_stamp_lies_below_the_mark_in_force() -> None:
    timestamps, mark = Timestamps(), 0.0
    for second in range(0, 5000, 7):
        stamp = timestamps.next(NOW + second)
        mark = timestamps.take_mark() or mark
        assert stamp < encode(int(mark) * 1_000_000_000)


@pytest.mark.parametrize("wall", [NOW + 1, NOW - 86_400 * 365, 0.0, NOW + 86_400])
def test_a_restart_goes_on_above_everything_sent_before(wall: float) -> None:
    before = Timestamps()
    latest = [before.next(NOW + second) for second in range(0, 590, 10)][-1]
    mark = before.take_mark()
    after = Timestamps(mark)
    first = after.next(wall)
    assert first > latest
    assert after.next(wall) > first
    assert mark is not None
    assert (after.take_mark() or 0) >= mark


def test_a_mark_with_a_fraction_is_rounded_up() -> None:
    assert Timestamps(1000.5).next(0.0) == encode(1_001_000_000_000)
