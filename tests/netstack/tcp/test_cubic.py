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


def test_the_curve_stands_still_while_the_window_is_not_used() -> None:
    """What comes after such a time goes on where the curve was."""
    steady, slow = lost_at(1000), lost_at(1000)
    grow(steady, 10)
    grow(slow, 10)
    for step in range(1, 500):
        slow.stand_still(51.0 + step * 0.1)
    assert slow.cwnd == steady.cwnd
    assert grow(slow, 10, now=51.0 + 49.9)[-1] == pytest.approx(grow(steady, 10, now=51.0)[-1], rel=1e-6)


def test_a_pause_is_not_counted_twice() -> None:
    steady, slow = lost_at(1000), lost_at(1000)
    grow(steady, 10)
    grow(slow, 10)
    slow.on_idle(30.0, 100.0)
    slow.stand_still(51.0 + 30.1)
    assert grow(slow, 10, now=81.1)[-1] == pytest.approx(grow(steady, 10, now=51.0)[-1], rel=1e-6)


def test_before_avoidance_there_is_no_curve_to_stand_still() -> None:
    slow, fresh = lost_at(1000), lost_at(1000)
    slow.stand_still(49.0)
    assert grow(slow, 3) == grow(fresh, 3)


def test_a_window_that_was_long_unused_begins_anew() -> None:
    cubic = lost_at(1000)
    grow(cubic, 50)
    before = cubic.cwnd
    cubic.on_unused()
    assert (cubic.cwnd, cubic._epoch) == (before / 2, 0)


def curve(elapsed: float, w_max: float, start: float) -> float:
    """RFC 9438 §4.2, equations 1 and 2."""
    assert (UPDATE_INTERVAL, Cubic.beta) == (1 / 32, 0.7)
    k: float = ((w_max - start) / 0.4) ** (1 / 3)
    return 0.4 * (elapsed - k) ** 3 + w_max


ALPHA = 3 * 0.3 / 1.7
"""Equation 4's: with it Reno's rate of growth at CUBIC's rate of losses."""


@pytest.mark.parametrize("began", [0.0, 50.0])
def test_windows_by_the_formulas(began: float) -> None:
    """Lost at 1000, so from 700 on; the first acknowledgement begins the epoch, wherever the clock stands."""
    cubic = lost_at(1000)
    cubic.on_ack(70 * MSS, began, 1.0)
    assert cubic.cwnd / MSS == pytest.approx(700 + ALPHA * 70 / 700)  # the curve has not risen: Reno's estimate
    before = cubic.cwnd / MSS
    cubic.on_ack(7 * MSS, began + 1, 1.0)
    target = curve(2, 1000, 700)
    rate = (target - before) / before
    assert cubic.cwnd / MSS == pytest.approx(before + 7 * rate)
    cubic.on_ack(7 * MSS, began + 1 + UPDATE_INTERVAL, 1.0)  # not looked at again yet
    assert cubic.cwnd / MSS == pytest.approx(before + 14 * rate)
    before = cubic.cwnd / MSS
    cubic.on_ack(7 * MSS, began + 2, 1.0)
    assert cubic.cwnd / MSS == pytest.approx(before + 7 * (curve(3, 1000, 700) - before) / before)


def test_renos_estimate_grows_by_alpha_until_it_is_back_and_by_one_then() -> None:
    """RFC 9438 §4.3, a window each 40 ms: the curve is slower than Reno there."""
    cubic, windows = lost_at(20), [14.0]
    for number in range(1, 20):
        cubic.on_ack(cubic.cwnd, 50 + number * 0.04, 0.04)
        windows.append(cubic.cwnd / MSS)
    steps = [later - earlier for earlier, later in itertools.pairwise(windows)]
    assert steps[:12] == pytest.approx([ALPHA] * 12)
    assert windows[11] < 20 < windows[12]
    assert steps[12:] == pytest.approx([1.0] * 7)


def test_a_window_that_is_back_grows_like_renos_at_once() -> None:
    cubic = lost_at(20)
    cubic.cwnd = 20.0 * MSS
    cubic.on_ack(5 * MSS, 50.0, 0.1)
    assert cubic.cwnd / MSS == pytest.approx(20 + 5 / 20)


def test_avoidance_that_no_loss_began_starts_at_its_own_window() -> None:
    cubic = Cubic(MSS)
    cubic.cwnd = cubic.ssthresh = 40.0 * MSS
    cubic.on_ack(4 * MSS, 50.0, 1.0)
    assert cubic.cwnd / MSS == pytest.approx(40 + 4 / 40)
    before = cubic.cwnd / MSS
    cubic.on_ack(4 * MSS, 51.0, 1.0)
    target = curve(2, 40, 40)
    assert 1.5 * before > target > before
    assert cubic.cwnd / MSS == pytest.approx(before + 4 * (target - before) / before)


def test_a_window_ahead_of_the_curve_waits_for_it() -> None:
    cubic = lost_at(1000)
    cubic.on_ack(MSS, 50.0, 1.0)
    cubic.cwnd = 900.0 * MSS
    cubic.on_ack(10 * MSS, 51.0, 1.0)
    assert cubic.cwnd == 900 * MSS


@pytest.mark.parametrize("lost", [1000, 1001])
def test_a_window_that_had_come_back_does_not_give_way(lost: int) -> None:
    cubic = lost_at(1000)
    cubic.cwnd = float(lost * MSS)
    cubic.on_loss()
    assert cubic._w_max == lost


def test_what_was_acknowledged_between_two_looks_counts_for_renos_estimate() -> None:
    cubic = lost_at(20)
    cubic.on_ack(MSS, 50.0, 0.01)
    first = cubic.cwnd / MSS
    for _ in range(10):
        cubic.on_ack(MSS, 50.01, 0.01)
    assert cubic.cwnd / MSS == first
    cubic.on_ack(MSS, 50.04, 0.01)
    assert cubic.cwnd / MSS == pytest.approx(first + 11 * ALPHA / first)


@pytest.mark.parametrize("event", ["idle", "undo", "loss"])
def test_a_new_epoch_begins_with_the_first_acknowledgement_of_avoidance(event: str) -> None:
    """Silence before it does not count, and after an undo or another loss the old one does not."""
    cubic = lost_at(1000)
    if event == "idle":
        cubic.on_idle(30.0, 100.0)
    else:
        grow(cubic, 3, now=10.0)
        if event == "undo":
            cubic.undo(0.0, 0.0)
        else:
            cubic.cwnd = 1000.0 * MSS
            cubic.on_loss()
    cubic.cwnd = cubic.ssthresh = 700.0 * MSS
    cubic.on_ack(MSS, 50.0, 1.0)
    before = cubic.cwnd / MSS
    assert before == pytest.approx(700, abs=0.01)
    cubic.on_ack(MSS, 51.0, 1.0)
    assert cubic.cwnd / MSS == pytest.approx(before + (curve(2, 1000, 700) - before) / before)
