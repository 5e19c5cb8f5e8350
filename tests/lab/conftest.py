"""The fixture `internet`: two homes of any kind and an internet between them, in a fifth of a second."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.interop.conftest import _swept, pytest_runtest_makereport  # noqa: F401  # both are found by their names
from tests.interop.harness.requirements import need
from tests.lab import rootless
from tests.lab.internet import Internet

Build = Callable[..., Internet]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Without root, a test that asks for `internet` runs in a process that is root of namespaces of its own."""
    if "internet" not in pyfuncitem.fixturenames or not rootless.is_needed():
        return None
    done = subprocess.run(rootless.pytest_command(pyfuncitem.nodeid), capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"in a user namespace:\n{done.stdout[-8000:]}{done.stderr[-2000:]}")
    return True


@pytest.fixture
def internet(tmp_path: Path, _swept: None) -> Iterator[Build]:  # noqa: F811
    """`internet("easy", "hard")` stands until the test ends; a test may have several, the last one is entered."""
    if rootless.is_needed():
        yield Internet  # nothing is built here: see above
        return
    need("root", "nft")
    numbers = itertools.count()
    with ExitStack() as stack:

        def build(left: str, right: str = "none", **options: bool) -> Internet:
            folder = tmp_path / f"internet-{next(numbers)}"
            folder.mkdir()
            return stack.enter_context(Internet(folder, left, right, **options))

        yield build
