from __future__ import annotations

import random

import attrs
import pytest

from tsnet.control.client.backoff import MAX_RETRY_AFTER, PEACE, Backoff, retry_after


@attrs.frozen
class Answer:
    status: int
    headers: dict[str, str]


def middle(_size: int) -> bytes:
    return b"\x80\x00"  # half way between 0.5 and 1.5


def told(status: int, text: str = "", **headers: str) -> Answer:
    return Answer(status, {"retry-after": text, **headers} if text else headers)


def test_it_grows_with_the_square_up_to_half_a_minute() -> None:
    backoff = Backoff(middle)
    waits = [backoff.failed(0.0) for _ in range(60)]
    assert waits[:4] == pytest.approx([0.01, 0.04, 0.09, 0.16])
    assert waits[54:] == pytest.approx([30.0] * 6)


@pytest.mark.parametrize("peace", [0.0, 1.0, PEACE - 0.01, PEACE, 1e6])
def test_only_a_success_that_lasts_starts_over(peace: float) -> None:
    backoff = Backoff(middle)
    backoff.failed(100.0)
    backoff.failed(100.0)
    backoff.succeeded(100.0)
    backoff.succeeded(100.0 + peace)  # said again, it does not begin again
    assert backoff.failed(100.0 + peace) == pytest.approx(0.01 if peace >= PEACE else 0.09)


def test_a_pause_between_failures_is_no_success() -> None:
    backoff = Backoff(middle)
    backoff.succeeded(0.0)
    backoff.failed(1.0)
    assert backoff.failed(1e6) == pytest.approx(0.04)


def test_jitter_spreads_from_half_to_one_and_a_half() -> None:
    backoff = Backoff(random.Random(1).randbytes)
    backoff.failures = 1000
    waits = [backoff.failed(0.0) for _ in range(500)]
    assert 15 <= min(waits) < 16
    assert 44 < max(waits) < 45


def test_refusals_are_asked_again_between_half_a_minute_and_five() -> None:
    spread = [Backoff(random.Random(seed).randbytes) for seed in range(200)]
    for low, high in ((30, 60), (60, 120), (120, 240), (150, 300), (150, 300)):
        waits = [backoff.refused(0.0) for backoff in spread]
        assert low <= min(waits) < low * 1.05
        assert high * 0.95 < max(waits) <= high
    spread[0].succeeded(0.0)
    assert spread[0].refused(PEACE) <= 60


# --- what the server asks for -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("seconds", [1, 20, 200, 300, 3600, 10**12])
def test_it_waits_as_told_and_a_little_more_at_most_five_minutes(status: int, seconds: int) -> None:
    waits = [Backoff(random.Random(seed).randbytes).failed(0.0, told(status, str(seconds))) for seed in range(200)]
    assert max(waits) <= MAX_RETRY_AFTER
    assert min(waits) >= (seconds if seconds < MAX_RETRY_AFTER else 0.9 * MAX_RETRY_AFTER)
    assert max(waits) <= 1.1 * seconds
    assert len(set(waits)) > 100  # no two in step


def test_it_never_waits_less_than_it_would_untold() -> None:
    backoff = Backoff(middle)
    backoff.failures = 100
    assert backoff.failed(0.0, told(503, "1")) == pytest.approx(30.0)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "x", "²", "Tue, 24 Nov 2026 20:00:00 GMT"])
def test_without_a_word_a_limit_is_some_seconds_and_an_outage_a_failure(text: str) -> None:
    assert Backoff(middle).failed(0.0, told(429, text)) == 7.5
    assert Backoff(middle).failed(0.0, told(503, text)) == pytest.approx(0.01)


def test_news_waits_until_a_wait_that_was_asked_for_is_over() -> None:
    backoff = Backoff(middle)
    assert backoff.soonest(100.0) == 100.0
    held = 100.0 + backoff.failed(100.0, told(429, "20"))
    assert backoff.soonest(101.0) == held > 120.0
    assert backoff.soonest(held + 1) == held + 1
    backoff.failed(200.0, told(500, "20"))
    backoff.failed(200.0)
    assert backoff.soonest(200.0) == 200.0


@pytest.mark.parametrize("status", [0, 200, 401, 404, 500, 502])
def test_other_answers_have_no_say(status: int) -> None:
    assert Backoff(middle).failed(0.0, told(status, "20")) == pytest.approx(0.01)


DATE = "Tue, 24 Nov 2026 20:00:00 GMT"


@pytest.mark.parametrize(
    ("text", "date", "seconds"),
    [
        ("20", "", 20.0),
        (" 20 ", "", 20.0),
        ("9" * 400, "", 999_999_999.0),
        ("Tue, 24 Nov 2026 20:00:30 GMT", DATE, 30.0),
        ("Wed, 25 Nov 2026 20:00:00 GMT", DATE, 86_400.0),
        ("Fri, 01 Jan 2027 00:00:00 GMT", "Thu, 31 Dec 2026 23:59:59 GMT", 1.0),
        ("Tue, 24 Nov 2026 19:00:00 GMT", DATE, 0.0),  # over already
        ("Tue, 24 Nov 2026 20:00:30 GMT", "", 0.0),
        ("Tue, 24 Nov 2026 20:00:30 GMT", "yesterday", 0.0),
        ("Tuesday, 24-Nov-26 20:00:30 GMT", DATE, 0.0),
        ("Tue, 24 Foo 2026 20:00:30 GMT", DATE, 0.0),
        ("Tue, 99 Nov 2026 20:00:30 GMT", DATE, 0.0),
        ("", DATE, 0.0),
    ],
)
def test_what_retry_after_says(text: str, date: str, seconds: float) -> None:
    assert retry_after({"retry-after": text, "date": date}) == seconds


def test_another_network_ends_the_failures_but_not_a_wait_that_was_asked_for() -> None:
    backoff = Backoff(middle)
    for _ in range(50):
        backoff.failed(0.0)
    assert backoff.begin_anew(1.0) == 1.0
    assert backoff.failed(1.0) == pytest.approx(0.01)
    backoff.failed(1.0, told(503, "60"))
    assert backoff.begin_anew(2.0) >= 61.0
