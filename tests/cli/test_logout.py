"""Logging out: most of it is in test_login, which makes what is logged out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsnet.cli.command import main
from tsnet.testing.tailnet import Tailnet


def test_a_node_that_is_logged_out_is_gone_for_its_peers_and_comes_back_as_another(
    on_tailnet: Tailnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(tmp_path / "state")
    assert main(["login", "--hostname", "till", "--state-dir", place]) == 0
    first = on_tailnet.node("till")
    assert main(["logout", "--state-dir", place]) == 0
    assert main(["login", "--hostname", "till", "--state-dir", place]) == 0
    assert on_tailnet.node("till").key != first.key
    assert not on_tailnet.node("till").is_expired
    assert "is logged in as you@tailnet.test" in capsys.readouterr().err


def test_control_that_is_away_ends_the_wait(
    on_tailnet: Tailnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(tmp_path / "state")
    assert main(["login", "--hostname", "till", "--state-dir", place]) == 0
    on_tailnet.close()
    capsys.readouterr()
    assert main(["logout", "--state-dir", place, "--timeout", "0.3"]) == 1
    assert "control" in capsys.readouterr().err
