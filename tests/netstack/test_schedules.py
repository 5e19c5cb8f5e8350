"""Any schedule of faults delivers both streams whole and closes both ends: 1,000 seeds, 100,000 in the nightly run."""

from __future__ import annotations

import os
import random

import pytest

from netstack.wire import tcp
from tests.netstack.pair import A4, A6, B4, B6
from tests.netstack.schedules import PER_BLOCK, play, play_block, with_window

SEEDS = 100_000 if os.environ.get("TSNET_NIGHTLY") == "1" else 1_000


@pytest.mark.parametrize("seed", range(120))
def test_a_few_schedules(seed: int) -> None:
    play(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(SEEDS // PER_BLOCK))
def test_many_schedules(block: int) -> None:
    play_block(block)


def test_a_seed_plays_the_same_again() -> None:
    assert play(7).trace == play(7).trace != play(8).trace


@pytest.mark.parametrize("ends", [(A4, B4), (A6, B6)], ids=["v4", "v6"])
@pytest.mark.parametrize("seed", range(20))
def test_a_shrunk_window_leaves_a_segment_right(ends: tuple[object, object], seed: int) -> None:
    chance = random.Random(seed)
    source, target = (end.packed for end in ends)  # type: ignore[attr-defined]
    payload, window = chance.randbytes(chance.randrange(50)), chance.randrange(65_536)
    packet = tcp.build(source, 5, target, 80, seq=1, ack=2, flags=0x10, window=window, payload=payload)
    shrunk = with_window(packet, chance.choice([0, 1, 100]), chance.random())
    parsed = tcp.parse(source, target, shrunk[20 if len(source) == 4 else 40 :])
    assert isinstance(parsed, tcp.Header)
    assert parsed.window <= window
