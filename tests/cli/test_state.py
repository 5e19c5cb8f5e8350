from __future__ import annotations

from pathlib import Path

import pytest

from tests.edge.io.test_directory import GOLDEN
from tests.engine.gostates import go_state
from tsnet.cli import main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TS_HOSTNAME", raising=False)
    return tmp_path / "home" / "tsnet"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "tailscaled.state").write_bytes(go_state())
    return tmp_path / "tailscaled.state"


def test_imported_where_the_library_looks_for_a_node_of_that_name(
    file: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["state", "import", str(file)]) == 0
    told = capsys.readouterr().err
    assert f"imported ann@example.com into {home / 'shop'}" in told
    assert f"tsnet status --state-dir {home / 'shop'} --control-url https://hs.example.com" in told
    assert main(["state", "show", "--hostname", "shop"]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert shown["login"] == "ann@example.com"
    assert shown["control"] == "https://hs.example.com"
    assert shown["hostname"] == "shop"
    assert main(["state", "import", str(file)]) == 1
    assert "has an identity already" in capsys.readouterr().err


def test_shown_without_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["state", "show", "--state-dir", str(GOLDEN)]) == 0
    text = capsys.readouterr().out
    assert "nodekey:" in text
    assert "priv" not in text
    for line in ("registered      yes", "ephemeral       no", "shields_up      True", "UDP port        41641"):
        assert line in text.splitlines()


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["import"], 2, "wants FILE"),
        (["show", "x"], 2, "takes no FILE"),
        (["show"], 2, "name the place with --state-dir, or the node with --hostname"),
        (["show", "--state-dir", "none"], 1, "there is no state of a node in none"),
        (["import", "none", "--state-dir", "x"], 1, "none cannot be read"),
    ],
)
def test_what_cannot_be(arguments: list[str], code: int, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["state", *arguments]) == code
    assert why in capsys.readouterr().err


def test_another_profile(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["state", "import", str(file), "--state-dir", str(tmp_path / "ours"), "--profile"]
    assert main([*line, "eve"]) == 1
    assert "has no profile 'eve'" in capsys.readouterr().err
    assert main([*line, "ab12"]) == 0
