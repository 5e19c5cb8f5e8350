from __future__ import annotations

from collections.abc import Iterable

import pytest

from tsnet.base.links import Link
from tsnet.edge.io.link_limits import FULL, MAX_LINKS, MAX_LINKS_OF_A_SOURCE, SOURCE_FULL, LinkLimits
from tsnet.errors import ConfigError


def enter(limits: LinkLimits, numbers: Iterable[int], host: str) -> list[str]:
    return [limits.enter(Link("listen", 80, number), host) for number in numbers]


def test_a_source_has_its_share_and_no_more() -> None:
    limits = LinkLimits(10, 3)
    assert enter(limits, range(4), "192.0.2.1") == ["", "", "", SOURCE_FULL]
    assert enter(limits, [4], "192.0.2.2") == [""]
    assert len(limits) == 4
    assert limits.refused == {SOURCE_FULL: 1}


@pytest.mark.parametrize("loopback", ["127.0.0.1", "::1"])
def test_loopback_is_no_source_and_counts_in_the_total(loopback: str) -> None:
    """All nodes of a test are there, or all those behind a proxy."""
    limits = LinkLimits(5, 2)
    assert enter(limits, range(4), loopback) == [""] * 4
    assert enter(limits, [4, 5], "192.0.2.1") == ["", FULL]
    limits.leave(Link("listen", 80, 0))
    assert enter(limits, [6, 7], loopback) == ["", FULL]


def test_all_together_are_bounded() -> None:
    limits = LinkLimits(3, 2)
    assert [*enter(limits, [0, 1], "192.0.2.1"), *enter(limits, [2, 3], "192.0.2.2")] == ["", "", "", FULL]
    assert limits.refused == {FULL: 1}


def test_who_leaves_makes_room_once() -> None:
    limits = LinkLimits(10, 2)
    enter(limits, range(2), "192.0.2.1")
    for _ in range(2):
        limits.leave(Link("listen", 80, 0))
    assert enter(limits, [2, 3], "192.0.2.1") == ["", SOURCE_FULL]
    limits.leave(Link("listen", 80, 3))  # was never in
    assert len(limits) == 2


def test_nothing_is_kept_of_who_has_left() -> None:
    limits = LinkLimits()
    for number in range(1000):
        enter(limits, [number], f"192.0.2.{number % 250}")
        limits.leave(Link("listen", 80, number))
    assert len(limits) == 0
    assert not limits._shares._of
    assert not limits.refused


@pytest.mark.parametrize(
    ("other", "answer"),
    [("2001:db8::2", SOURCE_FULL), ("2001:db8::ffff:1%eth0", SOURCE_FULL), ("2001:db8:0:1::1", "")],
)
def test_of_v6_the_network_is_the_source(other: str, answer: str) -> None:
    limits = LinkLimits(10, 1)
    assert enter(limits, [0], "2001:db8::1") == [""]
    assert enter(limits, [1], other) == [answer]


@pytest.mark.parametrize("limits", [(0, 1), (1, 0), (-1, 5)])
def test_a_limit_that_lets_nobody_in_is_a_mistake(limits: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="no connection"):
        LinkLimits(*limits)


def test_no_source_can_take_most_of_it() -> None:
    assert MAX_LINKS_OF_A_SOURCE * 4 <= MAX_LINKS
