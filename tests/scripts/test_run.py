"""The command: folders, lines, the count."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripts.run import find, line_of, main, version_of
from tests.scripts.runner import Verdict

GOOD = "0 < . 1:1(0) ack 900 win 1\n+0 > R 900:900(0)\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "a.pkt").write_text(GOOD)
    (inner / "b-v6.tcp").write_text(GOOD)
    (inner / "c.pkt").write_text("`unknown`\n" + GOOD.replace("R", "S"))
    (inner / "d.pkt").write_text("0 epoll_create(1) = 3")
    (inner / "notes.txt").write_text("no script")
    return tmp_path


def test_a_folder_is_counted_at_the_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["passed   a.pkt", "passed   inner/b-v6.tcp"]
    assert lines[2].startswith("failed   inner/c.pkt  line 3: sent R 900:900(0)")
    assert lines[3] == "         not translated: unknown"
    assert lines[4:] == ["skipped  inner/d.pkt  epoll", "2 passed, 1 failed, 1 skipped"]


def test_one_script(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder / "a.pkt"), "--strict", "--ipv6", "-v"]) == 0
    assert capsys.readouterr().out.splitlines() == ["passed   a.pkt", "1 passed, 0 failed, 0 skipped"]


def test_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["/nowhere"])
    assert "no such folder" in capsys.readouterr().err


def test_names(folder: Path) -> None:
    assert [path.name for path in find(folder)] == ["a.pkt", "b-v6.tcp", "c.pkt", "d.pkt"]
    assert version_of(Path("x-v4.pkt"), 6) == 4
    assert version_of(Path("x.pkt"), 6) == 6


def test_a_line_says_all() -> None:
    verdict = Verdict("passed", "", ("push", "ticks"), ("note",))
    assert line_of("x", verdict, verbose=False) == "passed   x  [push, ticks]"
    assert line_of("x", verdict, verbose=True).endswith("\n         note")
