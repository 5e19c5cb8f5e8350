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
    some.moved()
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
