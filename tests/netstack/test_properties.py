"""Properties of two stacks on any wire: both streams whole, both ends closed, invariants at every turn.

A failing seed is replayed by its number. `make nightly` (TSNET_NIGHTLY) plays a hundred times as many.
"""

from __future__ import annotations

import math
import os
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netstack.tcp.tcb import Tcb
from tests.netstack.pair import Pair, exchange

ROUNDS = 100_000 if os.environ.get("TSNET_NIGHTLY") else 1000
BLOCK = 25

WIRES = st.fixed_dictionaries(
    {
        "loss": st.sampled_from([0, 0.02, 0.1, 0.3]),
        "duplicate": st.sampled_from([0, 0.1]),
        "reorder": st.sampled_from([0, 0.2, 0.5]),
        "corrupt": st.sampled_from([0, 0.03]),
        "delay": st.sampled_from([0.0005, 0.02, 0.2]),
    }
)


def check(tcb: Tcb) -> None:
    """What must hold of a connection after every turn."""
    board = tcb.scoreboard
    assert tcb.snd_una <= tcb.snd_nxt
    assert board.in_flight >= 0
    assert board.lost_out == sum(sent.end - sent.start for sent in board.segments if sent.lost)
    assert board.resent_out == sum(sent.end - sent.start for sent in board.segments if sent.resent)
    if tcb.sack_ok:
        assert board.sacked_out == sum(sent.end - sent.start for sent in board.segments if sent.sacked)
    waiting = [sent.start for sent in board.segments if sent.lost and not sent.resent]
    assert [sent.start for sent in board.to_resend] == waiting
    assert tcb.congestion.cwnd >= min(tcb.mss, 2)
    assert tcb.rcv_nxt <= tcb.rcv_adv + 1
    if board.segments:
        assert tcb.rto_at < math.inf, "something is out, and nothing will find it lost"
    assert tcb.deadline() >= tcb.armed_for or tcb.armed_for == math.inf


def watch(pair: Pair) -> None:
    """Check every connection after every turn."""
    turn, edges = pair.turn, dict[bytes, int]()

    def watched() -> None:
        turn()
        for stack in (pair.a, pair.b):
            for tcb in stack._tcp.connections.values():
                check(tcb)
                assert tcb.rcv_adv >= edges.get(tcb.key, tcb.rcv_adv)
                edges[tcb.key] = tcb.rcv_adv
            held = sum(tcb.charged for tcb in stack._tcp.connections.values())
            assert stack._tcp.memory.held == held

    pair.turn = watched  # type: ignore[method-assign]


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    wire=WIRES,
    seed=st.integers(0, 10_000),
    there=st.integers(0, 20_000),
    back=st.integers(0, 20_000),
    chunk=st.sampled_from([7, 500, 65_536]),
    options=st.fixed_dictionaries(
        {name: st.booleans() for name in ("sack", "timestamps", "window_scaling", "dsack", "frto", "tail_loss_probe")}
    ),
    nodelay=st.booleans(),
    v6=st.booleans(),
)
def test_any_schedule_and_any_options(
    wire: dict[str, Any],
    seed: int,
    there: int,
    back: int,
    chunk: int,
    options: dict[str, bool],
    nodelay: bool,
    v6: bool,
) -> None:
    pair = Pair(seed=seed, **wire)
    for stack in (pair.a, pair.b):
        stack.options.nodelay = nodelay
        for name, value in options.items():
            setattr(stack.options, name, value)
    watch(pair)
    payload = random.Random(seed).randbytes(20_000)
    exchange(pair, payload[:there], payload[:back], chunk=max(chunk, (there + back) // 300), v6=v6)


def play(seed: int) -> None:
    """One seeded world: wires, sizes, a reader that sleeps (zero windows) and one whose buffer shrinks."""
    chance = random.Random(seed)
    wire: dict[str, Any] = {
        "loss": chance.choice([0, 0.01, 0.05, 0.15, 0.3]),
        "duplicate": chance.choice([0, 0.05, 0.2]),
        "reorder": chance.choice([0, 0.1, 0.4]),
        "corrupt": chance.choice([0, 0.01, 0.05]),
        "delay": chance.choice([0.0005, 0.01, 0.1]),
    }
    pair = Pair(seed=seed, mtu=chance.choice([1280, 1420, 8920]), budget=chance.choice([4000, 262_144]), **wire)
    for stack in (pair.a, pair.b):
        stack.options.congestion = chance.choice(["cubic", "reno"])
        stack.options.sack = chance.random() < 0.8
        stack.options.nodelay = chance.random() < 0.5
    watch(pair)
    size = chance.choice([0, 1, 1000, 30_000])
    exchange(
        pair,
        chance.randbytes(size),
        chance.randbytes(chance.choice([0, 5, 10_000, size])),
        v6=chance.random() < 0.5,
        chunk=chance.choice([100, 700, 65_536]),
        slow=chance.choice([0, 0, 1000]),
    )


@pytest.mark.parametrize("seed", range(40))
def test_a_seeded_world(seed: int) -> None:
    play(seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("block", range(ROUNDS // BLOCK))
def test_a_thousand_seeded_worlds(block: int) -> None:
    for seed in range(block * BLOCK, block * BLOCK + BLOCK):
        try:
            play(seed)
        except BaseException as error:
            error.add_note(f"seed {seed}: tests.netstack.test_properties.play({seed})")
            raise
