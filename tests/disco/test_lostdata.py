"""Lost data: when a path is asked, how often, and what ends that."""

from __future__ import annotations

import math
import random

import pytest

from tsnet.disco.constants import DATA_PING_INTERVAL, DATA_PING_TIMEOUT, DATA_UNANSWERED
from tsnet.disco.lostdata import LostData, Next


def outcome(found: LostData, until: float) -> list[tuple[float, Next]]:
    """What each check says until then, and when."""
    said: list[tuple[float, Next]] = []
    while (now := found.check_at) <= until:
        said.append((now, found.check(now)))
        assert found.check_at > now, said
    return said


def test_data_without_an_answer_is_asked_about_and_lost_in_the_end() -> None:
    found = LostData()
    assert found.sent(1.0)
    said = outcome(found, 100.0)
    first = 1.0 + DATA_UNANSWERED
    assert [what for _when, what in said] == ["ask", "ask again", "ask again", "lost"]
    assert [when for when, _what in said] == pytest.approx(
        [first, first + DATA_PING_INTERVAL, first + 2 * DATA_PING_INTERVAL, first + DATA_PING_TIMEOUT]
    )
    assert found.check_at == math.inf


def test_what_comes_back_ends_it_and_the_next_datagram_begins_anew() -> None:
    found = LostData()
    assert found.sent(1.0)
    found.since = math.inf
    assert not found.sent(3.0)  # it is looked at no earlier
    assert outcome(found, 3.0 + DATA_UNANSWERED) == [(4.0, "wait"), (3.0 + DATA_UNANSWERED, "ask")]
    assert found.is_asked
    found.answered()
    assert not found.is_asked
    assert [what for _when, what in outcome(found, 100.0)] == ["wait"]
    assert found.check_at == math.inf


def test_data_after_an_answer_is_asked_about_from_the_first_ping_on() -> None:
    """The pings of the time before count nothing."""
    found = LostData()
    found.sent(0.0)
    assert outcome(found, DATA_UNANSWERED) == [(DATA_UNANSWERED, "ask")]
    found.since = math.inf
    found.sent(DATA_UNANSWERED + 0.1)
    assert not found.is_asked
    assert [what for _when, what in outcome(found, 100.0)] == ["wait", "ask", "ask again", "ask again", "lost"]


def test_a_probe_is_answered_by_its_pings_alone() -> None:
    found = LostData()
    found.probe(10.0)
    assert (found.must_answer, found.is_asked) == (True, True)
    assert outcome(found, 11.0)[0] == (10.0 + DATA_PING_INTERVAL, "ask")
    found.answered()
    assert (found.must_answer, found.is_asked) == (False, False)
    found.probe(20.0)
    assert outcome(found, 100.0)[-1] == (20.0 + DATA_PING_INTERVAL + DATA_PING_TIMEOUT, "lost")


def test_a_path_that_is_given_up_has_nothing_due() -> None:
    found = LostData()
    found.probe(1.0)
    found.stop()
    assert (found.since, found.check_at, found.must_answer) == (math.inf, math.inf, False)


@pytest.mark.parametrize("seed", range(10))
def test_whatever_happens_nothing_stays_due(seed: int) -> None:
    chance, found, now = random.Random(seed), LostData(), 0.0
    for _ in range(300):
        now += chance.choice([0.0, 0.2, 1.0, 4.0])
        match chance.randrange(5):
            case 0 | 1 if found.since == math.inf:
                found.sent(now)
            case 2 if not found.must_answer:
                found.since = math.inf
            case 3:
                found.answered()
            case 4 if not found.is_asked:
                found.probe(now)
        if found.check_at <= now:
            found.check(now)
        assert found.check_at > now
