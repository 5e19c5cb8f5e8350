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
