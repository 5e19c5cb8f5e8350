"""Every pair of homes, a node in each: who reaches whom directly, and how soon.

    python -m tests.lab.grid --peers go-go                 Go's tsnet in both homes
    python -m tests.lab.grid --peers ours-go --dialler b   ours on the left, and the right one dials
    python -m tests.lab.grid --peers ours-go,go-go         two tables, and the median of each

A row is the left home, whose node dials unless --dialler says `b`. Several pairs are looked at side by side, each in a
scene of its own: they wait more than they work. A cell is the median of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import attrs

from tests.lab.homes import Cell, Homes, Who, meet
from tests.lab.routers import GRID, KINDS, can_be_direct

OTHERS = (
    ("none", "easy"),
    ("none", "stray"),
    ("none", "hard"),
    ("cgnat", "easy"),
    ("cgnat", "cgnat"),
    ("cgnat", "hard"),
    ("cgnat-hard", "easy"),
    ("cgnat-hard", "fullcone"),
    ("udp-blocked", "easy"),
    ("udp-blocked", "udp-blocked"),
    ("v6", "v6"),
    ("v6", "easy"),
)
"""Pairs beside the five by five."""

Pair = tuple[str, str]
Failure = str
Rounds = list[Cell | Failure]
Dialler = Literal["a", "b"]


@attrs.frozen
class Asked:
    """How a pair is looked at."""

    who: tuple[Who, Who]
    dialler: Dialler = "a"
    patience: float = 10.0
    rounds: int = 1
    side_by_side: int = 4


def measure(pair: Pair, asked: Asked) -> Cell | Failure:
    """One cell, or why there is none."""
    with tempfile.TemporaryDirectory(prefix="grid-") as folder:
        try:
            with Homes(Path(folder), *pair, asked.who) as homes:
                return meet(homes, patience=asked.patience, dialler=asked.dialler)
        except Exception as error:
            return f"{type(error).__name__}: {error}"


def measure_all(pairs: Sequence[Pair], asked: Asked) -> dict[Pair, Rounds]:
    todo = [pair for _ in range(asked.rounds) for pair in pairs]
    found: dict[Pair, Rounds] = {pair: [] for pair in pairs}
    with ThreadPoolExecutor(asked.side_by_side) as pool:
        for pair, cell in zip(todo, pool.map(lambda pair: measure(pair, asked), todo), strict=True):
            found[pair].append(cell)
    return found


def square(cells: dict[Pair, Rounds], names: Sequence[str]) -> str:
    """As a table of Markdown."""
    head = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    rows = [f"| {left} | {' | '.join(told(cells[left, right]) for right in names)} |" for left in names]
    return "\n".join([*head, *rows])


def column(cells: dict[Pair, Rounds]) -> str:
    return "\n".join(["| pair | |", "|---|---|", *(f"| {a} to {b} | {told(cell)} |" for (a, b), cell in cells.items())])


def told(rounds: Rounds) -> str:
    """direct, and when; in how many rounds, if not in all; or relay."""
    direct = [cell.direct_after for cell in rounds if isinstance(cell, Cell) and cell.direct_after is not None]
    failed = sum(isinstance(cell, Failure) for cell in rounds)
    words = [f"direct, {milliseconds(statistics.median(direct))}" if direct else "" if failed else "relay"]
    words += [f"{len(direct)} of {len(rounds)}"] if direct and len(direct) < len(rounds) else []
    words += [f"{failed} failed"] if failed else []
    return ", ".join(filter(None, words))


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def summary(cells: Iterable[Rounds]) -> str:
    good = [cell for rounds in cells for cell in rounds if isinstance(cell, Cell)]
    direct = [cell.direct_after for cell in good if cell.direct_after is not None]
    if not good:
        return "Nothing was measured."
    text = f"{len(direct)} of {len(good)} direct. First byte: {spread([cell.first_byte for cell in good])}."
    return f"{text} Direct: {spread(direct)}." if direct else text


def spread(seconds: list[float]) -> str:
    return f"median {milliseconds(statistics.median(seconds))}, at most {milliseconds(max(seconds))}"


def surprises(cells: dict[Pair, Rounds]) -> list[str]:
    """Pairs that were not direct though the simplest punching joins them, or the other way round, and failures."""
    found = []
    for pair, rounds in cells.items():
        for cell in rounds:
            if isinstance(cell, Failure):
                found.append(f"{' to '.join(pair)}: {cell.splitlines()[0]}")
            elif cell.is_direct != can_be_direct(*pair):
                found.append(f"{' to '.join(pair)}: {'direct' if cell.is_direct else 'relay'} against the rule, {cell}")
    return found


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="direct or relayed, for every pair of homes")
    parser.add_argument("--peers", default="go-go", help="go-go, ours-go, go-ours, ours-ours; several with commas")
    parser.add_argument("--dialler", default="a", choices=["a", "b"])
    parser.add_argument("--kinds", default=",".join(GRID), help=f"of {', '.join(KINDS)}")
    parser.add_argument("--others", action="store_true", help="also pairs beside the square")
    parser.add_argument("--patience", type=float, default=10.0, help="seconds until a pair is left on its relay")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--side-by-side", type=int, default=4)
    return parser.parse_args()


def main() -> None:
    asked = options()
    kinds = asked.kinds.split(",")
    for peers in asked.peers.split(","):
        left, right = peers.split("-")
        how = Asked((left, right), asked.dialler, asked.patience, asked.rounds, asked.side_by_side)
        print(f"\n{peers}, the {'right' if asked.dialler == 'b' else 'left'} one dials\n")
        cells = measure_all([(left, right) for left in kinds for right in kinds], how)
        print(square(cells, kinds), "", summary(cells.values()), sep="\n")
        if asked.others:
            more = measure_all(OTHERS, how)
            print("", column(more), "", summary(more.values()), sep="\n")
            cells |= more
        print(*surprises(cells), sep="\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
