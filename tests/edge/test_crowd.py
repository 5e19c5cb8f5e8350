from __future__ import annotations

from collections.abc import Iterable

import pytest

from tsnet.edge.crowd import FULL, MAX_LINKS, MAX_LINKS_OF_A_SOURCE, SOURCE_FULL, Crowd
from tsnet.errors import ConfigError


def enter(crowd: Crowd, numbers: Iterable[int], host: str) -> list[str]:
    return [crowd.enter(("listen", 80, number), host) for number in numbers]


def test_a_source_has_its_share_and_no_more() -> None:
    crowd = Crowd(10, 3)
    assert enter(crowd, range(4), "192.0.2.1") == ["", "", "", SOURCE_FULL]
    assert enter(crowd, [4], "192.0.2.2") == [""]
    assert len(crowd) == 4
    assert crowd.refused == {SOURCE_FULL: 1}


@pytest.mark.parametrize("loopback", ["127.0.0.1", "::1"])
def test_loopback_is_no_source_and_counts_in_the_total(loopback: str) -> None:
    """All nodes of a test are there, or all those behind a proxy."""
    crowd = Crowd(5, 2)
    assert enter(crowd, range(4), loopback) == [""] * 4
    assert enter(crowd, [4, 5], "192.0.2.1") == ["", FULL]
    crowd.leave(("listen", 80, 0))
    assert enter(crowd, [6, 7], loopback) == ["", FULL]


def test_all_together_are_bounded() -> None:
    crowd = Crowd(3, 2)
    assert [*enter(crowd, [0, 1], "192.0.2.1"), *enter(crowd, [2, 3], "192.0.2.2")] == ["", "", "", FULL]
    assert crowd.refused == {FULL: 1}


def test_who_leaves_makes_room_once() -> None:
    crowd = Crowd(10, 2)
    enter(crowd, range(2), "192.0.2.1")
    for _ in range(2):
        crowd.leave(("listen", 80, 0))
    assert enter(crowd, [2, 3], "192.0.2.1") == ["", SOURCE_FULL]
    crowd.leave(("listen", 80, 3))  # was never in
    assert len(crowd) == 2


def test_nothing_is_kept_of_who_has_left() -> None:
    crowd = Crowd()
    for number in range(1000):
        enter(crowd, [number], f"192.0.2.{number % 250}")
        crowd.leave(("listen", 80, number))
    assert len(crowd) == 0
    assert not crowd._by_source
    assert not crowd.refused


@pytest.mark.parametrize(
    ("other", "answer"),
    [("2001:db8::2", SOURCE_FULL), ("2001:db8::ffff:1%eth0", SOURCE_FULL), ("2001:db8:0:1::1", "")],
)
def test_of_v6_the_network_is_the_source(other: str, answer: str) -> None:
    crowd = Crowd(10, 1)
    assert enter(crowd, [0], "2001:db8::1") == [""]
    assert enter(crowd, [1], other) == [answer]


@pytest.mark.parametrize("limits", [(0, 1), (1, 0), (-1, 5)])
def test_a_limit_that_lets_nobody_in_is_a_mistake(limits: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="no connection"):
        Crowd(*limits)


def test_no_source_can_take_most_of_it() -> None:
    assert MAX_LINKS_OF_A_SOURCE * 4 <= MAX_LINKS
