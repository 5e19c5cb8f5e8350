"""HyStart++: longer round trips end the first slow start, jitter does not."""

from __future__ import annotations

import math

from netstack.tcp.congestion import Congestion
from netstack.tcp.hystart import CSS_GROWTH_DIVISOR, CSS_ROUNDS, N_RTT_SAMPLE, HyStart

FLIGHT = 10_000


def play_round(hystart: HyStart, number: int, rtt: float, samples: int = N_RTT_SAMPLE) -> bool:
    """One round's acknowledgements; whether slow start should end."""
    start = number * FLIGHT
    step = FLIGHT // samples
    return any(hystart.sample(rtt, start + index * step, start + FLIGHT) for index in range(samples))


def test_equal_round_trips_change_nothing() -> None:
    hystart = HyStart()
    assert not any(play_round(hystart, number, 0.1) for number in range(20))
    assert hystart.divisor == 1


def test_a_longer_round_trip_slows_down_and_five_rounds_end_it() -> None:
    hystart = HyStart()
    play_round(hystart, 0, 0.1)
    assert not play_round(hystart, 1, 0.12)
    assert hystart.divisor == CSS_GROWTH_DIVISOR
    ended = [play_round(hystart, number, 0.12) for number in range(2, 2 + CSS_ROUNDS)]
    assert ended == [False] * (CSS_ROUNDS - 1) + [True]


def test_a_round_trip_that_falls_again_was_jitter() -> None:
    hystart = HyStart()
    play_round(hystart, 0, 0.1)
    play_round(hystart, 1, 0.12)
    play_round(hystart, 2, 0.1)
    assert hystart.divisor == 1


def test_the_threshold_is_an_eighth_between_4_and_16_ms() -> None:
    for base, rise, slows in ((0.01, 0.0039, False), (0.01, 0.0041, True), (0.4, 0.0159, False), (0.4, 0.0161, True)):
        hystart = HyStart()
        play_round(hystart, 0, base)
        play_round(hystart, 1, base + rise)
        assert (hystart.divisor > 1) is slows


def test_few_samples_say_nothing() -> None:
    hystart = HyStart()
    play_round(hystart, 0, 0.1)
    play_round(hystart, 1, 0.2, samples=N_RTT_SAMPLE - 1)
    assert hystart.divisor == 1


def test_the_window_grows_a_quarter_meanwhile_and_ssthresh_ends_it() -> None:
    congestion = Congestion(1000)
    for number, rtt in enumerate([0.1] + [0.15] * (CSS_ROUNDS + 1)):
        for index in range(N_RTT_SAMPLE):
            congestion.on_rtt(rtt, number * FLIGHT + index * 1000, number * FLIGHT + FLIGHT)
        if number == 1:
            before = congestion.cwnd
            congestion.on_ack(4000, 1.0, rtt)
            assert congestion.cwnd == before + 1000
    assert congestion.ssthresh == congestion.cwnd < math.inf
    assert congestion.hystart.divisor == 1
