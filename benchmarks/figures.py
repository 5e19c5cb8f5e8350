"""What a benchmark says: figures with their floors, or why it could not run; and the table of them all.

A floor gates (`python -m benchmarks --floors` fails below it); a goal is only printed. `at_most` turns both round.
Figures that compare two measurements of one run are ratios; the absolute ones are the machine's.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

import attrs


@attrs.frozen
class Figure:
    """One row. name: "benchmark: what", as the documents quote it."""

    name: str
    value: float
    unit: str = ""
    floor: float | None = None
    goal: float | None = None
    at_most: bool = False
    note: str = ""

    @property
    def holds(self) -> bool:
        if self.floor is None:
            return True
        return self.value <= self.floor if self.at_most else self.value >= self.floor


@attrs.frozen
class Skipped:
    """Nothing was measured, for this reason."""

    name: str
    reason: str


Row = Figure | Skipped


def spread(values: Sequence[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}, n={len(values)}"


def median(name: str, values: Sequence[float], unit: str = "", **more: float | bool | None) -> Figure:
    """A figure of several measurements, its range in the note."""
    return Figure(name, statistics.median(values), unit, note=spread(values), **more)  # type: ignore[arg-type]


def ratio(small: Callable[[], float], large: Callable[[], float], rounds: int) -> float:
    """Large to small, each the best of its rounds, in turns: what else runs on the machine then harms both."""
    pairs = [(small(), large()) for _ in range(rounds)]
    return min(each[1] for each in pairs) / min(each[0] for each in pairs)


def table(rows: Iterable[Row]) -> str:
    lines = [f"{'':46} {'':>11}  {'floor':>7} {'goal':>6}"]
    for row in rows:
        if isinstance(row, Skipped):
            lines.append(f"{row.name:46} {'skipped':>11}  {row.reason}")
            continue
        limits = f"{_limit(row.floor, row.at_most):>7} {_limit(row.goal, row.at_most):>6}"
        verdict = "" if row.holds else "MISSED  "
        lines.append(f"{row.name:46} {f'{row.value:.3g} {row.unit}'.rstrip():>11}  {limits}  {verdict}{row.note}")
    return "\n".join(line.rstrip() for line in lines)


def _limit(value: float | None, at_most: bool) -> str:
    return "" if value is None else f"{'<=' if at_most else '>='}{value:g}"
