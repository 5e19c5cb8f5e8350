"""Nodes join a real Headscale and leave it, several at a time, ended by signals at any moment of their first seconds.

| kind      | what a run is                                  | what is left of it                                     |
|-----------|------------------------------------------------|--------------------------------------------------------|
| ephemeral | `tsnet run --ephemeral`, a name of its own     | nothing after SIGTERM and SIGINT; a killed one is      |
|           |                                                | forgotten by Headscale's own timeout                   |
| lasting   | `tsnet run --state-dir`, one of few identities | one node for each identity, and it works on            |

Headscale answers a registration after 0.85 s. It counts its timeout from the end of a node's map stream. Of a node that
was killed before its first one it begins to count when it is restarted itself: such a node stays until then, and
nothing that we could send would change that.

60 runs take half a minute and the wait for the timeout; TSNET_NIGHTLY=1 makes it 500.

Source: Headscale 0.29.3 hscontrol/poll.go afterServeLongPoll, hscontrol/app.go Serve (ephemeralGC).
"""

from __future__ import annotations

import os
import queue
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.headscale import Headscale
from tests.interop.harness.ours import until
from tests.interop.harness.process import Process
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(1200)]

RUNS = 500 if os.environ.get("TSNET_NIGHTLY") else 60
LATEST = 3.0  # seconds from a run's start to its signal, at most
SIDE_BY_SIDE = 5
IDENTITIES = 6
FORGOTTEN_AFTER = 66  # seconds; the least that Headscale allows
RECONNECT_WINDOW = 10  # seconds that Headscale waits for a map stream to come back before it counts
ENDINGS = {signal.SIGTERM: (143, -signal.SIGTERM), signal.SIGINT: (130, -signal.SIGINT), signal.SIGKILL: (-9, -9)}
"""The exit codes: of the command, and of a Python that is not as far yet."""
HUNG = 999
SLOWEST_END = 6.0  # seconds
TOO_EARLY = ("Fatal Python error: init_", "Could not import runpy module")


@attrs.frozen
class Ended:
    """moment: seconds from its start to the signal. seconds: from there to its end. orphans: what it left running."""

    name: str
    by: signal.Signals
    moment: float
    code: int
    said: str
    seconds: float
    orphans: tuple[str, ...]

    @property
    def was_killed(self) -> bool:
        return self.by == signal.SIGKILL

    @property
    def is_right(self) -> bool:
        """An interpreter that is interrupted before it has begun says so in its own way."""
        too_early = self.by == signal.SIGINT and self.code == 1 and self.said.startswith(TOO_EARLY)
        return self.code in ENDINGS[self.by] or too_early

    @property
    def has_a_traceback_of_ours(self) -> bool:
        """Not one of an interpreter that is interrupted while it looks for the command, which has not begun then."""
        return "Traceback" in self.said and "tsnet/" in self.said and "_get_module_details" not in self.said


@attrs.define
class Lab:
    """ended: every run so far, in the order of their ends."""

    scene: Scene
    headscale: Headscale
    ended: list[Ended] = attrs.Factory(list)
    last_kill: float = 0.0

    def left(self, beginning: str) -> list[str]:
        """The hostnames of Headscale's nodes that begin so; one that is there twice comes twice."""
        names = [str(node["name"]) for node in self.headscale.nodes()]
        return sorted(name for name in names if name.startswith(beginning))

    def has_polled(self, name: str) -> bool:
        """Whether Headscale saw its map stream begin."""
        assert self.headscale.process is not None
        log = self.headscale.process.log_path.read_text(errors="replace")
        return re.search(rf"node has connected.* node\.name={name} ", log) is not None

    @property
    def temporary(self) -> Path:
        folder = self.scene.folder / "tmp"
        folder.mkdir(exist_ok=True)
        return folder

    def state(self, name: str) -> Path:
        return self.scene.folder / f"state-{name}"

    def run(self, number: int, name: str, key: str, *options: str) -> Process:
        """`tsnet run` with nothing of ours in its environment but where to join."""
        environment = {
            "TS_CONTROL_URL": self.headscale.url,
            "TS_AUTHKEY": key,
            "TS_DEBUG_USE_DERP_HTTP": "1",
            "PYTHONPATH": str(Path(tsnet.__file__).parents[1]),
            "TMPDIR": str(self.temporary),
        }
        command = [sys.executable, "-m", "tsnet", "run", "--hostname", name, *options, "--", "sleep", "60"]
        return self.scene.run(f"{number:03}-{name}", command, environment=environment)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, _swept: None) -> Iterator[Lab]:
    need("root", "headscale")
    with (
        Scene(tmp_path_factory.mktemp("coming")) as scene,
        Headscale(scene, ephemeral_timeout=f"{FORGOTTEN_AFTER}s") as headscale,
    ):
        yield Lab(scene, headscale)


def plan(seed: int, count: int) -> list[tuple[bool, signal.Signals, float]]:
    """For each run: whether it is ephemeral, the signal, and when; its moments are spread over the whole time."""
    rng = random.Random(seed)
    moments = [(number + rng.random()) * LATEST / count for number in range(count)]
    rng.shuffle(moments)
    signals = [list(ENDINGS)[number % len(ENDINGS)] for number in range(count)]
    return [(rng.random() < 0.5, by, moment) for by, moment in zip(signals, moments, strict=True)]


def pause(seconds: float) -> None:
    """The moment is the test's own: nothing could be waited for."""
    threading.Event().wait(seconds)


def end(process: Process, by: signal.Signals, moment: float) -> Ended:
    pause(moment)
    os.kill(process.pid, by)
    begun = time.monotonic()
    try:
        code = process.popen.wait(30)
    except subprocess.TimeoutExpired:
        code = HUNG
    taken = time.monotonic() - begun
    orphans = of_session(process.pid)
    process.kill()  # with the child of one that was killed
    return Ended(process.name.partition("-")[2], by, moment, code, process.log(), taken, orphans)


def of_session(leader: int) -> tuple[str, ...]:
    """What still runs in the session of a program that has ended, or waits to be reaped, as its /proc/…/stat."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stat = path.read_text()
        except OSError:
            continue  # it has ended meanwhile
        if int(stat.rpartition(")")[2].split()[3]) == leader:
            found.append(stat)
    return tuple(found)


def test_all_runs_end_in_order_and_only_killed_ones_remain(lab: Lab) -> None:
    passing, lasting = lab.headscale.auth_key("u1", ephemeral=True), lab.headscale.auth_key("u1")
    free: queue.SimpleQueue[str] = queue.SimpleQueue()
    for number in range(IDENTITIES):
        free.put(f"keeps{number}")

    def come_and_go(number: int, ephemeral: bool, by: signal.Signals, moment: float) -> Ended:
        if ephemeral:
            return end(lab.run(number, f"passes{number:03}", passing, "--ephemeral"), by, moment)
        name = free.get()
        try:
            return end(lab.run(number, name, lasting, "--state-dir", str(lab.state(name))), by, moment)
        finally:
            free.put(name)

    begun = time.monotonic()
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        ending = [pool.submit(come_and_go, number, *planned) for number, planned in enumerate(plan(RUNS, RUNS))]
        lab.ended = [future.result() for future in ending]
    lab.last_kill = time.monotonic()
    orderly = [run for run in lab.ended if not run.was_killed]
    slowest = max(run.seconds for run in orderly)
    left = lab.left("passes")
    killed = [run.name for run in lab.ended if run.was_killed and run.name.startswith("passes")]
    print(f"{RUNS} runs in {lab.last_kill - begun:.0f} s; the slowest orderly end took {slowest:.2f} s")
    print(f"{len(left)} of {len(killed)} killed ones remain")
    assert [run for run in orderly if run.name in left] == []
    assert [name for name, times in Counter(left).items() if times > 1] == []
    assert len(left) > len(killed) / 3, "many of the killed ones had joined, so the others had, too"
    assert [run for run in lab.ended if not run.is_right] == []
    assert [run for run in lab.ended if run.has_a_traceback_of_ours] == []
    assert [run for run in orderly if run.orphans] == []
    assert list(lab.temporary.iterdir()) == []
    assert slowest < SLOWEST_END


def test_each_lasting_identity_is_one_node_and_works_on(lab: Lab) -> None:
    names = {run.name for run in lab.ended if run.name.startswith("keeps")}
    if not names:
        pytest.skip("nobody came: run the whole file")
    before = {str(node["name"]): node["id"] for node in lab.headscale.nodes() if node["name"] in names}
    assert lab.left("keeps") == sorted(before)
    for name in sorted(names):
        with ours.node(lab.headscale, name, auth_key=lab.headscale.auth_key("u1"), state=lab.state(name)) as node:
            assert node.name == name
            assert before.get(name, lab.headscale.node(name)["id"]) == lab.headscale.node(name)["id"]
        assert {path.name for path in lab.state(name).iterdir() if path.name.endswith(("tmp", "new"))} == set()
    assert lab.left("keeps") == sorted(names)


def test_headscale_forgets_the_killed_ones_by_its_timeout(lab: Lab) -> None:
    """Those that had a map stream. What is left is shown to be Headscale's to forget."""
    if not lab.ended:
        pytest.skip("nobody was killed: run the whole file")
    left = set(lab.left("passes"))
    never_polled = {name for name in left if not lab.has_polled(name)}
    assert never_polled < left
    limit = lab.last_kill + FORGOTTEN_AFTER + RECONNECT_WINDOW + 15 - time.monotonic()
    until(lambda: set(lab.left("passes")) <= never_polled, limit, "the killed ones are forgotten")
    print(f"forgotten after {time.monotonic() - lab.last_kill:.0f} s; without a map stream: {sorted(never_polled)}")
    if os.environ.get("TSNET_NIGHTLY"):
        lab.headscale.restart()
        until(lambda: not lab.left("passes"), FORGOTTEN_AFTER + 15, "a restarted Headscale forgets the others")
