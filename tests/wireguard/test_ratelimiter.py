"""Twenty a second, five at once, each source by itself."""

from __future__ import annotations

import pytest

from tsnet.wireguard import ratelimiter
from tsnet.wireguard.ratelimiter import RateLimiter


def test_a_burst_of_five_then_twenty_a_second() -> None:
    limiter = RateLimiter()
    assert [limiter.allow("x", 10.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert limiter.allow("x", 10.05)
    assert not limiter.allow("x", 10.05)
    allowed = sum(limiter.allow("x", 20.0 + n / 1000) for n in range(1000))
    assert allowed in (24, 25)


def test_sources_do_not_share() -> None:
    limiter = RateLimiter()
    for _ in range(6):
        limiter.allow("x", 1.0)
    assert not limiter.allow("x", 1.0)
    assert limiter.allow("y", 1.0)


def test_a_bucket_does_not_overflow() -> None:
    limiter = RateLimiter()
    limiter.allow("x", 0.0)
    assert sum(limiter.allow("x", 1000.0) for _ in range(10)) == 5


def test_the_table_is_bounded_and_forgets_the_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratelimiter, "MAX_SOURCES", 3)
    limiter = RateLimiter()
    assert all(limiter.allow(source, 0.0) for source in "abc")
    assert not limiter.allow("d", 0.1)
    assert limiter.allow("a", 0.2)
    assert limiter.allow("d", 0.3)  # b and c are full again, hence forgotten
    assert len(limiter) == 2
