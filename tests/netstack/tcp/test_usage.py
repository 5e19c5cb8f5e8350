"""Only a window that is in use grows; one that long was not shrinks."""

from __future__ import annotations

from netstack.tcp.usage import NON_VALIDATED_PERIOD, Usage


def test_a_full_window_may_grow() -> None:
    usage = Usage(0.0)
    usage.sent(0, 10_000, 10_000, True)
    assert usage.allows_growth(10_000, slow_start=False)


def test_slow_start_may_double_what_was_out() -> None:
    usage = Usage(0.0)
    usage.sent(0, 6000, 6000, False)
    assert usage.allows_growth(10_000, slow_start=True)
    assert not usage.allows_growth(12_000, slow_start=True)
    assert not usage.allows_growth(10_000, slow_start=False)


def test_a_flight_counts_until_it_is_acknowledged() -> None:
    usage = Usage(0.0)
    usage.sent(0, 10_000, 10_000, True)
    usage.sent(5000, 11_000, 6000, False)
    assert usage.limited
    usage.sent(10_000, 12_000, 2000, False)
    assert not usage.limited


def test_after_five_minutes_half_of_what_is_unused_goes() -> None:
    usage = Usage(0.0)
    usage.sent(0, 4000, 4000, False)
    assert usage.reduced(100_000, 10_000, NON_VALIDATED_PERIOD - 1) == 100_000
    assert usage.reduced(100_000, 10_000, NON_VALIDATED_PERIOD) == 55_000
    usage.validated_time = 1000
    assert usage.reduced(55_000, 10_000, 1001) == 55_000


def test_the_window_is_halved_once_in_a_period() -> None:
    usage = Usage(0.0)
    usage.sent(0, 4000, 4000, False)
    assert usage.reduced(100_000, 10_000, NON_VALIDATED_PERIOD) == 55_000
    assert usage.reduced(55_000, 10_000, NON_VALIDATED_PERIOD + 1) == 55_000
    assert usage.reduced(55_000, 10_000, 2 * NON_VALIDATED_PERIOD) == 32_500
