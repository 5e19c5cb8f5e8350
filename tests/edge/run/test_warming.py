"""Made ready step by step: while nothing else is due, as long as the node runs, and whatever one step meets."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import tsnet
from tests.virtual import VirtualTailnet
from tsnet.base.records import record
from tsnet.edge.run import warming
from tsnet.edge.run.alarms import Alarm, Alarms
from tsnet.edge.run.warming import LONG_PAUSE, PAUSE, Warming, joining, talking
from tsnet.testing.tailnet import Tailnet

ROOT = Path(__file__).parents[3]


class FakeLoop:
    """With a hand clock. busy_until: when what else is due has been done."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.busy_until = 0.0
        self.alarms = Alarms()

    def now(self) -> float:
        return self.time

    def due(self) -> float:
        return self.time if self.time < self.busy_until else self.alarms.due()

    def at(self, when: float, function: Callable[[], object]) -> Alarm:
        return self.alarms.at(when, function)

    def go_on(self, seconds: float) -> None:
        end = self.time + seconds
        while self.alarms.due() <= end:
            self.time = self.alarms.due()
            self.alarms.ring(self.time)
        self.time = end


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps in their order: the modules' names, and those of three records."""
    found: list[str] = []

    def import_module(name: str) -> None:
        found.append(name)
        if name == "broken":
            raise OSError("no descriptor is left")

    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.setattr(attrs, "fields", lambda cls: found.append(cls.__name__))
    monkeypatch.setattr(warming, "DIALLING", (int, str))
    monkeypatch.setattr(warming, "ANSWERING", (bytes,))
    return found


def test_one_step_at_a_time_modules_first(taken: list[str]) -> None:
    loop = FakeLoop()
    each = Warming(loop, talking(["one", "two"]), lambda: True)
    each.step()
    assert taken == ["one"]
    loop.go_on(PAUSE * 1.5)
    assert taken == ["one", "two"]
    assert not each.is_over
    loop.go_on(PAUSE * 10)
    assert taken == ["one", "two", "int", "str", "bytes"]
    assert each.is_over
    assert loop.alarms.due() == float("inf")


def test_a_busy_node_is_left_alone(taken: list[str]) -> None:
    loop = FakeLoop()
    loop.busy_until = loop.time + 2.5 * LONG_PAUSE
    each = Warming(loop, talking([]), lambda: True)
    each.step()
    loop.go_on(2.4 * LONG_PAUSE)
    assert taken == []
    loop.go_on(LONG_PAUSE)
    assert each.is_over
    assert len(taken) == 3


def test_a_node_that_ends_needs_nothing_more(taken: list[str]) -> None:
    loop, runs = FakeLoop(), [True]
    each = Warming(loop, talking(["one", "two"]), lambda: runs[0])
    each.step()
    runs[0] = False
    loop.go_on(1.0)
    assert taken == ["one"]
    assert each.is_over


def test_what_cannot_be_made_is_left_to_whoever_needs_it(taken: list[str]) -> None:
    loop = FakeLoop()
    Warming(loop, talking(["broken", "two"]), lambda: True).step()
    loop.go_on(1.0)
    assert taken == ["broken", "two", "int", "str", "bytes"]


def test_a_step_makes_the_methods_of_a_record() -> None:
    @record
    class Warmed:
        field: int

    loop = FakeLoop()
    before: Any = vars(Warmed)["__attrs_attrs__"]
    each = Warming(loop, [lambda: attrs.fields(Warmed)], lambda: True)
    each.step()
    assert vars(Warmed)["__attrs_attrs__"] is not before


def test_a_node_in_its_applications_loop_is_not_warmed() -> None:
    import anyio

    async def main() -> None:
        async with VirtualTailnet() as virtual:
            node = await virtual.join("a")
            await virtual.sleep(2.0)
            assert node._handle.warming is None

    anyio.run(main)


def test_joining_makes_ready_what_control_says_and_is_answered(taken: list[str]) -> None:
    for step in joining():
        step()
    assert taken[0] == "h2.connection"
    assert {"RegisterRequest", "RegisterResponse", "MapRequest", "MapResponse", "NetMap"} <= set(taken)


JOINING = """
    import builtins, sys, tsnet
    from tsnet.edge.run import handle, warming

    made, compiles = [], builtins.compile
    def all_of_it(self):
        for step in warming.joining():
            step()
        builtins.compile = lambda text, name, *more, **named: made.append(name) or compiles(text, name, *more, **named)
    handle.WARM_JOINING_AFTER, handle.Handle._warm_joining = 0.0, all_of_it
    with tsnet.Server("a", ephemeral=True) as node:
        node.up()
        records = [name.split()[-1].rstrip(">") for name in made if name.startswith("<attrs")]
        print("h2.connection" in sys.modules, *records)
"""

OF_CONTROL = ("tsnet.control.", "tsnet.netmap.", "tsnet.http1.", "tsnet.base.jsonpieces.")


@pytest.mark.slow
def test_a_node_made_ready_for_controls_answers_makes_no_record_for_them(tailnet: Tailnet) -> None:
    environ = {**os.environ, "TS_CONTROL_URL": tailnet.control_url, "TS_AUTHKEY": tailnet.auth_key}
    program = [sys.executable, "-c", textwrap.dedent(JOINING)]
    done = subprocess.run(
        program, env=environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True, check=True, timeout=60
    )
    is_there, *made = done.stdout.split()
    assert is_there == "True"
    assert [name for name in made if name.startswith(OF_CONTROL)] == []


FIRST_DIAL = """
    import builtins, sys, time, tsnet

    made, begun = [], time.monotonic()
    with tsnet.Server("a", ephemeral=True) as node:
        node.reachable()
        while node._handle.warming is None or not node._handle.warming.is_over:
            assert time.monotonic() < begun + 30.0
            time.sleep(0.01)
        node.status().peers[0].path
        before, compiles = set(sys.modules), builtins.compile
        builtins.compile = lambda text, name, *more, **named: made.append(name) or compiles(text, name, *more, **named)
        with node.dial("b", 7) as sock:
            assert sock.recv(1) == b"!"
            while not str(node.status().peers[0].path).startswith("direct"):
                assert time.monotonic() < begun + 30.0
                time.sleep(0.01)
        print(sorted(set(sys.modules) - before), made)
"""


@pytest.mark.slow
def test_a_first_dial_imports_no_module_and_makes_no_record(tailnet: Tailnet) -> None:
    """In a process of its own, until the path is direct."""
    there: dict[str, Any] = {"control_url": tailnet.control_url, "auth_key": tailnet.auth_key}
    with tsnet.Server("b", ephemeral=True, **there) as peer, peer.listen(7) as listener:
        peer.reachable()
        environ = {**os.environ, "TS_CONTROL_URL": tailnet.control_url, "TS_AUTHKEY": tailnet.auth_key}
        program = [sys.executable, "-c", textwrap.dedent(FIRST_DIAL)]
        with subprocess.Popen(
            program, env=environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
        ) as process:
            accepted, _ = listener.accept()
            with accepted:
                accepted.sendall(b"!")
                out, _ = process.communicate(timeout=60)
    assert out == "[] []\n"
