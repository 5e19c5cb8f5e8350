"""Our node and Go's in two homes: direct wherever the simplest punching is, on a relay everywhere else.

Pairs with a `stray` router that count as impossible may be direct: it depends on who begins.

| role          | pairs                                                                           |
|---------------|---------------------------------------------------------------------------------|
| ours dials Go | all 25 of the square, and those beside it                                       |
| Go dials ours | some, so that each kind is on each side; all 25 under TSNET_NIGHTLY=1           |

The pairs that everybody joins are measured with Go in place of ours, too, which may be earlier by `COLD` at most.

That a path is direct is what both say: ours by its routes, Go by CurAddr.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from itertools import chain
from pathlib import Path

import pytest

from tests.interop.harness.requirements import need
from tests.lab.conftest import BuildHomes
from tests.lab.firstdirect import seconds_to_direct
from tests.lab.grid import OTHERS, Pair, spread
from tests.lab.homes import Cell, Homes, Who, meet
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
COLD = 0.02
"""Seconds by which ours may be later than Go by median, for what else the machine does."""
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
@pytest.mark.timeout(600)
def test_how_soon_beside_go() -> None:
    """In the same homes, turn about. Go waits for 5 s wherever its first pings were lost; ours never does.

    Where none is lost, both are direct with the first answer.
    """
    need("root", "nft", "testcontrol", "derper", "tsnetpeer")
    ours, gos = how_soon(("ours", "go"), ("go", "go"))
    assert all(seconds < SOON for found in ours.values() for seconds in found)
    medians = [statistics.median(chain.from_iterable(each.values())) for each in (ours, gos)]
    assert medians[0] < medians[1] + COLD
    assert all(statistics.median(ours[pair]) < statistics.median(gos[pair]) + COLD for pair in ours)


def how_soon(*players: tuple[Who, Who]) -> list[dict[Pair, list[float]]]:
    """Of each of these, seconds from the dial until it is direct, by pair: three rounds, in each of which all have a
    turn."""
    kinds = ("fullcone", "restricted", "easy")
    pairs = [(left, right) for left in kinds for right in kinds]
    found: list[dict[Pair, list[float]]] = [{pair: [] for pair in pairs} for _ in players]
    for _ in range(3):
        for pair in pairs:
            for who, by_pair in zip(players, found, strict=True):
                with (
                    tempfile.TemporaryDirectory(prefix="soon-") as folder,
                    Homes(Path(folder), *pair, who) as homes,
                ):
                    by_pair[pair].append(seconds_to_direct(homes))
    for who, by_pair in zip(players, found, strict=True):
        print("-".join(who), spread([*chain.from_iterable(by_pair.values())]))
        print(*(f"  {'-'.join(pair)} {spread(each)}" for pair, each in by_pair.items()), sep="\n")
    return found
