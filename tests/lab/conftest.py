"""Fixtures: `internet`, two homes with an internet between them; `homes`, the same with a tailnet and a node in each.

Either is a function that builds one, in a fifth of a second the first, in a second the other. They stand until the test
ends. The logs of the last one are shown under a failure.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.interop.conftest import _swept, pytest_runtest_makereport  # noqa: F401  # both are found by their names
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.lab import rootless
from tests.lab.homes import Homes, Who
from tests.lab.internet import Internet


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Without root, a test that asks for either runs in a process that is root of namespaces of its own."""
    if not {"internet", "homes"} & set(pyfuncitem.fixturenames) or not rootless.is_needed():
        return None
    command = rootless.pytest_command(pyfuncitem.nodeid)
    with tempfile.TemporaryDirectory(prefix="rootless-") as folder:
        environment = {**os.environ, rootless.FOLDER: folder}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"in a user namespace:\n{done.stdout[-8000:]}{done.stderr[-2000:]}")
    return True


class Build:
    """Scenes of one test, each in a folder of its own."""

    scene: Scene | None = None
    """The last one's."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._numbers = itertools.count()

    def __call__(self, left: str, right: str = "none", *, second_hosts: bool = False) -> Internet:
        internet = Internet(self._next(), left, right, second_hosts=second_hosts)
        self.scene = internet.scene
        return self._stack.enter_context(internet)

    def _next(self) -> Path:
        folder = self._folder / f"scene-{next(self._numbers)}"
        folder.mkdir()
        return folder


class BuildHomes(Build):
    def settle(self, left: str, right: str, who: tuple[Who, Who], *, control: str = "testcontrol") -> Homes:
        homes = Homes(self._next(), left, right, who, control=control)
        self.scene = homes.internet.scene
        return self._stack.enter_context(homes)


@pytest.fixture
def internet(tmp_path: Path, _swept: None) -> Iterator[Build]:  # noqa: F811
    """`internet("easy", "hard")`: the last one that a test builds is entered."""
    if not rootless.is_needed():
        need("root", "nft")
    with ExitStack() as stack:
        yield Build(tmp_path, stack)


@pytest.fixture
def homes(tmp_path: Path, _swept: None) -> Iterator[BuildHomes]:  # noqa: F811
    """`homes.settle("easy", "hard", ("ours", "go"))`: both nodes have joined."""
    if not rootless.is_needed():
        need("root", "nft", "testcontrol", "derper", "tsnetpeer")
    with ExitStack() as stack:
        yield BuildHomes(tmp_path, stack)
