"""Suspicion, probe and verdict, on a hand clock."""

from __future__ import annotations

import math

import pytest

from tsnet.derp.liveness import (
    DOUBT_AT_LEAST,
    DOUBT_AT_MOST,
    NO_ANSWER,
    PONG_TIMEOUT,
    PROBE_AFTER,
    PROBE_HOME,
    SILENCE,
    SILENCE_TIMEOUT,
    SUSPECT_AFTER,
    TIMERS,
    Liveness,
)


def living() -> Liveness:
    some = Liveness()
    some.heard(100.0)
    return some


def test_without_a_connection_nothing_is_due() -> None:
    some = Liveness()
    assert some.deadline() == math.inf
    some = living()
    some.wrote(101.0)
    some.stop()
    assert some.deadline() == math.inf
    assert some.verdict(1e9) == ""


def test_no_timer_is_left_out_of_the_table() -> None:
    assert {name for name in Liveness.__slots__ if name.endswith(("_at", "_by"))} == set(TIMERS)


@pytest.mark.parametrize("slot", TIMERS)
def test_each_timer_alone_is_the_deadline(slot: str) -> None:
    some = Liveness()
    setattr(some, slot, 123.0)
    assert some.deadline() == 123.0


def test_quiet_is_only_silence_after_two_minutes() -> None:
    some = living()
    assert some.deadline() == 100.0 + SILENCE_TIMEOUT
    assert some.verdict(219.9) == ""
    assert some.verdict(220.0) == SILENCE


def test_the_first_unanswered_packet_counts_not_the_last() -> None:
    some = living()
    for now in (101.0, 102.0, 104.0):
        some.wrote(now)
    assert some.deadline() == 101.0 + PROBE_AFTER
    assert not some.is_suspect(101.0 + SUSPECT_AFTER - 0.1)
    assert some.is_suspect(101.0 + SUSPECT_AFTER)


def test_an_unanswered_ping_is_the_end_within_fifteen_seconds_of_the_first_packet() -> None:
    some = living()
    some.wrote(101.0)
    some.asked(101.0 + PROBE_AFTER)
    some.wrote(107.0)
    assert some.deadline() == 101.0 + SUSPECT_AFTER
    assert some.suspects(some.deadline())
    assert some.deadline() == 101.0 + PROBE_AFTER + PONG_TIMEOUT <= 116.0 - 3.0
    assert some.verdict(some.deadline()) == NO_ANSWER


@pytest.mark.parametrize("stage", ["quiet", "unanswered", "suspect"])
def test_any_byte_makes_all_well(stage: str) -> None:
    some = living()
    if stage != "quiet":
        some.wrote(101.0)
    if stage == "suspect":
        some.asked(105.0)
    some.heard(106.0)
    assert (some.deadline(), some.is_suspect(200.0)) == (106.0 + SILENCE_TIMEOUT, False)


def test_room_on_the_link_takes_suspicion_away_but_is_no_byte() -> None:
    some = living()
    some.wrote(101.0)
    some.asked(105.0)
    some.moved(106.0)
    assert some.deadline() == 100.0 + SILENCE_TIMEOUT
    assert not some.is_suspect(200.0)


@pytest.mark.parametrize(("latency", "within"), [(0.001, DOUBT_AT_LEAST), (0.2, 0.8), (5.0, DOUBT_AT_MOST)])
def test_after_a_change_of_the_network_an_answer_must_come_soon(latency: float, within: float) -> None:
    liveness = Liveness()
    liveness.heard(0.0)
    liveness.asked(1.0)  # a Ping that was on its way already is not waited for any longer than that
    liveness.doubted(2.0, latency)
    assert liveness.deadline() == liveness.answer_by == pytest.approx(2.0 + within)
    assert liveness.verdict(2.0 + within) == NO_ANSWER
    liveness.heard(2.1)
    assert liveness.verdict(2.0 + within) == ""


def test_home_is_probed_ten_seconds_after_the_last_byte() -> None:
    some = Liveness()
    some.set_home(True, 0.0)
    assert some.deadline() == math.inf, "nothing is connected"
    some.begin(100.0, 0.1)
    assert some.deadline() == 100.0 + PROBE_HOME
    some.heard(105.0)
    assert some.deadline() == 105.0 + PROBE_HOME
    some.wrote(114.0)
    assert some.deadline() == 105.0 + PROBE_HOME, "packets put the probe off by nothing"
    some.asked(115.0)
    some.set_home(False, 115.5)
    assert some.deadline() == 115.0 + SUSPECT_AFTER - PROBE_AFTER, "an answer is awaited all the same"
    some.heard(115.6)
    assert some.deadline() == 115.6 + SILENCE_TIMEOUT
    some.set_home(True, 116.0)
    assert some.deadline() == 116.0 + PROBE_HOME


@pytest.mark.parametrize(("latency", "patience"), [(0.01, 1.0), (0.5, 1.0), (3.0, 6.0)])
def test_a_far_relay_is_suspect_later(latency: float, patience: float) -> None:
    some = Liveness()
    some.begin(100.0, latency)
    some.asked(101.0)
    assert not some.suspects(101.0 + patience - 0.1)
    assert some.suspects(101.0 + patience)
    assert not some.suspects(101.0 + patience), "it is told once"
    assert not some.clears()
    some.heard(108.0)
    assert some.clears()
    assert not some.clears()
