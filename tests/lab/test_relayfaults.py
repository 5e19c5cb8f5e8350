"""A home relay fails in real time under two of our nodes and two of Go's: no stream is lost, and ours find another way.

| fault        | between ours, over relays: silent for at most                                                  |
|--------------|------------------------------------------------------------------------------------------------|
| killed       | 3 s                                                                                            |
| with control | 10 s: a home is left only when control can tell it to others, and it is away for five of them  |
| no STUN      | 1 s                                                                                            |
| all others   | 15 s                                                                                           |

On direct paths nobody notices any of it. What Go's own nodes feel in the same scene is printed, and only that they lose
nothing is asserted. Under TSNET_NIGHTLY=1 the faults last for minutes, and all of them are tried.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.interop.harness.requirements import need
from tests.lab.relayfaults import CONTROL, FAULTS, Disturbance, Felt, Four, Moves, disturb, table

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(900)]

NIGHTLY = os.environ.get("TSNET_NIGHTLY") == "1"
LONG = {
    "killed": 180.0,
    "black hole": 300.0,
    "vanishes": 300.0,
    "one side": 120.0,
    "no STUN": 120.0,
    "with control": 60.0,
}
SHORT = {"killed": 20.0, "black hole": 30.0, "vanishes": 30.0, "one side": 20.0, "no STUN": 20.0, "with control": 8.0}
SECONDS = LONG if NIGHTLY else SHORT
BRIEF = 8.0
WITHIN = {"killed": 3.0, "with control": 10.0, "no STUN": 1.0}
SILENCE = 15.0
DIRECT = 2.0
AFTER = 10.0
BACK = 45.0
"""Seconds until our nodes are home again: the lost relay is dialled every few seconds, and a report comes in 26."""
OVER_RELAYS = tuple(FAULTS) if NIGHTLY else ("killed", "black hole", "no STUN", "one side", "with control")
DIRECTLY = tuple(FAULTS) if NIGHTLY else ("killed", "black hole", "with control")
STAY = ("no STUN",)
"""Faults that are no reason for our nodes to leave: the relay itself is there."""


def settled(path: Path, kind: str, fault: str) -> Four:
    control = CONTROL.get(fault, "testcontrol")
    need("root", "nft", "derper", "tsnetpeer", control)
    return Four(path, kind, control=control)


@pytest.mark.parametrize("fault", OVER_RELAYS)
def test_over_relays(tmp_path: Path, fault: str) -> None:
    with settled(tmp_path, "hard", fault) as four:
        found = disturb(four, fault, seconds=SECONDS[fault], only_ours=not NIGHTLY)
    print(table([found]))
    assert not [felt.error for felt in found.lanes.values() if felt.error]
    ours = found.lanes["ours to ours"]
    assert ours.during < WITHIN.get(fault, SILENCE)
    assert ours.after < AFTER
    check_homes(found, fault)


def check_homes(found: Disturbance, fault: str) -> None:
    left = found.moves["ours-left"]
    if fault in STAY:
        assert left.away is None
        return
    assert left.away is not None
    assert left.back is not None
    assert left.back < BACK
    homes = [text for text in found.told["ours-left"] if text.startswith("home ")]
    assert homes[-2:] == ["home 2", "home 1"], "HomeChanged tells both moves"


@pytest.mark.parametrize("fault", DIRECTLY)
def test_on_direct_paths(tmp_path: Path, fault: str) -> None:
    """All four lanes are direct before; ours do not leave their path, and nobody is silent."""
    with settled(tmp_path, "easy", fault) as four:
        found = disturb(four, fault, seconds=SECONDS[fault] if NIGHTLY else BRIEF, patience=0.0)
    print(table([found]))
    assert not [felt.error for felt in found.lanes.values() if felt.error]
    assert found.lanes["ours to ours"].during < DIRECT
    assert all(felt.during < AFTER and felt.after < AFTER for felt in found.lanes.values())


def test_a_table_tells_silence_and_homes() -> None:
    felt = {name: Felt(1.5, 0.1) for name in ("ours to ours", "ours to Go", "Go to ours")}
    felt["Go to Go"] = Felt(9.0, 0.0, "PeerError: lost")
    moves = {name: Moves(1.0, 2.0) for name in ("ours-left", "go-right")} | {"go-left": Moves()}
    last = table([Disturbance("killed", 20.0, felt, moves, {})]).splitlines()[-1]
    assert last == (
        "| killed, 20 s | 1.5 s, 0.1 s | 1.5 s, 0.1 s | 1.5 s, 0.1 s | PeerError: lost | 1.0 s, 2.0 s | never, never |"
    )
