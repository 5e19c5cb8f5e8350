"""Times add up by what the sender waited for."""

from __future__ import annotations

from netstack.tcp.activity import BUFFER, BUSY, IDLE, WINDOW, Activity


def test_each_kind_has_its_time_and_busy_has_all() -> None:
    activity = Activity()
    for kind, at in ((BUSY, 10.0), (WINDOW, 11.0), (WINDOW, 12.0), (BUFFER, 13.5), (IDLE, 14.0), (BUSY, 20.0)):
        activity.change(kind, at)
    assert activity.spent(21.0) == (5.0, 2.5, 0.5)


def test_nothing_yet() -> None:
    assert Activity().spent(100.0) == (0.0, 0.0, 0.0)


def test_what_goes_on_counts_up_to_now_and_is_not_lost() -> None:
    activity = Activity()
    activity.change(BUFFER, 5.0)
    assert [activity.spent(at) for at in (5.0, 6.0, 6.0)] == [(0.0, 0.0, 0.0), (1.0, 0.0, 1.0), (1.0, 0.0, 1.0)]
    activity.change(BUSY, 7.0)
    assert activity.spent(7.5) == (2.5, 0.0, 2.0)
    activity.change(IDLE, 8.0)
    assert activity.spent(100.0) == (3.0, 0.0, 2.0)
    assert activity.kind == IDLE
