"""The lab works for somebody who may do nothing outside namespaces of his own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.harness.requirements import need

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parent.parent.parent
SOME = ["tests/lab/test_routers.py::test_a_kind_is_what_it_says[hard]", "tests/lab/test_internet.py"]


def test_the_lab_in_a_user_namespace() -> None:
    """This process is root, and gives up everything but a namespace that any user may have."""
    need("root", "nft")
    done = subprocess.run(
        [sys.executable, "-m", "tests.lab", "-m", "interop", "-k", "not capture", *SOME],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout
