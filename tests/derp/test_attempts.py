"""Which node comes next, its time, and the pauses between rounds."""

from __future__ import annotations

import random

import pytest

from tsnet.derp.attempts import (
    BACKOFF_HOPELESS,
    BACKOFF_MAX,
    BACKOFF_MIN,
    CONNECT_TIMEOUT,
    FAILOVER_TIMEOUT,
    Attempts,
)
from tsnet.netmap.model import DerpNode

A, B, C = (DerpNode(name, 7, f"{name}.example") for name in "abc")
STUN = DerpNode("s", 7, "s.example", stun_only=True)
NOWHERE = DerpNode("n", 7, "n.example", ipv4="none", ipv6="none")


def attempts(*nodes: DerpNode) -> Attempts:
    return Attempts(nodes, random.Random(1).randbytes)


def a_round(some: Attempts) -> list[tuple[str, float]]:
    """The nodes of a whole round with their limits."""
    some.begin()
    found = []
    while (attempt := some.take()) is not None:
        found.append((attempt[0].name, attempt[1]))
    return found


def test_only_the_last_node_has_all_the_time_and_the_others_get_more_each_round() -> None:
    some = attempts(STUN, A, NOWHERE, B, C)
    limits = []
    for _ in range(5):
        names, times = zip(*a_round(some), strict=True)
        assert names == ("a", "b", "c")
        assert times[2] == CONNECT_TIMEOUT
        assert times[0] == times[1]
        limits.append(times[0])
        some.pause(hopeless=False)
    assert limits == [5.0, 10.0, 20.0, 25.0, 25.0]
    assert limits[0] == FAILOVER_TIMEOUT


def test_a_single_node_has_time_for_six_round_trips_of_three_seconds() -> None:
    assert a_round(attempts(A)) == [("a", CONNECT_TIMEOUT)]
    assert CONNECT_TIMEOUT >= 6 * 3.0


@pytest.mark.parametrize("nodes", [(), (STUN, NOWHERE)])
def test_a_region_without_a_node_to_dial(nodes: tuple[DerpNode, ...]) -> None:
    assert a_round(attempts(*nodes)) == []


def test_a_node_that_kept_us_waiting_comes_last_until_a_connection_lasted() -> None:
    some = attempts(A, B, C)
    some.put_last(A)
    assert [name for name, _limit in a_round(some)] == ["b", "c", "a"]
    some.put_last(B)
    assert [name for name, _limit in a_round(some)] == ["c", "a", "b"]
    some.lasted()
    assert [name for name, _limit in a_round(some)] == ["a", "b", "c"]


def test_a_pause_ends_the_round() -> None:
    some = attempts(A, B)
    some.begin()
    some.take()
    assert some.has_more
    some.pause(hopeless=False)
    assert not some.has_more


@pytest.mark.parametrize(("hopeless", "longest"), [(False, BACKOFF_MAX), (True, BACKOFF_HOPELESS)])
def test_pauses_double_up_to_their_limit_with_jitter_and_begin_anew(hopeless: bool, longest: float) -> None:
    some = attempts(A)
    pauses = [some.pause(hopeless=hopeless) for _ in range(40)]
    for number, pause in enumerate(pauses):
        base = min(longest, BACKOFF_MIN * 2.0**number)
        assert 0.5 * base <= pause <= base
    assert len(set(pauses)) > 35
    some.lasted()
    assert some.pause(hopeless=hopeless) <= BACKOFF_MIN


def test_beginning_anew_forgets_the_round_its_failures_and_its_order() -> None:
    some = attempts(A, B)
    for _ in range(10):
        some.begin()
        some.take()
        some.put_last(A)
        some.pause(hopeless=False)
    some.begin()
    some.begin_anew()
    assert not some.has_more
    assert [name for name, _ in a_round(some)] == ["a", "b"]
    assert some.pause(hopeless=False) <= BACKOFF_MIN
