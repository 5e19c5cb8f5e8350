"""Nodes that end in order at any moment of their first seconds, at a real Headscale, leave nothing behind.

Headscale answers a registration after 0.85 s. Commands that signals end, and kill, are in `test_coming_and_going`.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.headscale import Headscale
from tests.interop.harness.process import Process
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(200)]

LATEST = 3.0  # seconds from a start to its end
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
    scene: Scene
    headscale: Headscale
    key: str

    def left(self, beginning: str) -> set[str]:
        """Which nodes of such a name Headscale has."""
        names = {str(node["name"]) for node in self.headscale.nodes()}
        return {name for name in names if name.startswith(beginning)}

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
        Headscale(scene) as headscale,
    ):
        yield Lab(scene, headscale, headscale.auth_key("u1", ephemeral=True))


def moments(seed: int, count: int) -> list[float]:
    """One in each of `count` equal parts of the time, shuffled."""
    rng = random.Random(seed)
    found = [(number + rng.random()) * LATEST / count for number in range(count)]
    rng.shuffle(found)
    return found


def pause(seconds: float) -> None:
    """The moment is the test's own: nothing could be waited for."""
    threading.Event().wait(seconds)


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
