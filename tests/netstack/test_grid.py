"""16 MiB each way between two of our stacks, in virtual time: each loss at each round trip, clean and in disorder."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest

from tests.lab.shim import Shim
from tests.netstack.pair import Pair, exchange

MIB = 1 << 20
LOSSES = (0.0, 0.01, 0.05, 0.10, 0.20, 0.30)
ROUND_TRIPS = (0.002, 0.040, 0.400)
DISORDER = {"duplicate": 0.1, "reorder": 0.25, "corrupt": 0.01}
HOURS = 48.0


def play(size: int, loss: float, rtt: float, disorder: bool) -> Pair:
    seed = int(loss * 100) + int(rtt * 10_000) + disorder
    pair = Pair(seed=seed)
    pair.trace = deque(maxlen=0)  # type: ignore[assignment]
    faults: dict[str, Any] = DISORDER if disorder else {}
    pair.to_b, pair.to_a = (Shim(2 * seed + side, delay=rtt / 2, loss=loss, **faults) for side in (0, 1))
    chance = random.Random(seed)
    exchange(pair, chance.randbytes(size), chance.randbytes(size), v6=bool(seed & 1), hours=HOURS, steps=2_000_000)
    return pair


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("disorder", [False, True], ids=["clean", "disorder"])
@pytest.mark.parametrize("rtt", ROUND_TRIPS)
@pytest.mark.parametrize("loss", LOSSES)
def test_both_streams_are_whole(loss: float, rtt: float, disorder: bool) -> None:
    pair = play(16 * MIB, loss, rtt, disorder)
    assert bool(pair.to_a.counts["lost"]) == bool(loss)
    assert bool(pair.to_b.counts["corrupted"]) == disorder


@pytest.mark.parametrize("disorder", [False, True], ids=["clean", "disorder"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_little_of_it(loss: float, disorder: bool) -> None:
    play(MIB // 16, loss, 0.040, disorder)
