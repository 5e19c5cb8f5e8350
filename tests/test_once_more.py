"""What failed is run once more, and only that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parent / "once_more.py"
UNSTEADY = """
from pathlib import Path

def test_steady():
    assert not Path("second").exists(), "a test that passed is not run again"

def test_unsteady():
    first = not Path("seen").exists()
    Path("seen").touch()
    assert not first
"""


def run(folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, command)], cwd=folder, text=True, capture_output=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def test_an_unsteady_test_passes_and_is_named(project: Path) -> None:
    (project / "test_it.py").write_text(UNSTEADY)
    assert run(project, "-m", "pytest", "-q").returncode == 1
    (project / "second").touch()
    again = run(project, TOOL)
    assert again.returncode == 0
    assert "UNSTEADY test_it.py::test_unsteady" in again.stdout
    assert "test_steady" not in again.stdout


def test_a_broken_test_fails_again(project: Path) -> None:
    (project / "test_it.py").write_text("def test_broken():\n    assert False\n")
    assert run(project, "-m", "pytest", "-q").returncode == 1
    assert run(project, TOOL).returncode == 1


def test_a_run_that_noted_no_failure_is_not_made_good(project: Path) -> None:
    (project / "test_it.py").write_text("def test_fine():\n    pass\n")
    assert run(project, TOOL).returncode == 1


def test_the_next_part_does_not_fail_for_this_one(project: Path) -> None:
    (project / "test_broken.py").write_text("def test_broken():\n    assert False\n")
    assert run(project, "-m", "pytest", "-q").returncode == 1
    assert run(project, TOOL).returncode == 1
    (project / "test_it.py").write_text(UNSTEADY)
    assert run(project, "-m", "pytest", "-q", "test_it.py").returncode == 1
    (project / "second").touch()
    again = run(project, TOOL)
    assert again.returncode == 0
    assert "test_broken" not in again.stdout
