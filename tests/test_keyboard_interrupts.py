"""Ctrl-C at random moments, in a process of its own: a signal's handler needs the main thread."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def interrupts(count: int, seed: int) -> dict[str, int]:
    """How many came in which call. Whatever was wrong is in the output."""
    command = [sys.executable, "-W", "ignore::ResourceWarning", "-m", "tests.keyboard_interrupts"]
    run = subprocess.run(
        [*command, "--count", str(count), "--seed", str(seed)], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return {kind: int(number) for kind, number in re.findall(r"'([a-z ]+)': (\d+)\b", run.stdout.partition(";")[0])}


def test_two_dozen_interrupts_leave_nothing_and_the_next_call_works() -> None:
    assert sum(interrupts(24, 7).values()) == 24


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_three_thousand_interrupts_leave_nothing_and_the_next_call_works() -> None:
    hits = interrupts(3000, 1)
    assert set(hits) == {"up", "close node", "dial", "listen", "accept", "recv", "send", "close"}
    assert min(hits.values()) > 100
