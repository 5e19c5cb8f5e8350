"""HyStart++: longer round trips end the first slow start, jitter does not."""

from __future__ import annotations

import math

import pytest

from netstack.tcp.congestion import Congestion
from netstack.tcp.hystart import CSS_GROWTH_DIVISOR, CSS_ROUNDS, N_RTT_SAMPLE, HyStart
from tests.netstack.peer import Peer

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


@pytest.mark.parametrize(
    ("base", "threshold"), [(1 / 64, 0.004), (1 / 32, 0.004), (1 / 16, 1 / 128), (1 / 8, 1 / 64), (1 / 4, 0.016)]
)
def test_exactly_the_threshold_is_enough(base: float, threshold: float) -> None:
    for rtt, slows in ((base + threshold, True), (base + threshold - 1e-9, False)):
        hystart = HyStart()
        play_round(hystart, 0, base)
        play_round(hystart, 1, rtt)
        assert (hystart.divisor > 1) is slows


def test_the_eighth_sample_decides() -> None:
    assert (N_RTT_SAMPLE, CSS_GROWTH_DIVISOR, CSS_ROUNDS) == (8, 4, 5)  # RFC 9406 §4.3
    hystart = HyStart()
    play_round(hystart, 0, 0.1)
    divisors = []
    for index in range(N_RTT_SAMPLE + 1):
        hystart.sample(0.2, FLIGHT + index, 2 * FLIGHT)
        divisors.append(hystart.divisor)
    assert divisors == [1] * (N_RTT_SAMPLE - 1) + [CSS_GROWTH_DIVISOR] * 2


def test_the_least_of_a_round_counts() -> None:
    hystart = HyStart()
    play_round(hystart, 0, 0.1)
    hystart.sample(0.1, FLIGHT, 2 * FLIGHT)
    for _ in range(N_RTT_SAMPLE):
        hystart.sample(0.2, FLIGHT + 1, 2 * FLIGHT)
    assert hystart.divisor == 1


@pytest.mark.parametrize(("acknowledged", "same"), [(FLIGHT - 1, True), (FLIGHT, False)])
def test_a_round_lasts_until_its_flight_is_acknowledged(acknowledged: int, same: bool) -> None:
    hystart = HyStart()
    play_round(hystart, 0, 0.1)  # until FLIGHT
    for index in range(N_RTT_SAMPLE):
        hystart.sample(0.2, acknowledged, 2 * FLIGHT + index)
    assert (hystart.divisor == 1) is same


def test_only_a_fall_below_where_it_began_was_jitter() -> None:
    """RFC 9406 §4.2: the baseline of conservative slow start."""
    hystart = HyStart()
    for number, rtt, divisor in ((0, 0.1, 1), (1, 0.12, 4), (2, 0.12, 4), (3, 0.13, 4), (4, 0.1199, 1)):
        play_round(hystart, number, rtt)
        assert hystart.divisor == divisor


def test_after_jitter_the_five_rounds_are_counted_anew() -> None:
    hystart = HyStart()
    rtts = [0.1, 0.12, 0.12, 0.12, 0.11, 0.13, 0.13, 0.13, 0.13, 0.13]
    assert not any(play_round(hystart, number, rtt) for number, rtt in enumerate(rtts))
    assert hystart.divisor == CSS_GROWTH_DIVISOR
    assert play_round(hystart, len(rtts), 0.13)


@pytest.mark.parametrize(("rtts", "divisor"), [([0.1, 0.1, 0.1], 1), ([0.1, 0.15], CSS_GROWTH_DIVISOR)])
def test_a_connection_tells_it_each_round_trip(rtts: list[float], divisor: int) -> None:
    peer = Peer()
    peer.connect(rtt=0.1)
    peer.send("A")
    peer.connection.write(bytes(200_000), peer.now)
    for rtt in rtts:
        sent = peer.take()
        assert len(sent) >= 10
        peer.clock.advance(rtt)
        for seen in sent:
            peer.send("A", ack=seen.seq + seen.size)
    congestion = peer.connection._tcb.congestion
    assert (congestion.hystart.divisor, congestion.ssthresh) == (divisor, math.inf)
