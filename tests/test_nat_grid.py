"""Every pair of homes under virtual time: connected within 1.5 s, direct within 5 s where that is possible, and working
through a relay everywhere else. The slow part is the same over long, lossy links.

Possible is what the kernel's NATs let naive hole punching do (see tests/testing/test_punching.py): two ends whose NATs
show one port for all destinations; or one that shows another port for each, and one that lets every port of an
address in.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys

import anyio
import pytest

from tests.homes import Homes

FIRST_BYTE = 1.5
DIRECT = 5.0

OPEN = ("public", "full cone", "address")
"""Who lets a port in to which nothing was sent."""
HARD = ("hard", "hard provider")
KINDS = ("public", "full cone", "address", "easy", "hard", "firewall", "provider", "hard provider", "blocked")


def is_possible(one: str, other: str) -> bool:
    if "blocked" in (one, other):
        return False
    hard = [kind for kind in (one, other) if kind in HARD]
    return not hard or (len(hard) == 1 and (one in OPEN or other in OPEN))


async def meet(row: str, column: str, expected: bool) -> None:
    async with Homes(seed=1) as homes:
        await homes.settle_pair(homes.build(row, "left"), homes.build(column, "right"))
        async with homes.call("left", "right") as call:
            assert call.first_byte <= FIRST_BYTE
            if expected:
                await call.until_direct("left", "right", DIRECT)
                await call.go_on(1.0)
            else:
                await call.go_on(DIRECT + 1.0)
                assert not homes.is_direct("left", "right")
            assert call.longest < 1.0


@pytest.mark.parametrize("column", KINDS)
@pytest.mark.parametrize("row", KINDS)
def test_a_pair(row: str, column: str) -> None:
    anyio.run(meet, row, column, is_possible(row, column))


async def meet_through_trouble(row: str, column: str, seed: int) -> None:
    """Each cable loses 1 %, up to 3 % of what passes one home, and has a latency of its own and jitter."""
    draw = random.Random(f"{row} {column} {seed}")
    async with Homes(seed) as homes:
        left, right = homes.build(row, "left"), homes.build(column, "right")
        for cable in (left.cable, right.cable, *(router.cable for router in homes.net.routers.values())):
            cable.latency, cable.jitter, cable.loss = draw.uniform(0.002, 0.03), 0.01, 0.01
        await homes.settle_pair(left, right)
        async with homes.call("left", "right") as call:
            assert call.first_byte <= 3.0
            if is_possible(row, column):
                await call.until_direct("left", "right", 3 * DIRECT)
            await call.go_on(5.0)
            assert call.longest <= 8.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("row", KINDS)
def test_pairs_over_long_and_lossy_links(row: str, seed: int) -> None:
    for column in KINDS:
        anyio.run(meet_through_trouble, row, column, seed)


def trace_of_a_pair() -> str:
    async def main() -> str:
        async with Homes(seed=3) as homes:
            await homes.settle_pair(homes.build("easy", "left"), homes.build("address", "right"))
            async with homes.call("left", "right") as call:
                await call.until_direct("left", "right", DIRECT)
        return homes.world.trace

    return anyio.run(main)


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_the_trace_of_a_pair_is_the_same_in_another_process(hash_seed: str) -> None:
    code = "from tests.test_nat_grid import trace_of_a_pair; print(trace_of_a_pair())"
    environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert told.stdout.strip() == trace_of_a_pair()
