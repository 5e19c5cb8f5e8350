"""RFC 6298's arithmetic, by hand."""

from __future__ import annotations

import math

import pytest

from netstack.tcp.rtt import MAX_RTO, RttEstimator


def test_before_any_sample_it_is_a_second() -> None:
    assert RttEstimator().rto == 1.0


def test_the_first_and_the_second_sample() -> None:
    rtt = RttEstimator()
    rtt.sample(0.4, 1.0)
    assert (rtt.srtt, rtt.rttvar) == (0.4, 0.2)
    assert rtt.rto == pytest.approx(0.4 + 4 * 0.2)
    rtt.sample(0.8, 2.0)
    assert rtt.rttvar == pytest.approx(0.2 + (0.4 - 0.2) / 4)
    assert rtt.srtt == pytest.approx(0.45)


def test_a_steady_path_keeps_the_floor() -> None:
    rtt = RttEstimator()
    for step in range(200):
        rtt.sample(0.05, float(step))
    assert rtt.rto == pytest.approx(0.25)


def test_backoff_doubles_up_to_two_minutes_and_ends_with_progress() -> None:
    rtt = RttEstimator()
    rtos = []
    for _ in range(20):
        rtos.append(rtt.rto)
        rtt.timed_out()
    assert rtos[:8] == [1, 2, 4, 8, 16, 32, 64, MAX_RTO]
    assert rtos[-1] == MAX_RTO
    rtt.progressed()
    assert rtt.rto == 1.0


def test_a_lost_syn_without_a_sample_means_three_seconds() -> None:
    rtt = RttEstimator()
    rtt.timed_out()
    rtt.lost_syn()
    assert rtt.rto == 3.0
    rtt = RttEstimator()
    rtt.sample(0.1, 0.0)
    rtt.lost_syn()
    assert rtt.rto < 1


def test_a_fresh_path_has_no_longer_timeout_than_one_without_a_sample_and_no_backoff() -> None:
    rtt = RttEstimator()
    rtt.timed_out()
    assert rtt.fresh_rto == 1.0
    rtt.sample(2.0, 0.0)
    assert (rtt.fresh_rto, rtt.rto) == (1.0, 12.0)
    rtt = RttEstimator()
    rtt.sample(0.1, 0.0)
    assert rtt.fresh_rto == rtt.rto == pytest.approx(0.3)


def test_the_least_is_forgotten_after_five_minutes() -> None:
    rtt = RttEstimator()
    assert rtt.min_rtt == math.inf
    rtt.sample(0.01, 0.0)
    rtt.sample(0.08, 100.0)
    assert rtt.min_rtt == 0.01
    rtt.sample(0.08, 301.0)
    assert rtt.min_rtt == 0.08


def test_a_sample_of_nothing_is_still_a_sample() -> None:
    rtt = RttEstimator()
    rtt.sample(0.0, 0.0)
    assert rtt.srtt > 0
    assert rtt.rto == pytest.approx(0.2, abs=1e-3)


def test_the_least_is_as_old_as_the_last_sample_of_it() -> None:
    rtt = RttEstimator()
    for sample, now, least in (
        (0.01, 0.0, 0.01),
        (0.01, 200.0, 0.01),
        (0.08, 500.0, 0.01),  # five minutes to the second
        (0.08, 500.5, 0.08),
        (0.05, 501.0, 0.05),
    ):
        rtt.sample(sample, now)
        assert rtt.min_rtt == least


def test_the_timeout_has_a_ceiling_before_any_backoff_too() -> None:
    rtt = RttEstimator()
    rtt.sample(100.0, 0.0)
    assert rtt.rto == MAX_RTO == 120


def test_the_backoff_is_counted_up_to_sixteen() -> None:
    rtt = RttEstimator()
    counts = [rtt.backoff]
    for _ in range(18):
        rtt.timed_out()
        counts.append(rtt.backoff)
    assert counts == [*range(17), 16, 16]


def test_four_variances_and_the_samples_own_direction() -> None:
    rtt = RttEstimator()
    rtt.sample(0.8, 0.0)
    rtt.sample(0.4, 1.0)
    assert rtt.rttvar == pytest.approx(0.4)
    assert rtt.srtt == pytest.approx(0.75)
    assert rtt.rto == pytest.approx(0.75 + 4 * 0.4)


@pytest.mark.parametrize("sampled", [False, True])
def test_a_handshake_that_needed_two_syns_ends_the_backoff(sampled: bool) -> None:
    rtt = RttEstimator()
    if sampled:
        rtt.sample(0.1, 0.0)
    rtt.timed_out()
    rtt.lost_syn()
    assert rtt.rto == (pytest.approx(0.3) if sampled else 3.0)
