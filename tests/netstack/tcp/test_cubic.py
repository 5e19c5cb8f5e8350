"""CUBIC: the curve, and what resets it."""

from __future__ import annotations

import itertools

import pytest

from netstack.tcp.cubic import UPDATE_INTERVAL, Cubic

MSS = 1000


def lost_at(segments: float) -> Cubic:
    cubic = Cubic(MSS)
    cubic.cwnd = cubic.ssthresh = segments * MSS
    cubic.on_loss()
    cubic.cwnd = cubic.ssthresh
    return cubic


def grow(cubic: Cubic, rounds: int, rtt: float = 0.1, now: float = 50.0) -> list[float]:
    """The window, in segments, after each round trip."""
    windows = []
    for _ in range(rounds):
        for _ in range(4):
            now += rtt / 4
            cubic.on_ack(cubic.cwnd / 4, now, rtt)
        windows.append(cubic.cwnd / MSS)
    return windows


def test_concave_below_the_last_loss_convex_above() -> None:
    windows = grow(lost_at(1000), 120)
    steps = [later - earlier for earlier, later in itertools.pairwise(windows)]
    plateau = next(index for index, window in enumerate(windows) if window >= 999)
    assert steps[0] > steps[plateau // 2] > steps[plateau - 5]
    assert steps[-1] > steps[plateau]


def test_fast_convergence_gives_room_to_others() -> None:
    cubic = lost_at(1000)
    cubic.on_loss()  # at 700: it had not come back
    assert cubic._w_max == pytest.approx(700 * 1.7 / 2)


def test_after_a_timeout_the_curve_begins_at_its_own_window() -> None:
    cubic = Cubic(MSS)
    cubic.cwnd = 1000.0 * MSS
    cubic.on_timeout(first=True)
    cubic.cwnd = cubic.ssthresh
    assert grow(cubic, 3)[-1] < 705  # towards the old 1000 it would be faster


def test_what_comes_between_two_looks_at_the_curve_counts() -> None:
    often, seldom = lost_at(20), lost_at(20)
    for step in range(1, 2000):
        often.on_ack(500, 50 + step * UPDATE_INTERVAL / 7, 0.1)
        if step % 7 == 0:
            seldom.on_ack(3500, 50 + step * UPDATE_INTERVAL / 7, 0.1)
    assert often.cwnd == pytest.approx(seldom.cwnd, rel=0.1)


def test_idle_time_does_not_move_along_the_curve() -> None:
    cubic = lost_at(1000)
    grow(cubic, 5)
    epoch = cubic._epoch
    cubic.on_idle(30.0, 1.0)
    assert cubic._epoch == pytest.approx(epoch + 30.0)


def test_a_round_adds_half_a_window_at_most() -> None:
    """RFC 9438 §4.2: however far the curve has run ahead meanwhile."""
    cubic = lost_at(20)
    cubic.on_ack(MSS, 50.0, 0.1)
    before = cubic.cwnd
    cubic.on_ack(before, 150.0, 0.1)
    assert cubic.cwnd == pytest.approx(1.5 * before)
