"""The smoke test of a person's tailnet, tried on an embedded one."""

from __future__ import annotations

from typing import Any

import pytest

from tests import smoke_real
from tsnet.sync import Server
from tsnet.testing.tailnet import Tailnet


def test_every_step_passes(
    tailnet: Tailnet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TS_CONTROL_URL", tailnet.control_url)
    monkeypatch.setenv("TS_AUTHKEY", tailnet.auth_key)
    options: dict[str, Any] = {"control_url": tailnet.control_url, "auth_key": tailnet.auth_key, "ephemeral": True}
    with Server("other", **options) as other:
        other.reachable()
        assert smoke_real.main() == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()] == [step.__name__ for step in smoke_real.STEPS]
    assert "other" in printed
    assert "tsnet-smoke" not in tailnet.online()


def test_without_a_key_it_says_what_it_wants(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("TS_AUTHKEY", "TS_AUTH_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert smoke_real.main() == 2
    assert "TS_AUTHKEY" in capsys.readouterr().err


def test_a_wrong_key_is_a_failed_step(
    tailnet: Tailnet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TS_CONTROL_URL", tailnet.control_url)
    monkeypatch.setenv("TS_AUTHKEY", "tskey-auth-wrong")
    assert smoke_real.main() == 1
    assert capsys.readouterr().out.startswith("join     FAILED")
