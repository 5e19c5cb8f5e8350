"""The token bucket on a hand clock."""

from __future__ import annotations

from tsnet.base.bucket import TokenBucket


def test_it_starts_full_and_refuses_what_is_not_there() -> None:
    bucket = TokenBucket(rate=1, burst=3, now=0.0)
    assert [bucket.take(1, 0.0) for _ in range(4)] == [True, True, True, False]


def test_it_fills_at_its_rate_up_to_its_burst() -> None:
    bucket = TokenBucket(rate=10, burst=20, now=0.0)
    assert bucket.take(20, 0.0)
    assert not bucket.take(6, 0.5)
    assert bucket.take(5, 0.5)
    assert not bucket.take(21, 100.0)
    assert bucket.take(20, 100.0)


def test_a_refusal_takes_nothing() -> None:
    bucket = TokenBucket(rate=0, burst=3, now=0.0)
    assert not bucket.take(4, 0.0)
    assert bucket.take(3, 0.0)


def test_a_clock_that_steps_back_takes_nothing_away() -> None:
    bucket = TokenBucket(rate=1, burst=3, now=10.0)
    assert bucket.take(1, 5.0)
    assert bucket.take(2, 5.0)
