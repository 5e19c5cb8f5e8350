"""A session's timers: every slot counts, and a full link is given time."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from tsnet.base.links import Link
from tsnet.derp.session import KEEP_ALIVE, LOGIN_TIMEOUT, TIMERS, WRITE_TIMEOUT, Session, Stage


def new_session(jitter: float = 0.0) -> Session:
    return Session(Link("served", "", 1), ("198.51.100.9", 4242), jitter, Counter(), 100.0)


def test_a_new_session_waits_for_a_request_for_ten_seconds() -> None:
    session = new_session()
    assert session.stage is Stage.HEAD
    assert session.deadline() == 100.0 + LOGIN_TIMEOUT


def test_no_timer_is_left_out_of_the_table() -> None:
    assert {name for name in Session.__slots__ if name.endswith(("_at", "_by"))} == set(TIMERS)


@pytest.mark.parametrize("slot", TIMERS)
def test_each_timer_alone_is_the_deadline(slot: str) -> None:
    session = new_session()
    for name in TIMERS:
        setattr(session, name, math.inf)
    assert session.deadline() == math.inf
    setattr(session, slot, 123.0)
    assert session.deadline() == 123.0


@pytest.mark.parametrize(("jitter", "every"), [(0.0, 60.0), (1.0, 65.0)])
def test_the_jitter_of_keepalives_is_within_five_seconds(jitter: float, every: float) -> None:
    assert new_session(jitter).keep_alive_every == every
    assert KEEP_ALIVE == 60.0


def test_a_full_link_has_ten_seconds_from_the_last_time_it_filled() -> None:
    session = new_session()
    session.link_is_full(True, 101.0)
    assert (session.write_by, session.queues.full) == (101.0 + WRITE_TIMEOUT, True)
    session.link_is_full(False, 102.0)
    assert (session.write_by, session.queues.full) == (math.inf, False)
