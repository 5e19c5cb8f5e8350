from __future__ import annotations

import json

import pytest

import tsnet
from tsnet.base.wording import Wording, api
from tsnet.cli import main
from tsnet.cli.explain import lines
from tsnet.engine.explanation import Explanation, ExplanationStep


def test_a_port_that_answers_and_one_that_does_not(shop: tsnet.Server, capsys: pytest.CaptureFixture[str]) -> None:
    with shop.listen(80):
        assert main(["explain", "shop:80"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("ok Does this node run?")
    assert shown[-2].startswith(("OK-DIRECT: shop:80 answers in ", "OK-RELAYED: shop:80 answers in "))
    assert shown[-1].startswith("next: ")
    assert main(["explain", "shop:81"]) == 1
    assert "\nE-PORT: shop is reached, and nothing listens on port 81\n" in capsys.readouterr().out


def test_json(shop: tsnet.Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "nobody", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["target"], found["code"]) == (False, "nobody", "E-NAME")
    assert found.keys() == {"ok", "target", "code", "verdict", "advice", "reason", "path", "steps"}
    assert [step.keys() for step in found["steps"]] == [{"question", "found", "ok", "seconds"}] * 2
    assert found["path"].keys() == {"address", "region", "region_code", "vni"}


def test_control_that_is_not_there(on_tailnet: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "shop:80", "--control-url", "http://127.0.0.1:9", "--timeout", "0.3"]) == 1
    shown = capsys.readouterr().out
    assert "E-CONTROL: this node does not run: " in shown
    assert "--control-url" in shown
    assert "control_url=" not in shown


def test_no_target(on_tailnet: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "shop:http"]) == 2
    assert "[config]" in capsys.readouterr().err


def test_the_lines() -> None:
    steps = (
        ExplanationStep("Who is db?", "db.tailnet.test (100.64.0.7)\x1b[31m", True),
        ExplanationStep("Is it online?", "control does not say", None),
        ExplanationStep("Does port 80 answer?", Wording("no: see ", api("status()")), False, 0.0123),
    )
    found = Explanation("db:80", "E-PORT", "E-PORT: nothing", "start it", steps=steps)
    assert lines(found) == [
        "ok Who is db?            db.tailnet.test (100.64.0.7)\\x1b[31m",
        "-  Is it online?         control does not say",
        "NO Does port 80 answer?  no: see tsnet status (12.3 ms)",
        "E-PORT: nothing",
        "next: start it",
    ]
