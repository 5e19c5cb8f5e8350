from __future__ import annotations

import json

import pytest

import tsnet
from tsnet.cli import debug, main
from tsnet.cli.command import parse
from tsnet.config import LOOKS
from tsnet.testing import Tailnet


def test_the_command_knows_what_the_library_shows() -> None:
    for what in LOOKS:
        assert parse(["debug", what]).what == what
    with pytest.raises(SystemExit):
        parse(["debug", "secrets"])


@pytest.mark.parametrize("what", LOOKS)
def test_each_is_one_json_object(shop: tsnet.Server, capsys: pytest.CaptureFixture[str], what: str) -> None:
    assert main(["debug", what, "--json"]) == 0
    assert isinstance(json.loads(capsys.readouterr().out), dict)


def test_a_peer_is_asked_before_its_paths_are_shown(shop: tsnet.Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["debug", "paths", "--ping", "shop"]) == 0
    shown = capsys.readouterr().out
    assert "\nshop (100.64.0.1): " in shown
    assert "Candidate" in shown


def test_a_check_is_answered(shop: tsnet.Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["debug", "filter", "--check", "shop", ":80"]) == 0
    shown = capsys.readouterr().out
    assert "100.64.0.1 to 100.64.0.2 port 80 by TCP  let in" in shown


def test_relays_are_shown_once_they_are_measured(
    on_tailnet: Tailnet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["debug", "derp", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["is_reachable"]
    assert shown["regions"][0]["connection"]["stage"] == "connected"
    assert shown["regions"][0]["latency"] is not None
    (relay,) = on_tailnet.relays
    relay.stop()
    monkeypatch.setattr(debug, "SETTLING", 0.1)
    assert main(["debug", "derp", "--json"]) == 0
    told = capsys.readouterr()
    assert "peers cannot reach this node yet, after 0.1 s" in told.err
    assert not json.loads(told.out)["is_reachable"]


def test_what_is_wrong_is_said_in_the_words_of_the_command_line(
    shop: tsnet.Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["debug", "paths", "--check", "shop", ":80"]) == 2
    assert '--check goes with "filter" alone' in capsys.readouterr().err
    assert main(["debug", "filter", "--check", "nobody", ":80"]) == 1
    assert "nobody" in capsys.readouterr().err
    assert main(["debug", "paths", "--ping", "nobody"]) == 1
