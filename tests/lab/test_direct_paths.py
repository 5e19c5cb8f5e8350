"""Our node and Go's in two homes: direct wherever the simplest punching is, on a relay everywhere else.

Pairs with a `stray` router that count as impossible may be direct: it depends on who begins.

| role          | pairs                                                                           |
|---------------|---------------------------------------------------------------------------------|
| ours dials Go | all 25 of the square, and those beside it                                       |
| Go dials ours | some, so that each kind is on each side; all 25 under TSNET_NIGHTLY=1           |

A few pairs are measured with Go in place of ours, too, and the medians are printed.

That a path is direct is what both say: ours by its routes, Go by CurAddr.
"""

from __future__ import annotations

import os

import pytest

from tests.interop.harness.requirements import need
from tests.lab.conftest import BuildHomes
from tests.lab.grid import OTHERS, Asked, Pair, measure_all, summary
from tests.lab.homes import Cell, Who, meet
from tests.lab.routers import GRID, can_be_direct

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

NIGHTLY = os.environ.get("TSNET_NIGHTLY") == "1"
ALL = [(left, right) for left in GRID for right in GRID]
SOME = [
    ("fullcone", "hard"),
    ("restricted", "easy"),
    ("easy", "restricted"),
    ("stray", "fullcone"),
    ("hard", "restricted"),
    ("easy", "easy"),
    ("hard", "easy"),
    ("restricted", "stray"),
]
FIRST_BYTE = 1.5
"""Seconds until a byte has come back, on a relay."""
DIRECT = 11.0
"""Seconds. Go, once a ping of its own was lost, pings again after 5 s, and so once more."""
SOON = 2.0
"""Seconds, as nobody waits for the next round of pings; on an idle machine it is a fiftieth of that."""
NEVER = 6.0
"""Seconds after which a pair that needs its relay is left on it."""


def cases(pairs: list[Pair]) -> list[object]:
    return [pytest.param(*pair, id="-to-".join(pair)) for pair in pairs]


def check(homes: BuildHomes, left: str, right: str, who: tuple[Who, Who]) -> Cell:
    possible = can_be_direct(left, right)
    cell = meet(homes.settle(left, right, who), patience=DIRECT if possible else NEVER)
    print(cell)
    assert cell.is_direct == possible or (cell.is_direct and "stray" in (left, right))
    assert cell.first_byte < FIRST_BYTE
    return cell


@pytest.mark.parametrize(("left", "right"), cases([*ALL, *OTHERS]))
def test_ours_dials_go(homes: BuildHomes, left: str, right: str) -> None:
    check(homes, left, right, ("ours", "go"))


@pytest.mark.parametrize(("left", "right"), cases(ALL if NIGHTLY else SOME))
def test_go_dials_ours(homes: BuildHomes, left: str, right: str) -> None:
    check(homes, left, right, ("go", "ours"))


@pytest.mark.slow
def test_how_soon_beside_go() -> None:
    """The same pairs, one after the other. Go waits for 5 s wherever its first pings were lost; ours never does."""
    need("root", "nft", "testcontrol", "derper", "tsnetpeer")
    pairs = [(left, right) for left in ("restricted", "easy") for right in ("restricted", "easy")]
    found = {who: measure_all(pairs, Asked(who, rounds=2, side_by_side=1)) for who in (("ours", "go"), ("go", "go"))}
    for who, cells in found.items():
        print("-".join(who), summary(cells.values()))
    ours = [cell for rounds in found["ours", "go"].values() for cell in rounds]
    assert all(isinstance(cell, Cell) and cell.is_direct and (cell.direct_after or 0.0) < SOON for cell in ours)
