"""Which STUN requests one measurement may send: for each region and family a set of them, ended by its first answer.

| plan        | regions                                            | tries                 | a try waits               |
|-------------|----------------------------------------------------|-----------------------|---------------------------|
| full        | all that may be measured                           | 3                     | 100 ms                    |
| incremental | the three fastest of the last report, and the home | home 4, the two       | 1.2 x its last latency or |
|             |                                                    | fastest 2, the rest 1 | 200 ms; 50 ms more from   |
|             |                                                    |                       | the third on              |

The tries of a set go round the nodes of the region. A region's family is asked if this machine has addresses of it. In
an incremental plan, a third region is asked over one family only where both work; and where IPv6 has not worked, it is
tried once with the home and the two fastest.

Source: Go net/netcheck/netcheck.go (makeProbePlan, makeProbePlanInitial, sortRegions).
Not here: sending them (`probes`), when a plan is full (`checker`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple

from tsnet.netcheck.servers import is_test_node, stun_host
from tsnet.netmap.model import DerpNode, DerpRegion

MAX_REGIONS = 64
"""How many regions one plan measures: control may name any number."""

FULL_TRIES, FULL_GAP = 3, 0.1
FASTEST = 3
HOME_TRIES, FAST_TRIES, OTHER_TRIES = 4, 2, 1
GAP, GAP_RATIO, LATER_GAP = 0.2, 1.2, 0.05


class Try(NamedTuple):
    """One request, `delay` seconds after the measurement has begun."""

    delay: float
    node: DerpNode


class ProbeSet(NamedTuple):
    """The tries for one region over one family: the first answer is enough."""

    region: int
    version: int
    probes: tuple[Try, ...]


class Latencies(NamedTuple):
    """By region, in seconds: of the last report, and what of it was over which family."""

    best: Mapping[int, float]
    v4: Mapping[int, float]
    v6: Mapping[int, float]


def may_be_measured(region: DerpRegion, home: int = 0) -> bool:
    """Whether control lets us ask there. A region to be avoided is asked while it is our home."""
    return not region.no_measure_no_home and (not region.avoid or region.region_id == home) and bool(region.nodes)


def full_plan(regions: Iterable[DerpRegion], home: int, families: Set[int]) -> list[ProbeSet]:
    """families: of this machine's addresses, {4, 6} or fewer."""
    measured = [region for region in regions if may_be_measured(region, home)]
    measured.sort(key=lambda region: region.region_id != home)
    delays = [number * FULL_GAP for number in range(FULL_TRIES)]
    sets = [_set(region, version, delays, families) for region in measured[:MAX_REGIONS] for version in (4, 6)]
    return [found for found in sets if found.probes]


def next_plan(regions: Iterable[DerpRegion], home: int, families: Set[int], last: Latencies) -> list[ProbeSet]:
    """The incremental plan. last: with at least one latency."""
    measured = [region for region in regions if may_be_measured(region, home)]
    measured.sort(key=lambda region: last.best.get(region.region_id, float("inf")))
    chosen = [(rank, region) for rank, region in enumerate(measured) if rank < FASTEST or region.region_id == home]
    sets: list[ProbeSet] = []
    for rank, region in chosen:
        for version in (4, 6):
            tries = _tries(region, rank, home, version, families, last)
            sets.append(_set(region, version, _delays(region, tries, last), families))
    return [found for found in sets if found.probes]


def _tries(region: DerpRegion, rank: int, home: int, version: int, families: Set[int], last: Latencies) -> int:
    """How often the region is asked over that family."""
    is_home, is_fast = region.region_id == home, rank < FASTEST - 1
    if version == 6 and not last.v6:
        return 1 if is_home or is_fast else 0
    if is_home:
        return HOME_TRIES
    if is_fast:
        return FAST_TRIES
    has_both = 6 in families and bool(last.v4) and bool(last.v6)
    return 0 if has_both and version != (4 if rank % 2 == 0 else 6) else OTHER_TRIES


def _delays(region: DerpRegion, tries: int, last: Latencies) -> list[float]:
    latency = last.best.get(region.region_id)
    gap = GAP if latency is None else GAP_RATIO * latency
    return [number * (gap + (LATER_GAP if number > 1 else 0.0)) for number in range(tries)]


def _set(region: DerpRegion, version: int, delays: Iterable[float], families: Set[int]) -> ProbeSet:
    nodes = region.nodes
    probes = [Try(delay, nodes[number % len(nodes)]) for number, delay in enumerate(delays)]
    may = [probe for probe in probes if version in families or is_test_node(probe.node)]
    return ProbeSet(region.region_id, version, tuple(probe for probe in may if stun_host(probe.node, version)))
