"""Stamps only ever grow: within a tick, under a clock that goes back, over a restart; and lie below what is saved."""

from __future__ import annotations

import itertools
import random

import pytest

from tests.wireguard import vectors
from tsnet.wireguard.tai64n import MARK_AHEAD, STAMP_SIZE, TICK, Timestamps, encode

NOW = 1_700_000_000.123456789


def stamp(timestamps: Timestamps, wall: float) -> bytes:
    """As a device with a disk gets it: the mark is saved when it is wanted."""
    found = timestamps.next(wall)
    if found is None:
        timestamps.mark_saved(timestamps.wanted)
        found = timestamps.next(wall)
    assert found is not None
    return found


def test_the_computed_stamp() -> None:
    assert stamp(Timestamps(), NOW) == vectors.TIMESTAMP
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


@pytest.mark.parametrize("mark", [None, NOW - 100, NOW + 100])
def test_there_is_no_stamp_before_a_mark_above_it_is_saved(mark: float | None) -> None:
    timestamps = Timestamps(mark)
    assert timestamps.next(NOW) is timestamps.next(NOW + 1) is None
    wanted = timestamps.wanted
    assert wanted == int(max(NOW, (mark or 0) + 1)) + MARK_AHEAD
    timestamps.mark_saved(NOW - 1)
    assert timestamps.next(NOW) is None
    timestamps.mark_saved(wanted)
    assert timestamps.next(NOW + 2) is not None
    assert timestamps.next(wanted) is None


def test_whether_a_mark_is_lacking_is_known_before_a_stamp_is_wanted() -> None:
    timestamps = Timestamps(NOW - 100)
    assert timestamps.lacks_mark(NOW)
    assert timestamps.wanted < NOW, "to ask changes nothing"
    timestamps.mark_saved(NOW + 10)
    assert not timestamps.lacks_mark(NOW)
    assert timestamps.next(NOW) is not None
    assert timestamps.lacks_mark(NOW + 10)


def test_what_is_not_given_out_moves_nothing() -> None:
    """A clock far ahead that was never sent does not bind the stamps after it was set right."""
    timestamps = Timestamps(NOW)
    timestamps.mark_saved(NOW + 600)
    assert timestamps.next(NOW + 86_400) is None
    assert timestamps.next(NOW + 100) == encode(int((NOW + 100) * 1_000_000_000))


def test_an_earlier_mark_takes_nothing_back() -> None:
    timestamps = Timestamps()
    timestamps.mark_saved(NOW + 600)
    timestamps.mark_saved(NOW - 600)
    assert timestamps.next(NOW) is not None


def test_within_one_tick_each_stamp_is_one_tick_later() -> None:
    timestamps = Timestamps()
    stamps = [stamp(timestamps, NOW) for _ in range(200)]  # over the end of several seconds
    assert all(later > earlier for earlier, later in itertools.pairwise(stamps))
    assert len({found[8:] for found in stamps}) == 60  # 1e9 / 2**24, rounded up
    assert int.from_bytes(stamps[-1][:8]) - int.from_bytes(stamps[0][:8]) == 3


@pytest.mark.parametrize("seed", range(10))
def test_no_clock_makes_it_go_back(seed: int) -> None:
    chance = random.Random(seed)
    timestamps, latest, wall = Timestamps(), b"", NOW
    for _ in range(300):
        wall += chance.choice([0.0, 0.001, 0.02, 5.0, -1.0, -3600.0, 3600.0])
        found = stamp(timestamps, wall)
        assert found > latest
        latest = found


def test_the_mark_is_moved_first_of_all_and_then_every_ten_minutes() -> None:
    timestamps = Timestamps()
    marks: dict[int, int] = {}
    for second in range(3600):
        stamp(timestamps, NOW + second)
        marks.setdefault(timestamps.wanted, second)
    assert list(marks.values()) == [0, 600, 1200, 1800, 2400, 3000]
    assert all(mark == int(NOW) + second + MARK_AHEAD for mark, second in marks.items())


def test_every_stamp_lies_below_the_mark_in_force() -> None:
    timestamps = Timestamps()
    for second in range(0, 5000, 7):
        assert stamp(timestamps, NOW + second) < encode(timestamps.wanted * 1_000_000_000)


@pytest.mark.parametrize("wall", [NOW + 1, NOW - 86_400 * 365, 0.0, NOW + 86_400])
def test_a_restart_goes_on_above_everything_sent_before(wall: float) -> None:
    before = Timestamps()
    latest = [stamp(before, NOW + second) for second in range(0, 590, 10)][-1]
    mark = before.wanted
    after = Timestamps(float(mark))
    first = stamp(after, wall)
    assert first > latest
    assert stamp(after, wall) > first
    assert after.wanted > mark


def test_a_mark_with_a_fraction_is_rounded_up() -> None:
    assert stamp(Timestamps(1000.5), 0.0) == encode(1_001_000_000_000)
