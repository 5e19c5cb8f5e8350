"""Twenty a second, five at once, each source by itself."""

from __future__ import annotations

import math

import pytest

from tsnet.wireguard import ratelimiter
from tsnet.wireguard.ratelimiter import RateLimiter


def test_a_burst_of_five_then_twenty_a_second() -> None:
    limiter = RateLimiter(20, 5)
    assert [limiter.allow("x", 10.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert limiter.allow("x", 10.05)
    assert not limiter.allow("x", 10.05)
    allowed = sum(limiter.allow("x", 20.0 + n / 1000) for n in range(1000))
    assert allowed in (24, 25)


def test_sources_do_not_share() -> None:
    limiter = RateLimiter(20, 5)
    for _ in range(6):
        limiter.allow("x", 1.0)
    assert not limiter.allow("x", 1.0)
    assert limiter.allow("y", 1.0)


def test_a_bucket_does_not_overflow() -> None:
    limiter = RateLimiter(20, 5)
    limiter.allow("x", 0.0)
    assert sum(limiter.allow("x", 1000.0) for _ in range(10)) == 5


def test_the_table_is_bounded_and_forgets_the_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratelimiter, "MAX_SOURCES", 3)
    limiter = RateLimiter(20, 5)
    assert all(limiter.allow(source, 0.0) for source in "abc")
    assert not limiter.allow("d", 0.1)
    assert limiter.allow("a", 0.2)
    assert limiter.allow("d", 0.3)  # b and c are full again, hence forgotten
    assert len(limiter) == 2


def test_it_says_when_it_allows_again() -> None:
    limiter = RateLimiter(20, 5)
    assert limiter.allowed_at("x") == -math.inf
    for _ in range(5):
        limiter.allow("x", 10.0)
    assert not limiter.allow("x", 10.0)
    at = limiter.allowed_at("x")
    assert at == pytest.approx(10.05)
    assert not limiter.allow("x", at - 0.001)
    assert limiter.allow("x", limiter.allowed_at("x"))


@pytest.mark.parametrize("per_second", [3, 7, 20, 50, 500, 5000])
def test_at_the_moment_that_it_named_it_allows(per_second: int) -> None:
    """Rounding must not make an owner wake too early and find nothing, over and over."""
    limiter, now = RateLimiter(per_second, 1), 1_234_567.1
    for _ in range(1000):
        assert limiter.allow("x", now)
        now = limiter.allowed_at("x")


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    limiter = RateLimiter(20, 5)
    assert limiter.allow("x", 10.0)
    assert [limiter.allow("x", 9.0) for _ in range(5)] == [True] * 4 + [False]


def test_a_flood_of_new_sources_does_not_read_the_table_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratelimiter, "MAX_SOURCES", 100)
    limiter = RateLimiter(20, 5)
    sweeps = 0
    forget = limiter._forget_at
    for number in range(10_000):
        limiter.allow(number, number / 10_000)  # all within a second
        sweeps += limiter._forget_at != forget
        forget = limiter._forget_at
    assert sweeps <= 1 / (0.25 / 4) + 1
    assert len(limiter) <= 100
