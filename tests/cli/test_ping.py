from __future__ import annotations

import re
from ipaddress import ip_address

import pytest

import tsnet
from tsnet.cli import main, ping
from tsnet.edge.run.dialing import PingResult
from tsnet.engine.peerpath import NO_PATH, PeerPath
from tsnet.errors import DialTimeout


def test_round_trips(shop: tsnet.Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "INTERVAL", 0.0)
    assert main(["ping", "shop", "-c", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(rf"pong from shop \({shop.addresses[0]}\) via .+ in \d+\.\d ms, icmp", lines[0])
    assert main(["ping", "shop", "-c", "1", "--tsmp"]) == 0
    assert capsys.readouterr().out.endswith(" ms, tsmp\n")
    assert main(["ping", "shop", "-c", "1", "--disco"]) == 0
    assert capsys.readouterr().out.endswith(" ms, disco\n")


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


def test_the_path_is_shown() -> None:
    relay, direct = PeerPath(region=1, region_code="nyc"), PeerPath("192.0.2.7:41641")
    results = [PingResult(ip_address("100.64.0.7"), 0.043, "icmp", path) for path in (relay, direct, NO_PATH)]
    assert [ping.pong("db", result) for result in results] == [
        "pong from db (100.64.0.7) via relay 1 (nyc) in 43.0 ms, icmp",
        "pong from db (100.64.0.7) via 192.0.2.7:41641 in 43.0 ms, icmp",
        "pong from db (100.64.0.7) in 43.0 ms, icmp",
    ]
