"""Two Go nodes in two homes: the referee is right about those whom nobody here wrote.

`docs/nat-grid.md` has the whole table, which `python -m tests.lab.grid` makes.
"""

from __future__ import annotations

import pytest

from tests.lab.conftest import BuildHomes
from tests.lab.grid import column, square, summary, surprises, told
from tests.lab.homes import Cell, meet
from tests.lab.routers import can_be_direct

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]

FIRST_BYTE = 12.0
"""Seconds. Go's initiation may be lost with a path that is not one yet; it sends the next 5 s later."""
DIRECT = 17.0
"""Seconds. Go asks a path again that did not answer at once 5 s later, and once more after that."""


@pytest.mark.parametrize(
    ("left", "right"),
    [("easy", "easy"), ("hard", "restricted"), ("hard", "easy"), ("cgnat", "fullcone"), ("v6", "v6")],
    ids=str,
)
def test_go_to_go(homes: BuildHomes, left: str, right: str) -> None:
    possible = can_be_direct(left, right)
    built = homes.settle(left, right, ("go", "go"))
    cell = meet(built, patience=DIRECT if possible else 6.0)
    print(cell)
    assert cell.is_direct == possible
    assert cell.first_byte < FIRST_BYTE
    if possible:
        assert cell.direct.rpartition(":")[0].strip("[]") == built.internet.right.public


CELL = Cell("easy", "easy", 0.02, 0.03, "11.2.0.2:1", True)
RELAYED = Cell("easy", "easy", 0.02, None)


def test_a_table_tells_the_median_and_how_often() -> None:
    assert told([CELL, CELL]) == "direct, 30 ms"
    assert told([CELL, RELAYED]) == "direct, 30 ms, 1 of 2"
    assert told([RELAYED]) == "relay"
    assert told([RELAYED, "OSError: no"]) == "1 failed"
    assert square({("easy", "easy"): [CELL]}, ["easy"]).splitlines()[-1] == "| easy | direct, 30 ms |"
    assert column({("easy", "hard"): [RELAYED]}).splitlines()[-1] == "| easy to hard | relay |"


def test_what_is_against_the_rule_is_named() -> None:
    assert surprises({("easy", "easy"): [CELL], ("hard", "hard"): [RELAYED]}) == []
    [one, two] = surprises({("easy", "easy"): [RELAYED], ("hard", "hard"): ["OSError: no"]})
    assert one.startswith("easy to easy: relay")
    assert two == "hard to hard: OSError: no"
    assert summary([[CELL], [RELAYED]]).startswith("1 of 2 direct. First byte: median 20 ms")
