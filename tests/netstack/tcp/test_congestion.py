"""Windows grow and shrink as the RFCs say."""

from __future__ import annotations

import math

import pytest

from netstack.tcp.congestion import INITIAL_WINDOW, Congestion
from netstack.tcp.cubic import Cubic
from netstack.tcp.reno import Reno

MSS = 1000
BOTH = pytest.mark.parametrize("kind", [Reno, Cubic])


def grow(congestion: Congestion, seconds: float, rtt: float = 0.1) -> None:
    """Acknowledge a window each round trip."""
    now = 100.0
    while now < 100.0 + seconds:
        for _ in range(10):
            congestion.on_ack(int(congestion.cwnd / 10), now, rtt)
            now += rtt / 10


@BOTH
def test_ten_segments_at_first_and_doubling(kind: type[Congestion]) -> None:
    congestion = kind(MSS)
    assert congestion.cwnd == INITIAL_WINDOW * MSS
    congestion.on_ack(10 * MSS, 100.0, 0.1)
    assert congestion.cwnd == 20 * MSS


@BOTH
def test_slow_start_stops_at_ssthresh(kind: type[Congestion]) -> None:
    congestion = kind(MSS)
    congestion.ssthresh = 15 * MSS
    congestion.on_ack(10 * MSS, 100.0, 0.1)
    assert 15 * MSS <= congestion.cwnd < 16 * MSS


def test_reno_adds_a_segment_a_round_trip() -> None:
    reno = Reno(MSS)
    reno.ssthresh = reno.cwnd = 20.0 * MSS
    grow(reno, 10.0)
    assert reno.cwnd == pytest.approx(120 * MSS, rel=0.05)


@pytest.mark.parametrize(("kind", "beta"), [(Reno, 0.5), (Cubic, 0.7)])
def test_a_loss_multiplies(kind: type[Congestion], beta: float) -> None:
    congestion = kind(MSS)
    congestion.cwnd = 100.0 * MSS
    congestion.on_loss()
    assert congestion.ssthresh == pytest.approx(beta * 100 * MSS)
    assert congestion.cwnd == 100 * MSS  # recovery's affair


@BOTH
def test_never_below_two_segments(kind: type[Congestion]) -> None:
    congestion = kind(MSS)
    congestion.cwnd = float(MSS)
    congestion.on_loss()
    assert congestion.ssthresh == 2 * MSS


@BOTH
def test_a_timeout_leaves_one_segment_and_only_the_first_lowers_ssthresh(kind: type[Congestion]) -> None:
    congestion = kind(MSS)
    congestion.cwnd = 100.0 * MSS
    congestion.on_timeout(first=True)
    ssthresh = congestion.ssthresh
    assert ssthresh == int(kind.beta * 100) * MSS
    congestion.on_timeout(first=False)
    assert (congestion.cwnd, congestion.ssthresh) == (MSS, ssthresh)


def test_cubic_comes_back_to_where_it_lost_after_k_seconds() -> None:
    cubic = Cubic(MSS)
    cubic.cwnd = cubic.ssthresh = 1000.0 * MSS
    cubic.on_loss()
    cubic.cwnd = cubic.ssthresh
    k = math.cbrt(300 / Cubic.C)
    grow(cubic, k / 2)
    half = cubic.cwnd
    assert 700 * MSS < half < 1000 * MSS
    cubic = Cubic(MSS)
    cubic.cwnd = 1000.0 * MSS
    cubic.on_loss()
    cubic.cwnd = cubic.ssthresh
    grow(cubic, k)
    assert cubic.cwnd == pytest.approx(1000 * MSS, rel=0.03)


def test_cubic_is_not_slower_than_reno_on_a_short_path() -> None:
    cubic, reno = Cubic(MSS), Reno(MSS)
    for congestion in (cubic, reno):
        congestion.cwnd = 20.0 * MSS
        congestion.on_loss()
        congestion.cwnd = congestion.ssthresh
    grow(cubic, 5.0, rtt=0.005)
    grow(reno, 5.0, rtt=0.005)
    assert cubic.cwnd > 0.5 * reno.cwnd


def test_cubic_gives_way_when_it_loses_before_it_is_back() -> None:
    cubic = Cubic(MSS)
    cubic.cwnd = 100.0 * MSS
    cubic.on_loss()
    cubic.cwnd = 80.0 * MSS
    cubic.on_loss()
    assert cubic._w_max == pytest.approx(80 * 0.85)


@BOTH
def test_idleness_halves_down_to_the_initial_window(kind: type[Congestion]) -> None:
    congestion = kind(MSS)
    congestion.cwnd = 100.0 * MSS
    congestion.on_idle(0.25, 0.2)
    assert congestion.cwnd == 50 * MSS
    congestion.on_idle(100.0, 0.2)
    assert congestion.cwnd == 10 * MSS
    congestion.cwnd = 3.0 * MSS
    congestion.on_idle(100.0, 0.2)
    assert congestion.cwnd == 3 * MSS


@BOTH
def test_what_is_long_unused_halves_down_to_the_initial_window(kind: type[Congestion]) -> None:
    congestion = kind(MSS)
    for before, after in ((100, 50), (15, 10), (10, 10), (3, 3)):
        congestion.cwnd = float(before * MSS)
        congestion.on_unused()
        assert congestion.cwnd == after * MSS
    assert congestion.ssthresh == math.inf
    congestion.ssthresh, congestion.cwnd = 20.0 * MSS, 100.0 * MSS
    congestion.on_unused()
    assert congestion.ssthresh == 75 * MSS


def test_idleness_does_not_grow_cubic() -> None:
    cubic = Cubic(MSS)
    cubic.cwnd = 100.0 * MSS
    cubic.on_loss()
    cubic.cwnd = cubic.ssthresh
    grow(cubic, 1.0)
    before = cubic.cwnd
    cubic.on_idle(1000.0, 100_000.0)
    cubic.on_ack(MSS, 1101.0, 0.1)
    assert cubic.cwnd < before * 1.05


@BOTH
def test_undo_takes_it_back(kind: type[Congestion]) -> None:
    congestion = kind(MSS)
    congestion.cwnd = 100.0 * MSS
    before = congestion.cwnd, congestion.ssthresh
    congestion.on_timeout(first=True)
    congestion.undo(*before)
    assert (congestion.cwnd, congestion.ssthresh) == before


@BOTH
def test_a_new_mss_keeps_the_bytes(kind: type[Congestion]) -> None:
    congestion = kind(MSS)
    congestion.set_mss(500)
    assert congestion.cwnd == 10 * MSS
    congestion.set_mss(8000)
    assert congestion.cwnd == 16_000


@BOTH
@pytest.mark.parametrize(
    ("idle", "cwnd", "after"),
    [(0.19, 100, 100), (0.2, 100, 50), (0.39, 100, 50), (0.4, 100, 25), (0.8, 100, 10), (1e9, 100, 10), (0.4, 10, 10)],
)
def test_an_idle_window_by_numbers(kind: type[Congestion], idle: float, cwnd: int, after: int) -> None:
    """RFC 2861 §3: half for each RTO; ssthresh remembers three quarters of it."""
    congestion = kind(MSS)
    congestion.cwnd, congestion.ssthresh = float(cwnd * MSS), 30.0 * MSS
    congestion.on_idle(idle, 0.2)
    assert congestion.cwnd == after * MSS
    assert congestion.ssthresh == max(0.75 * cwnd * MSS, 30 * MSS)


@BOTH
def test_an_undo_never_takes_away(kind: type[Congestion]) -> None:
    congestion = kind(MSS)
    congestion.cwnd, congestion.ssthresh = 30.0 * MSS, 40.0 * MSS
    congestion.undo(20.0 * MSS, 50.0 * MSS)
    assert (congestion.cwnd, congestion.ssthresh) == (30 * MSS, 50 * MSS)
    congestion.undo(60.0 * MSS, 45.0 * MSS)
    assert (congestion.cwnd, congestion.ssthresh) == (60 * MSS, 50 * MSS)


@BOTH
@pytest.mark.parametrize(("mss", "cwnd"), [(5000, 10_000), (5001, 10_002)])
def test_a_longer_mss_means_two_of_them_at_least(kind: type[Congestion], mss: int, cwnd: int) -> None:
    congestion = kind(MSS)
    congestion.set_mss(mss)
    assert (congestion.mss, congestion.cwnd) == (mss, cwnd)
    assert congestion.initial_window == 10 * mss


def test_what_is_acknowledged_beyond_ssthresh_counts_for_avoidance() -> None:
    """In conservative slow start, too: there four bytes grow the window by one."""
    for divisor, acked in ((1, 15 * MSS), (4, 30 * MSS)):
        reno = Reno(MSS)
        reno.cwnd, reno.ssthresh, reno.hystart.divisor = 10.0 * MSS, 15.0 * MSS, divisor
        reno.on_ack(acked, 100.0, 0.1)
        assert reno.cwnd == pytest.approx(15 * MSS + MSS * 10 / 15)


@pytest.mark.parametrize(("kind", "cwnd", "segments"), [(Reno, 7, 3), (Reno, 4, 2), (Cubic, 10, 7), (Cubic, 11, 7)])
def test_ssthresh_is_whole_segments(kind: type[Congestion], cwnd: int, segments: int) -> None:
    congestion = kind(MSS)
    congestion.cwnd = float(cwnd * MSS)
    congestion.on_loss()
    assert congestion.ssthresh == segments * MSS


@BOTH
def test_a_loss_ends_conservative_slow_start(kind: type[Congestion]) -> None:
    congestion = kind(MSS)
    congestion.hystart.divisor = 4
    congestion.on_loss()
    congestion.cwnd = 2.0 * MSS
    congestion.on_ack(MSS, 100.0, 0.1)
    assert congestion.cwnd == 3 * MSS


@BOTH
def test_longer_round_trips_after_a_loss_change_nothing(kind: type[Congestion]) -> None:
    """HyStart++ is for the first slow start only (RFC 9406 §4.3)."""
    congestion = kind(MSS)
    congestion.ssthresh = 100.0 * MSS
    for number in range(200):
        congestion.on_rtt(0.1 + number / 100, number * MSS, (number + 10) * MSS)
    assert (congestion.hystart.divisor, congestion.ssthresh) == (1, 100 * MSS)


def test_a_strategy_takes_over_where_the_other_stands() -> None:
    cubic, reno = Cubic(MSS), Reno(MSS)
    cubic.cwnd, cubic.ssthresh, cubic.hystart.divisor = 40.0 * MSS, 50.0 * MSS, 4
    reno.follow(cubic)
    assert (reno.cwnd, reno.ssthresh, reno.hystart.divisor) == (40 * MSS, 50 * MSS, 4)
