"""Nodes that end at any moment of their first seconds, at a real Headscale, which answers a registration after 0.85 s.

Whoever ends in order leaves nothing behind, however early; whoever is killed is forgotten by Headscale's own timeout.
Headscale counts it from the end of a node's map stream. Of a node that was killed before its first one it begins to
count when it is restarted itself: such a node stays until then, and nothing that we could send would change that.

Source: Headscale 0.29.2 hscontrol/poll.go afterServeLongPoll, hscontrol/app.go Serve (ephemeralGC).
"""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import threading
import time
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

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(200)]

FORGOTTEN_AFTER = 66  # seconds; the least that Headscale allows
RECONNECT_WINDOW = 10  # seconds that Headscale waits for a map stream to come back before it counts
ENDINGS = {signal.SIGTERM: (143, -signal.SIGTERM), signal.SIGINT: (130, -signal.SIGINT), signal.SIGKILL: (-9, -9)}
"""The exit codes: of the command, and of a Python that is not as far yet."""
EACH, LATEST = 20, 3.0
SERVERS = 40
SIDE_BY_SIDE = 5
LIBRARY = """
import pathlib, sys, threading, tsnet
try:
    with tsnet.Server(sys.argv[1], ephemeral=True):
        pathlib.Path(sys.argv[2]).touch()
        threading.Event().wait(60)
except KeyboardInterrupt:
    sys.exit(130)
"""


@attrs.define
class Lab:
    """killed: the runs that were killed so far, and when the last of them was."""

    scene: Scene
    headscale: Headscale
    key: str
    killed: set[str] = attrs.Factory(set)
    last_kill: float = 0.0

    def left(self, beginning: str) -> set[str]:
        """Which nodes of such a name Headscale has."""
        names = {str(node["name"]) for node in self.headscale.nodes()}
        return {name for name in names if name.startswith(beginning)}

    def has_polled(self, name: str) -> bool:
        """Whether Headscale saw its map stream begin."""
        assert self.headscale.process is not None
        log = self.headscale.process.log_path.read_text(errors="replace")
        return re.search(rf"node has connected.* node\.name={name} ", log) is not None

    def python(self, *arguments: str, log: str) -> Process:
        """With nothing of ours in its environment but where to join."""
        environment = {
            "TS_CONTROL_URL": self.headscale.url,
            "TS_AUTHKEY": self.key,
            "TS_DEBUG_USE_DERP_HTTP": "1",
            "PYTHONPATH": str(Path(tsnet.__file__).parents[1]),
        }
        return self.scene.run(log, [sys.executable, *arguments], environment=environment)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, _swept: None) -> Iterator[Lab]:
    need("root", "headscale")
    with (
        Scene(tmp_path_factory.mktemp("ended")) as scene,
        Headscale(scene, ephemeral_timeout=f"{FORGOTTEN_AFTER}s") as headscale,
    ):
        yield Lab(scene, headscale, headscale.auth_key("u1", ephemeral=True))


@attrs.frozen
class Ended:
    """moment: seconds from its start to the signal. seconds: from there to its end."""

    name: str
    by: signal.Signals
    moment: float
    code: int
    said: str
    seconds: float


def moments(seed: int, count: int) -> list[float]:
    """One in each of `count` equal parts of the time, shuffled."""
    rng = random.Random(seed)
    found = [(number + rng.random()) * LATEST / count for number in range(count)]
    rng.shuffle(found)
    return found


def pause(seconds: float) -> None:
    """The moment is the test's own: nothing could be waited for."""
    threading.Event().wait(seconds)


def end(lab: Lab, name: str, by: signal.Signals, moment: float) -> Ended:
    process = lab.python("-m", "tsnet", "run", "--hostname", name, "--", "sleep", "60", log=name)
    pause(moment)
    os.kill(process.pid, by)
    begun = time.monotonic()
    code = process.popen.wait(30)
    taken = time.monotonic() - begun
    process.kill()  # with the child of one that was killed
    return Ended(name, by, moment, code, process.log(), taken)


def test_of_sixty_runs_that_end_early_only_the_killed_ones_remain(lab: Lab) -> None:
    plan = [(by, moment) for by in ENDINGS for moment in moments(by, EACH)]
    random.Random(60).shuffle(plan)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        ending = [pool.submit(end, lab, f"run{number:02}", by, moment) for number, (by, moment) in enumerate(plan)]
        ended = [future.result() for future in ending]
    lab.killed, lab.last_kill = {run.name for run in ended if run.by == signal.SIGKILL}, time.monotonic()
    left = lab.left("run")
    assert [run for run in ended if run.name in left - lab.killed] == []
    assert len(left) > EACH / 2, "most of the killed ones had joined, so that the others would have been left, too"
    assert [run for run in ended if run.code not in ENDINGS[run.by]] == []
    assert [run for run in ended if "Traceback" in run.said and "tsnet/" in run.said] == []
    slowest = max(run.seconds for run in ended)
    print(f"{len(left)} of {EACH} killed ones remain; the slowest orderly end took {slowest:.2f} s")
    assert slowest < 6


def test_servers_closed_at_any_moment_leave_nothing(lab: Lab) -> None:
    """The same by the library: `close` while `up` is on its way, or just done."""

    def close_early(name: str, moment: float) -> None:
        node = ours.node(lab.headscale, name, auth_key=lab.key, ephemeral=True)
        rising = threading.Thread(target=rise, args=(node,), name=f"up {name}")
        rising.start()
        pause(moment)
        node.close(timeout=10)
        rising.join(10)
        assert not rising.is_alive()

    def rise(node: tsnet.Server) -> None:
        try:
            node.up()
        except tsnet.NotUp:
            pass  # closed meanwhile
        except BaseException as error:
            strange.append(error)

    strange: list[BaseException] = []
    with ThreadPoolExecutor(2 * SIDE_BY_SIDE) as pool:
        plan = enumerate(moments(8, SERVERS))
        for closing in [pool.submit(close_early, f"api{number:02}", moment) for number, moment in plan]:
            closing.result()
    assert strange == []
    assert lab.left("api") == set()


@pytest.mark.parametrize("program", ["command", "library"])
def test_two_ephemeral_nodes_of_one_name_side_by_side(lab: Lab, program: str) -> None:
    """Each is a node of its own, and neither leaves a file in the user's state directory."""
    name = f"twin-{program}"
    marks = [lab.scene.folder / f"{name}-{number}-is-up" for number in range(2)]
    if program == "command":
        run = ["run", "--ephemeral", "--hostname", name, "--", "sh", "-c", 'touch "$0"; exec sleep 60']
        twins = [lab.python("-m", "tsnet", *run, str(mark), log=mark.name) for mark in marks]
    else:
        twins = [lab.python("-c", LIBRARY, name, str(mark), log=mark.name) for mark in marks]
    for process, mark in zip(twins, marks, strict=True):
        process.wait_until(mark.exists, "up", 30)
    names = {str(node["given_name"]) for node in lab.headscale.nodes() if node["name"] == name}
    assert len(names) == 2
    assert name in names
    for process in twins:
        os.kill(process.pid, signal.SIGINT)
    assert [process.popen.wait(20) for process in twins] == [130, 130]
    assert lab.left("twin") == set()
    home = Path(lab.scene.environment()["HOME"])
    assert [path for path in home.rglob("*") if "tsnet" in path.name] == []


def test_headscale_forgets_the_killed_ones_by_its_timeout(lab: Lab) -> None:
    """Those that had a map stream. What is left is shown to be Headscale's to forget."""
    if not lab.killed:
        pytest.skip("nobody was killed: run the whole file")
    left = lab.left("run")
    never_polled = {name for name in left if not lab.has_polled(name)}
    assert never_polled < left
    limit = lab.last_kill + FORGOTTEN_AFTER + RECONNECT_WINDOW + 15 - time.monotonic()
    until(lambda: lab.left("run") <= never_polled, limit, "the killed ones are forgotten")
    print(f"forgotten after {time.monotonic() - lab.last_kill:.0f} s; without a map stream: {sorted(never_polled)}")
    if os.environ.get("TSNET_NIGHTLY"):
        lab.headscale.restart()
        until(lambda: not lab.left("run"), FORGOTTEN_AFTER + 15, "a restarted Headscale forgets the others")
