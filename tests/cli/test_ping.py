from __future__ import annotations

import re

import pytest

import tsnet
from tsnet.cli import main, ping
from tsnet.errors import DialTimeout


def test_round_trips(shop: tsnet.Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "INTERVAL", 0.0)
    assert main(["ping", "shop", "-c", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(rf"shop \({shop.addresses[0]}\): \d+\.\d ms, icmp", lines[0])
    assert main(["ping", "shop", "-c", "1", "--tsmp"]) == 0
    assert capsys.readouterr().out.endswith(" ms, tsmp\n")


def test_nobody_answers(
    shop: tsnet.Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def silence(*arguments: object, **options: object) -> None:
        raise DialTimeout("shop did not answer within 5 s")

    monkeypatch.setattr(tsnet.Server, "ping", silence)
    assert main(["ping", "shop", "-c", "1"]) == 1
    assert "did not answer" in capsys.readouterr().err


def test_a_name_of_nobody(shop: tsnet.Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ping", "nobody"]) == 1
    assert "[not-on-tailnet]" in capsys.readouterr().err
