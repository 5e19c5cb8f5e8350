"""The replay window: named cases, sweeps, and random runs beside the obvious twin."""

from __future__ import annotations

import random

import pytest

from tests.wireguard.slow_replay import SlowReplayWindow
from tsnet.wireguard.constants import REJECT_AFTER_MESSAGES
from tsnet.wireguard.replay import SIZE, ReplayWindow

LIMIT = SIZE  # the first distance behind that is refused


def test_the_window_is_as_wide_as_wireguard_gos() -> None:
    assert SIZE >= 8128


# After the kernel's selftest/counter.c, with our width.
CASES = [
    (0, True),
    (1, True),
    (1, False),
    (9, True),
    (8, True),
    (7, True),
    (7, False),
    (LIMIT, True),
    (LIMIT - 1, True),
    (LIMIT - 1, False),
    (LIMIT - 2, True),
    (2, True),
    (2, False),
    (LIMIT + 16, True),
    (3, False),
    (LIMIT + 16, False),
    (LIMIT * 4, True),
    (LIMIT * 4 - (LIMIT - 1), True),
    (10, False),
    (LIMIT * 4 - LIMIT, False),
    (LIMIT * 4 - (LIMIT + 1), False),
    (LIMIT * 4 - (LIMIT - 2), True),
    (LIMIT * 4 + 1 - LIMIT, False),
    (0, False),
    (REJECT_AFTER_MESSAGES, False),
    (REJECT_AFTER_MESSAGES - 1, True),
    (REJECT_AFTER_MESSAGES, False),
    (REJECT_AFTER_MESSAGES - 1, False),
    (REJECT_AFTER_MESSAGES - 2, True),
    (REJECT_AFTER_MESSAGES + 1, False),
    (REJECT_AFTER_MESSAGES + 2, False),
    (2**64 - 1, False),
    (REJECT_AFTER_MESSAGES - 3, True),
    (0, False),
]


def test_named_cases() -> None:
    window, twin = ReplayWindow(), SlowReplayWindow(SIZE)
    for number, (counter, expected) in enumerate(CASES):
        assert window.accept(counter) is expected, f"case {number}: {counter}"
        assert twin.accept(counter) is expected, f"the twin, case {number}: {counter}"


@pytest.mark.parametrize("start", [0, 1, 7])
def test_every_counter_once_forwards(start: int) -> None:
    window = ReplayWindow()
    assert all(window.accept(counter) for counter in range(start, SIZE + start))
    assert not any(window.accept(counter) for counter in range(SIZE + start))


def test_every_counter_once_backwards() -> None:
    window = ReplayWindow()
    assert all(window.accept(counter) for counter in range(SIZE, 0, -1))
    assert not window.accept(0)
    assert not any(window.accept(counter) for counter in range(1, SIZE + 1))


def test_a_leap_empties_the_window() -> None:
    window = ReplayWindow()
    assert window.accept(5)
    assert window.accept(5 + SIZE)
    assert not window.accept(5)
    assert window.accept(6)


def test_a_run_ahead_is_accepted_at_once() -> None:
    window = ReplayWindow()
    assert window.accept_run((0, 1, 2))
    assert window.accept_run((10, 11))
    assert (window.highest, window.seen) == (11, 0b1110_0000_0011)


_LIMIT = REJECT_AFTER_MESSAGES


@pytest.mark.parametrize(
    "counters",
    [(5, 6), (4, 5, 6), (6, 8), (7, 6), (6, 6), (6, 7, 9), (0,), (_LIMIT,), (_LIMIT - 1, _LIMIT)],
)
def test_any_other_run_is_left_to_be_asked_one_by_one(counters: tuple[int, ...]) -> None:
    window = ReplayWindow()
    window.accept(5)
    assert not window.accept_run(counters)
    assert (window.highest, window.seen) == (5, 1)


def test_a_run_longer_than_the_window() -> None:
    window = ReplayWindow()
    assert window.accept_run(tuple(range(SIZE + 100)))
    assert window.seen == (1 << SIZE) - 1
    assert not any(window.accept(counter) for counter in (0, 99, 100, SIZE + 99))


@pytest.mark.parametrize("seed", range(25))
def test_like_the_obvious_twin(seed: int) -> None:
    chance = random.Random(seed)
    size = SIZE
    window, twin = ReplayWindow(), SlowReplayWindow(size)
    at = 0
    for _ in range(150):
        at = max(0, at + chance.choice([1, 1, 1, 3, 40, size - 1, size, size + 1, -2, -50, -size // 2, -size]))
        run = tuple(range(at, at + chance.choice([1, 1, 2, 49])))
        if not window.accept_run(run):
            assert [window.accept(counter) for counter in run] == [twin.accept(counter) for counter in run]
        else:
            assert all(twin.accept(counter) for counter in run)
        at = run[-1]
