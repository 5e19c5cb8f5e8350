"""Properties of two stacks on any wire: both streams whole, both ends closed, invariants at every turn.

The wires are those of `schedules`, where a seed chooses; hypothesis looks for the smallest that breaks a promise.
"""

from __future__ import annotations

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.netstack.invariants import watch
from tests.netstack.pair import Pair, exchange
from tests.netstack.schedules import LINK, OPTIONS, STACKS, Table, choose, is_good, join


def any_of(table: Table) -> st.SearchStrategy[dict[str, Any]]:
    """One of each; what stands first is the simplest."""
    return st.fixed_dictionaries({name: st.sampled_from(values) for name, values in table.items()})


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    stacks=any_of(STACKS),
    wires=st.tuples(any_of(LINK), any_of(LINK)),
    options=st.tuples(any_of(OPTIONS), any_of(OPTIONS)),
    seed=st.integers(0, 10_000),
    sizes=st.tuples(st.integers(0, 20_000), st.integers(0, 20_000)),
    chunk=st.sampled_from([7, 500, 65_536]),
    v6=st.booleans(),
)
def test_any_schedule_and_any_options(
    stacks: dict[str, Any],
    wires: tuple[dict[str, Any], dict[str, Any]],
    options: tuple[dict[str, Any], dict[str, Any]],
    seed: int,
    sizes: tuple[int, int],
    chunk: int,
    v6: bool,
) -> None:
    pair = Pair(seed=seed, **stacks)
    join(pair, *wires)
    choose(pair.a, options[0])
    choose(pair.b, options[1])
    watch(pair)
    there, back = (random.Random(seed).randbytes(20_000)[:size] for size in sizes)
    exchange(pair, there, back, chunk=max(chunk, sum(sizes) // 300), v6=v6, good=all(map(is_good, wires)))
