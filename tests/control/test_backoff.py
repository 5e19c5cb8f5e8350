from __future__ import annotations

import random

import pytest

from tsnet.control.backoff import Backoff, retry_after


def middle(_size: int) -> bytes:
    return b"\x80\x00"  # half way between 0.5 and 1.5


def test_it_grows_with_the_square_up_to_half_a_minute() -> None:
    backoff = Backoff(middle)
    waits = [backoff.failed() for _ in range(60)]
    assert waits[:4] == pytest.approx([0.01, 0.04, 0.09, 0.16])
    assert waits[54:] == pytest.approx([30.0] * 6)


def test_success_starts_over() -> None:
    backoff = Backoff(middle)
    backoff.failed()
    backoff.failed()
    backoff.succeeded()
    assert backoff.failed() == pytest.approx(0.01)


def test_jitter_spreads_from_half_to_one_and_a_half() -> None:
    backoff = Backoff(random.Random(1).randbytes)
    backoff.failures = 1000
    waits = [backoff.failed() for _ in range(500)]
    assert 15 <= min(waits) < 16
    assert 44 < max(waits) < 45


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1.0),
        ("3600", 3600.0),
        ("3601", 7.5),
        ("0", 7.5),
        ("-1", 7.5),
        ("1.5", 7.5),
        ("", 7.5),
        ("Tue, 24 Nov 2026 20:00:00 GMT", 7.5),
        ("9" * 400, 7.5),
    ],
)
def test_retry_after(text: str, seconds: float) -> None:
    assert retry_after({"retry-after": text}, Backoff(middle)) == seconds
    assert retry_after({}, Backoff(middle)) == 7.5
