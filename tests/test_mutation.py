"""The mutation tester on a module of a few lines: what it changes, what it calls noticed, and what not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import mutation

Capture = pytest.CaptureFixture[str]
TOOL = Path(mutation.__file__)
SOURCE = '''"""A document is not code: 1 + 1."""

LIMIT: int = 7


def low(value: int) -> bool:
    """value < LIMIT, says this line."""
    return value < LIMIT


class Box:
    __slots__ = ("kept",)

    def keep(self, value: int) -> None:
        self.kept = min(value + 2, 9) if not value else -value
'''
TEST = """
from room.box import low

def test_low():
    assert low(6)
    assert not low(8)
"""
HANGS = """
def test_it():
    from room.box import LIMIT
    while LIMIT != 7:
        pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "room").mkdir()
    (tmp_path / "room/box.py").write_text(SOURCE)
    (tmp_path / "tests/room").mkdir(parents=True)
    (tmp_path / "tests/room/test_box.py").write_text(TEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow\n    interop\npythonpath = .\n")
    return tmp_path


@pytest.fixture
def in_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if pytest had been started there: what forks find, and nothing of it stays."""
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "path", [str(project), *sys.path])


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), *arguments, "room/box.py"]
    return subprocess.run(command, cwd=project, text=True, capture_output=True, check=False)


def found(text: str, tmp_path: Path) -> set[tuple[str, str]]:
    path = tmp_path / "source.py"
    path.write_text(text)
    return {(mutant.before, mutant.after) for mutant in mutation.mutants(path)}


def test_documents_annotations_and_slots_are_left_alone(project: Path) -> None:
    assert {mutant.line for mutant in mutation.mutants(project / "room/box.py")} == {3, 8, 15}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a < b", "a <= b"),
        ("a >= b", "a > b"),
        ("a == b", "a != b"),
        ("a is b", "a is not b"),
        ("a not in b", "a in b"),
        ("a + b", "a - b"),
        ("a // b", "a * b"),
        ("a << b", "a >> b"),
        ("a & b", "a | b"),
        ("a and b", "a or b"),
        ("a -= b", "a += b"),
        ("a -= b", "pass"),
        ("a.b = c", "pass"),
        ("f()", "pass"),
        ("raise a", "pass"),
        ("x = True", "x = False"),
        ("x = 5", "x = 6"),
        ("x = 5", "x = 4"),
        ("x = not a", "x = a"),
        ("x = -a", "x = a"),
        ("a[1:]", "a[2:]"),
        ("f(a=1)", "f(a=2)"),
        ("min(a)", "max(a)"),
    ],
)
def test_an_operator(before: str, after: str, tmp_path: Path) -> None:
    assert (before, after) in found(before, tmp_path)


def test_a_returned_value_becomes_none(tmp_path: Path) -> None:
    assert ("return a", "return None") in found("def f():\n    return a\n", tmp_path)
    assert not found("def f():\n    return None\n", tmp_path)


def test_the_code_of_a_mutant_differs_in_one_place(tmp_path: Path) -> None:
    path = tmp_path / "source.py"
    path.write_text("x, y = 1, 10\n")
    values = []
    for mutant in mutation.mutants(path):
        names: dict[str, object] = {}
        exec(mutant.code, names)
        values.append((names["x"], names["y"]))
    assert values == [(2, 10), (0, 10), (1, 11), (1, 9)]


@pytest.mark.parametrize(("floor", "status"), [("50", 0), ("51", 1)])
def test_one_is_killed_and_one_survives(floor: str, status: int, in_it: None, capfd: Capture) -> None:
    Path("room/box.py").write_text("LIMIT = 8\n")
    Path("tests/room/test_box.py").write_text("from room.box import LIMIT\n\ndef test_it():\n    assert LIMIT > 7\n")
    assert mutation.main(["--floor", floor, "room/box.py"]) == status
    printed = capfd.readouterr().out
    assert "2 of 2 mutants, seed 1" in printed
    survivors = [line for line in printed.splitlines() if line.startswith("SURVIVED")]
    assert survivors == ["SURVIVED room/box.py:1: constant: LIMIT = 8  ->  LIMIT = 9"]
    assert printed.endswith("1 killed, 1 survived, 0 timed out: 50.0 %\n")


def test_a_sample_follows_from_its_seed(project: Path) -> None:
    everything = list(mutation.mutants(project / "room/box.py"))
    five = mutation.sample(everything, 5, seed=1)
    assert len(five) == len(set(five)) == 5
    assert five == mutation.sample(everything, 5, seed=1) != mutation.sample(everything, 5, seed=2)
    assert mutation.sample(everything, None, seed=1) == everything


def test_a_mutant_that_hangs_is_timed_out(in_it: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutation, "TEST_SECONDS", 0.2)
    Path("tests/room/test_box.py").write_text(HANGS)
    mutant = next(mutation.mutants(Path("room/box.py")))
    assert mutation.outcome(mutant, *mutation.test_files(mutant.path)) == "timed out"


def test_tests_that_fail_anyway_show_nothing(project: Path) -> None:
    (project / "tests/room/test_box.py").write_text("def test_it():\n    assert False\n")
    assert run(project).returncode == 2


def test_the_test_file_of_the_source_comes_first_and_then_those_beside_it() -> None:
    first, beside, others = mutation.test_files(Path("netstack/tcp/sack.py"))
    assert first == [Path("tests/netstack/tcp/test_sack.py")]
    assert {other.parent for other in beside} == {first[0].parent}
    assert len({*first, *beside, *others}) == len(first) + len(beside) + len(others)
    assert not {other.name for other in others} & mutation.LEFT_OUT
    assert Path("tests/scripts/test_scripts.py") in others
