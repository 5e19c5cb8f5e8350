"""The timer table: every slot counts, every event moves exactly its slots."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from tsnet.wireguard.constants import EARLY_RETRIES, REKEY_ATTEMPT_TIME, REKEY_TIMEOUT, WIPE_TIME
from tsnet.wireguard.peer import Peer
from tsnet.wireguard.timers import TIMERS, Timers

NOW = 1000.0


def armed(timers: Timers) -> dict[str, float]:
    """Slot: seconds after NOW."""
    return {name: round(getattr(timers, name) - NOW, 6) for name in TIMERS if getattr(timers, name) < math.inf}


def everything_armed() -> Timers:
    timers = Timers(25.0)
    timers.handshake_wanted(NOW)
    timers.initiation_sent(NOW, 0.0, early=False)
    timers.session_derived(NOW)
    timers.authenticated_sent(NOW)
    timers.data_sent(NOW, 0.0)
    timers.data_received(NOW)
    return timers


def test_no_slot_is_left_out() -> None:
    """Every `*_at` slot is in the table, counts in `deadline`, and is told by `why`."""
    assert {name for name in Timers.__slots__ if name.endswith("_at")} == set(TIMERS)
    for number, name in enumerate(TIMERS):
        timers = everything_armed()
        setattr(timers, name, NOW - number)
        assert timers.deadline() == NOW - number
        timers = Timers()
        setattr(timers, name, 1.0)
        assert timers.why() == name
    assert set(armed(everything_armed())) == set(TIMERS)


def test_no_other_class_of_the_room_has_a_timer_of_its_own() -> None:
    """`*_at` names an instant; those of a peer that lie ahead are all in its timers."""
    past = {"armed_at", "handshake_sent_at", "initiation_consumed_at"}
    assert {name for name in Peer.__slots__ if name.endswith("_at")} == past


def test_a_new_peer_has_nothing_to_do() -> None:
    timers = Timers()
    assert timers.deadline() == math.inf
    assert timers.why() == ""
    assert not timers.is_initiating


def test_early_retries_count_from_the_first() -> None:
    timers, at = Timers(), NOW
    times = []
    for _ in range(9):
        timers.initiation_sent(at, 0.1, early=True)
        at = timers.retransmit_at
        times.append(round(at - NOW, 6))
    assert times[:5] == list(EARLY_RETRIES)
    assert times[5:] == [9.6, 14.7, 19.8, 24.9]  # from the last, every REKEY_TIMEOUT and jitter


@pytest.mark.parametrize(
    ("round_trip", "retries"),
    [(0.2, EARLY_RETRIES), (0.7, (0.9, 1.8, 3.0)), (1.2, (1.8, 3.0, 4.5)), (2.4, (3.0, 8.1, 13.2)), (5.0, (5.1, 10.2))],
)
def test_no_early_retry_comes_before_an_answer_can(round_trip: float, retries: tuple[float, ...]) -> None:
    timers, at = Timers(), NOW
    for after in retries:
        timers.initiation_sent(at, 0.1, early=True, round_trip=round_trip)
        at = timers.retransmit_at
        assert at - NOW == pytest.approx(after)


def test_an_initiation_held_for_the_mark_asks_again_after_rekey_timeout_and_is_due_when_released() -> None:
    timers = Timers()
    timers.initiation_held(NOW)
    assert timers.is_initiating
    assert armed(timers) == {"retransmit_at": REKEY_TIMEOUT}
    timers.initiation_released(NOW + 1)
    assert armed(timers) == {"retransmit_at": 1.0}


@pytest.mark.parametrize(
    ("event", "at"),
    [
        (lambda timers: timers.initiation_sent(NOW, 0.1, early=False), REKEY_TIMEOUT + 0.1),
        (lambda timers: timers.initiation_put_off(NOW + 7), 7.0),
        (lambda timers: timers.handshake_completed(), math.inf),
    ],
    ids=["sent", "put off", "completed"],
)
def test_a_mark_releases_only_what_still_waits_for_it(event: Callable[[Timers], None], at: float) -> None:
    timers = Timers()
    timers.initiation_held(NOW)
    event(timers)
    timers.initiation_released(NOW + 1)
    assert round(timers.retransmit_at - NOW, 6) == at


def test_what_is_put_off_comes_no_sooner() -> None:
    timers = Timers()
    timers.initiation_sent(NOW, 0.1, early=False)
    timers.initiation_put_off(NOW + 1)
    assert armed(timers) == {"retransmit_at": REKEY_TIMEOUT + 0.1}


def test_a_late_turn_leaves_out_the_retries_that_it_overtook() -> None:
    timers = Timers()
    timers.initiation_sent(NOW, 0.0, early=True)
    timers.initiation_sent(NOW + 0.55, 0.0, early=True)
    assert timers.retransmit_at == NOW + 0.9
    timers.initiation_sent(NOW + 1.7, 0.0, early=True)
    assert timers.retransmit_at == NOW + 3.0
    timers.initiation_sent(NOW + 4.4, 0.0, early=True)
    assert timers.retransmit_at == NOW + 4.4 + REKEY_TIMEOUT


def test_retries_to_a_peer_that_has_answered_come_every_five_seconds() -> None:
    timers = Timers()
    timers.initiation_sent(NOW, 0.25, early=False)
    assert armed(timers) == {"retransmit_at": 5.25}


def test_a_restart_begins_a_series_and_is_forgotten_with_the_handshake() -> None:
    timers = Timers()
    timers.initiation_sent(NOW, 0.0, early=True)
    timers.restart(NOW + 4.025, NOW + 4)
    assert (timers.retransmit_at, timers.restarted_time, timers.is_in_series) == (NOW + 4.025, NOW + 4, False)
    timers.initiation_sent(NOW + 4.025, 0.0, early=True)
    assert timers.retransmit_at == NOW + 4.025 + EARLY_RETRIES[0]
    timers.handshake_completed()
    assert timers.restarted_time == math.inf


def test_wanting_a_handshake_renews_the_patience() -> None:
    timers = Timers()
    timers.handshake_wanted(NOW)
    timers.handshake_wanted(NOW + 50)
    assert timers.give_up_at == NOW + 50 + REKEY_ATTEMPT_TIME


def test_a_completed_handshake_ends_the_series() -> None:
    timers = everything_armed()
    timers.handshake_completed()
    assert {"retransmit_at", "give_up_at"}.isdisjoint(armed(timers))
    timers.initiation_sent(NOW + 100, 0.0, early=True)
    assert timers.retransmit_at == NOW + 100 + EARLY_RETRIES[0]


def test_each_session_puts_off_the_wipe() -> None:
    timers = Timers()
    timers.session_derived(NOW)
    timers.session_derived(NOW + 120)
    assert timers.wipe_at == NOW + 120 + WIPE_TIME


def test_data_received_is_answered_within_ten_seconds() -> None:
    timers = Timers()
    timers.data_received(NOW)
    timers.data_received(NOW + 9)
    assert armed(timers) == {"keepalive_at": 10}


def test_more_data_while_the_keepalive_waits_asks_for_one_more() -> None:
    timers = Timers()
    timers.data_received(NOW)
    timers.data_received(NOW + 9)
    timers.keepalive_came(NOW + 10)
    assert armed(timers) == {"keepalive_at": 20}
    timers.keepalive_came(NOW + 20)
    assert armed(timers) == {}


def test_anything_sent_answers_for_the_keepalive() -> None:
    timers = Timers()
    timers.data_received(NOW)
    timers.authenticated_sent(NOW + 1)
    assert armed(timers) == {}


def test_data_sent_expects_an_answer_counted_from_the_first() -> None:
    timers = Timers()
    timers.data_sent(NOW, 0.2)
    timers.data_sent(NOW + 5, 0.2)
    assert armed(timers) == {"new_handshake_at": 15.2}
    timers.authenticated_received(NOW + 6)
    assert armed(timers) == {}


@pytest.mark.parametrize("event", [Timers.authenticated_sent, Timers.authenticated_received])
def test_the_persistent_keepalive_follows_all_traffic(event: object) -> None:
    timers = Timers(25.0)
    assert timers.deadline() == -math.inf
    assert callable(event)
    event(timers, NOW + 7)
    assert armed(timers) == {"persistent_at": 32}
    quiet = Timers()
    event(quiet, NOW)
    assert armed(quiet) == {}
