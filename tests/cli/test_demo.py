from __future__ import annotations

import os
import re
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

import tsnet
from tests.cli.conftest import Start
from tsnet.cli import main
from tsnet.cli.demo import web_app
from tsnet.edge.io.store import MemoryStore


def test_each_step_with_its_time(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsnet.cli.demo.BULK", 1 << 20)
    assert main(["demo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    steps = [line for line in lines if re.match(r" *\d+\.\d ms  ", line)]
    names = [re.sub(r"^ *[\d.]+ ms  ", "", step)[:18].strip() for step in steps]
    assert names == [
        "tailnet",
        "shop joins",
        "laptop joins",
        "Flask app",
        "httpx",
        "ping",
        "whois",
        "1 MiB",
        "all of it",
    ]
    assert any("'Hello ann@tailnet.test, you call from laptop.'" in line for line in lines)
    assert float(steps[-1].split()[0]) < 5000


def test_without_flask_a_wsgi_app_of_the_standard_library_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    kind, app = web_app()
    assert kind == "WSGI"
    started: list[str] = []
    body = app({}, lambda status, headers: started.append(status))
    assert list(body) == [b"Hello stranger."]
    assert started == ["200 OK"]


def test_kept_up_others_join_by_what_it_prints(start: Start) -> None:
    demo = start("demo", "--keep")
    assert demo.stdout is not None
    text = ""
    while "tailscale up" not in text:
        line = demo.stdout.readline().decode()
        assert line
        text += line
    url = re.search(r"TS_CONTROL_URL=(\S+)", text)
    path = re.search(r"TS_AUTHKEY=\$\(cat (\S+)\)", text)
    assert url is not None
    assert path is not None
    key = Path(path[1])
    assert stat.S_IMODE(os.stat(key).st_mode) == 0o600
    options: dict[str, Any] = {"control_url": url[1], "auth_key": key.read_text().strip()}
    with (
        tsnet.Server("guest", state=MemoryStore(), ephemeral=True, **options) as guest,
        guest.httpx_client() as client,
    ):
        assert client.get("http://shop/").text == "Hello you@tailnet.test, you call from guest."
    demo.send_signal(signal.SIGTERM)
    assert demo.wait(10) == 0
    assert not key.exists()
