"""Who is asked, how often and when: Go's tables."""

from __future__ import annotations

import pytest

from tests.netcheck.regions import node, region
from tsnet.netcheck.plan import MAX_REGIONS, Latencies, ProbeSet, full_plan, may_be_measured, next_plan

BOTH = {4, 6}
FIVE = [region(number, node(number), node(number, "b")) for number in range(1, 6)]


def shown(plan: list[ProbeSet]) -> dict[tuple[int, int], list[tuple[str, int]]]:
    """By region and family: the nodes, with their delays in milliseconds."""
    return {
        (each.region, each.version): [(probe.node.name, round(probe.delay * 1000)) for probe in each.probes]
        for each in plan
    }


def last(v4: dict[int, float], v6: dict[int, float] | None = None) -> Latencies:
    v6 = v6 or {}
    return Latencies({number: min(v4.get(number, 9), v6.get(number, 9)) for number in {*v4, *v6}}, v4, v6)


def test_a_full_plan_asks_each_region_three_times_over_each_family() -> None:
    plan = shown(full_plan([FIVE[0], region(2)], 0, BOTH))
    assert plan == {
        (1, 4): [("1a", 0), ("1b", 100), ("1a", 200)],
        (1, 6): [("1a", 0), ("1b", 100), ("1a", 200)],
        (2, 4): [("2a", 0), ("2a", 100), ("2a", 200)],
        (2, 6): [("2a", 0), ("2a", 100), ("2a", 200)],
    }


def test_only_families_that_this_machine_has_are_asked_but_for_test_nodes() -> None:
    assert set(shown(full_plan([region(1)], 0, {4}))) == {(1, 4)}
    assert set(shown(full_plan([region(1)], 0, {6}))) == {(1, 6)}
    test = region(1, node(1, ipv4="127.0.0.1", ipv6="::1"))
    assert set(shown(full_plan([test], 0, {4}))) == {(1, 4), (1, 6)}


def test_what_control_wants_left_alone_is_in_no_plan() -> None:
    regions = [
        region(1, no_measure_no_home=True),
        region(2, avoid=True),
        region(3, node(3, stun_port=-1)),
        region(4, node(4, ipv6="none")),
        region(5, node(5, stun_only=True)),
    ]
    assert set(shown(full_plan(regions, 0, BOTH))) == {(4, 4), (5, 4), (5, 6)}
    assert (2, 4) in shown(full_plan(regions, 2, BOTH)), "our home is measured although it is to be avoided"
    assert not may_be_measured(regions[0], 1)


def test_an_incremental_plan_on_a_dual_stack() -> None:
    v4 = {1: 0.010, 2: 0.020, 3: 0.030, 4: 0.040, 5: 0.050}
    plan = shown(next_plan(FIVE, 2, BOTH, last(v4, {1: 0.011})))
    assert plan == {
        (1, 4): [("1a", 0), ("1b", 12)],
        (1, 6): [("1a", 0), ("1b", 12)],
        (2, 4): [("2a", 0), ("2b", 24), ("2a", 148), ("2b", 222)],
        (2, 6): [("2a", 0), ("2b", 24), ("2a", 148), ("2b", 222)],
        (3, 4): [("3a", 0)],
    }


def test_a_home_that_is_not_among_the_fastest_is_asked_all_the_same() -> None:
    v4 = {1: 0.010, 2: 0.020, 3: 0.030, 4: 0.040, 5: 0.050}
    plan = shown(next_plan(FIVE, 5, {4}, last(v4)))
    assert {key: len(probes) for key, probes in plan.items()} == {(1, 4): 2, (2, 4): 2, (3, 4): 1, (5, 4): 4}


def test_without_a_working_v6_it_is_tried_once_with_the_home_and_the_fastest() -> None:
    v4 = {1: 0.010, 2: 0.020, 3: 0.030, 4: 0.040}
    plan = shown(next_plan(FIVE, 4, BOTH, last(v4)))
    assert {key: len(probes) for key, probes in plan.items()} == {
        (1, 4): 2, (1, 6): 1, (2, 4): 2, (2, 6): 1, (3, 4): 1, (4, 4): 4, (4, 6): 1,
    }  # fmt: skip


def test_a_region_without_a_latency_comes_last_and_waits_200_ms() -> None:
    plan = shown(next_plan(FIVE[:2], 2, {4}, last({1: 0.010})))
    assert list(plan) == [(1, 4), (2, 4)]
    assert [delay for _, delay in plan[2, 4]] == [0, 200, 500, 750]


@pytest.mark.parametrize("home", [0, 900])
def test_control_may_name_any_number_of_regions(home: int) -> None:
    plan = full_plan([region(number % 250, node(number % 250)) for number in range(1, 1000)], home, {4})
    assert len(plan) == MAX_REGIONS
    many = [region(number, node(number % 250)) for number in range(1, 1000)]
    assert len(full_plan(many, 900, {4})) == MAX_REGIONS
    assert full_plan(many, 900, {4})[0].region == 900
