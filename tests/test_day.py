"""A day, and an hour, of ten nodes while everything around them fails: `tests.day` says what must hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.day import EVENTS, Day
from tests.inhabitants import Inhabitant, explains
from tsnet import errors


def live(seed: int, hours: float, nodes: int = 10, backend: str = "asyncio") -> Day:
    """A day that has passed without a fault."""
    day = Day(seed, hours, nodes)
    anyio.run(day.run, backend=backend)
    return day


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_day() -> None:
    day = live(1, 24)
    assert len(day.measures) >= 10
    assert {each.split()[1] for each in day.happened} == {event.__name__ for event in EVENTS}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_hour_of_four_nodes(backend: str) -> None:
    day = live(5, 1, nodes=4, backend=backend)
    assert day.measures
    assert day.happened
    assert sum(sum(each.did.values()) for each in day.inhabitants) > 50


def test_the_same_seed_is_the_same_hour_whatever_the_hash_seed() -> None:
    script = "from tests.test_day import live; print(live(6, 1, nodes=2).world.trace)"
    root = Path(__file__).parent.parent
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": number, "PYTHONPATH": str(root)},
            cwd=root,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in ("1", "2")
    ]
    traces = {process.communicate()[0] for process in processes}
    assert len(traces) == 1
    assert len(traces.pop().strip()) == 64


# --- that a fault would be noticed --------------------------------------------------------------------------------


def failing(day: Day, text: str) -> None:
    with pytest.raises(BaseExceptionGroup) as raised:
        anyio.run(day.run)
    found: Any = raised.value
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, AssertionError)
    assert text in str(found)


def test_a_node_that_does_not_get_up_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    day = Day(5, 1, nodes=2)
    monkeypatch.setattr(Day, "hand_out_the_key", lambda self: self.tailnet._state.auth_keys.clear())
    monkeypatch.setattr("tests.day.MENDED_BY", 60.0)
    monkeypatch.setattr("tests.day.EVENTS", {_everything_is_forgotten: 1})
    failing(day, "does not get up: AuthKeyRejected")


async def _everything_is_forgotten(day: Day) -> None:
    day.weather |= {"control", "forgotten", "locked out", "stranger"}
    await day.restart_control(keep_state=False, keep_key=True)


def test_a_node_that_takes_turns_for_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    day = Day(5, 1, nodes=2)
    monkeypatch.setattr("tests.day.TURNS", 0.02)
    failing(day, "s without work")


def test_an_error_that_nothing_explains_is_noticed() -> None:
    assert explains({"expired"}, errors.KeyExpired("it has expired"))
    assert not explains({"relay"}, errors.KeyExpired("it has expired"))
    assert explains({"neighbour"}, errors.DialRefused("nobody listens"))
    assert not explains({"neighbour"}, errors.ConfigError("a fault"))
    assert not explains({"neighbour"}, None)


def test_a_verb_that_takes_longer_than_its_timeout_is_noticed() -> None:
    async def sleep_too_long(who: Inhabitant, other: Inhabitant, timeout: float) -> None:
        await who.sleep(timeout + 1)

    async def main() -> None:
        async with Day(1, 1) as day, anyio.create_task_group() as group:
            one = Inhabitant(day, group, "one")
            await one.attempt(sleep_too_long, one, set())

    with pytest.raises(BaseExceptionGroup) as raised:
        anyio.run(main)
    assert "sleep_too_long" in str(raised.value.exceptions[0])
