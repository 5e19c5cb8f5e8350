"""Transfers on bad links, as values: which size goes with which loss, and the pairs of everything else.

| bytes   | loss of data, of acknowledgements | round trips   |
|---------|-----------------------------------|---------------|
| 64 MiB  | none                              | 2, 40, 400 ms |
| 8 MiB   | 1 %, 1 %                          | 2, 40 ms      |
| 1 MiB   | 5 %, 5 %                          | 2, 40, 400 ms |
| 128 KiB | 15 %, 15 %                        | 2, 40, 400 ms |
| 128 KiB | 30 %, 10 % (nightly: 30 %)        | 2, 40, 400 ms |

Each row four times, so that either end sends, with and without reordering and duplication; round trips, families and
who connects are chosen so that each pair of values meets. `SideBySide` runs cases in processes of their own, each with
its own deadline: most wait for timers, not for a core.

At 30 % each way half of all timeouts bring nothing and double the next: of 8 such transfers from Linux to Linux 5 were
not done in 200 s. So many are left to the nightly run, with 15 minutes each.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cached_property
from typing import Literal

import attrs
import pytest

from tests.lab.shim import Shim

MIB = 1 << 20
ROWS = ((64 * MIB, 0.0), (8 * MIB, 0.01), (MIB, 0.05), (MIB // 8, 0.15), (MIB // 8, 0.30))
ROUND_TRIPS = (0.002, 0.040, 0.400)
AT_ONCE = 12
NIGHTLY = os.environ.get("TSNET_NIGHTLY") == "1"
DEADLINE = 900.0 if NIGHTLY else 150.0
MOST_ACKS_LOST = 0.3 if NIGHTLY else 0.15
DISORDER = 0.02
"""The share of packets that arrive late, by a quarter of a round trip at most, and of those that arrive twice."""

Side = Literal["ours", "theirs"]


@attrs.frozen
class Case:
    """One transfer. sender, dials: which end."""

    size: int
    loss: float
    rtt: float
    disorder: bool = False
    sender: Side = "ours"
    dials: Side = "ours"
    v6: bool = False

    def __str__(self) -> str:
        size = f"{self.size // MIB}MiB" if self.size >= MIB else f"{self.size // 1024}KiB"
        words = [size, f"{self.loss:.0%}", f"{self.rtt * 1000:.0f}ms", f"{self.sender}-send", f"{self.dials}-dial"]
        return "-".join([*words, "v6" if self.v6 else "v4", *(["disorder"] if self.disorder else [])])

    @property
    def seed(self) -> int:
        return zlib.crc32(str(self).encode())

    def shims(self) -> tuple[Shim, Shim]:
        """From our side to theirs, and back."""
        acks = self.loss if self.loss <= MOST_ACKS_LOST else 0.1
        there, back = (self.loss, acks) if self.sender == "ours" else (acks, self.loss)
        return self._shim(self.seed, there), self._shim(self.seed + 1, back)

    def _shim(self, seed: int, loss: float) -> Shim:
        chance = DISORDER if self.disorder else 0.0
        return Shim(seed, delay=self.rtt / 2, loss=loss, reorder=chance, duplicate=chance, late=self.rtt / 4)

    @cached_property
    def payload(self) -> bytes:
        return random.Random(self.seed).randbytes(self.size)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.payload).hexdigest()


@attrs.frozen
class Outcome:
    """What became of it. retransmitted: bytes, where our end sent."""

    sent: str
    received: str
    bytes: int
    seconds: float
    error: str | None
    there: Counter[str]
    back: Counter[str]
    retransmitted: int = 0
    theirs: dict[str, int] = attrs.field(factory=dict)
    """What the other end counted."""


def matrix() -> list[Case]:
    """The longest first."""
    cases: list[Case] = []
    for row, (size, loss) in enumerate(ROWS):
        for turn in range(4):
            trips = ROUND_TRIPS[:2] if loss == 0.01 else ROUND_TRIPS
            place = turn ^ turn >> 1 if loss == 0.01 else turn + row
            sender: Side = "theirs" if turn & 2 else "ours"
            dials: Side = "theirs" if (turn + row) & 1 else "ours"
            rtt = trips[place % len(trips)]
            cases.append(Case(size, loss, rtt, bool(turn & 1), sender, dials, bool(row + (turn >> 1) & 1)))
    return sorted(cases, key=lambda case: (case.rtt, case.loss), reverse=True)


class SideBySide:
    """Runs `function(case)` for the cases it is told of, and keeps what comes of each until it is asked for."""

    def __init__(self, function: Callable[[Case], Outcome], cases: list[Case]) -> None:
        self._pool = ProcessPoolExecutor(min(AT_ONCE, len(cases)), multiprocessing.get_context("spawn"))
        self._running: dict[str, Future[Outcome]] = {str(case): self._pool.submit(function, case) for case in cases}

    def outcome(self, case: Case) -> Outcome:
        """Waits for it. An exception of the case is raised here."""
        return self._running[str(case)].result(DEADLINE * 2)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def chosen(request: pytest.FixtureRequest) -> list[Case]:
    """The cases of the module's tests that this run will ask for."""
    items = [item for item in request.session.items if item.path == request.path]
    return [case for item in items if (case := getattr(item, "callspec").params.get("case"))]  # noqa: B009
