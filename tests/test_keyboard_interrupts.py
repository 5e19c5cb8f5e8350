"""Ctrl-C, and time limits, at random moments, in a process of its own: a signal's handler needs the main thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.test_timeouts import ARGUMENTS
from tests.waiting_calls import KINDS, SOCKETS

ROOT = Path(__file__).parents[1]
NIGHTLY = os.environ.get("TSNET_NIGHTLY") == "1"


def given_up(count: int, seed: int) -> tuple[Counter[str], Counter[str]]:
    """How many interrupts came in which call, and how many calls ended by their time limit. Whatever was wrong is in
    the output."""
    command = [sys.executable, "-W", "ignore::ResourceWarning", "-m", "tests.keyboard_interrupts"]
    run = subprocess.run(
        [*command, "--count", str(count), "--seed", str(seed)], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert run.returncode == 0, run.stdout + run.stderr
    print(run.stdout)
    found = json.loads(run.stdout.splitlines()[-1])
    return Counter(found["interrupts"]), Counter(found["limits"])


def test_every_call_that_waits_is_among_them() -> None:
    assert set(ARGUMENTS) <= set(KINDS)


def test_two_dozen_calls_given_up_leave_nothing_and_the_next_one_works() -> None:
    interrupts, limits = given_up(24, 7)
    assert interrupts.total() + limits.total() == 24


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_hundreds_of_calls_given_up_leave_nothing_and_the_next_one_works() -> None:
    count = 3000 if NIGHTLY else 400
    interrupts, limits = given_up(count, 1)
    assert limits.total() > count // 20
    assert len(interrupts) >= len(KINDS) - 2  # when each comes depends on how fast this machine is
    if NIGHTLY:
        assert set(interrupts) == set(KINDS)
        assert min(interrupts.values()) > 20
        assert min(interrupts[kind] for kind in SOCKETS) > 40
