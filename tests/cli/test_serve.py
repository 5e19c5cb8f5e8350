from __future__ import annotations

import signal
import socket
import sys
import threading
from pathlib import Path

import httpx
import pytest

import tsnet
from tests.cli.conftest import Process, Start
from tsnet.cli import main, serve
from tsnet.cli.target import find_target
from tsnet.engine.facts import Problem
from tsnet.events import ServiceEnded
from tsnet.testing.tailnet import Tailnet

APPS = """
import json, fastapi, tsnet
def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    names = [key for key in environ if "TAILSCALE" in key.upper()]
    return [json.dumps([tsnet.current_peer().name, environ["REMOTE_ADDR"], names]).encode()]
asgi = fastapi.FastAPI()
@asgi.get("/")
def hello(request: fastapi.Request):
    names = [key for key in request.headers if "tailscale" in key]
    return [tsnet.current_peer().name, request.client.host, names]
"""
FORGED = {"Tailscale-User-Login": "root@example.com", "tailscale_user_name": "root"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "apps.py").write_text(APPS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def reached(process: Process) -> list[str]:
    """What it prints once it can be reached: the URL, the addresses."""
    assert process.stdout is not None
    return [process.stdout.readline().decode().strip() for _ in range(2)]


def fetch(node: tsnet.Server, url: str) -> httpx.Response:
    with node.httpx_client(headers=FORGED) as client:
        return client.get(url)


@pytest.mark.parametrize("app", ["wsgi", "asgi"])
def test_an_app_knows_who_calls_and_no_header_says_so(
    app: str, shop: tsnet.Server, folder: Path, start: Start, on_tailnet: Tailnet
) -> None:
    serve = start("serve", f"apps:{app}", "--ephemeral")
    url, addresses = reached(serve)
    assert url == "http://apps/"
    assert addresses.split() == [str(address) for address in shop.resolve("apps")]
    assert fetch(shop, url).json() == ["shop", str(shop.addresses[0]), []]
    serve.send_signal(signal.SIGTERM)
    assert serve.wait(10) == 0
    assert "apps" not in on_tailnet.nodes()


def test_a_folder_on_another_port_for_some(shop: tsnet.Server, folder: Path, start: Start) -> None:
    serve = start("serve", ".", "--listen", "8080", "--hostname", "files", "--allow", "you@tailnet.test")
    url, _ = reached(serve)
    assert url == "http://files:8080/"
    assert fetch(shop, f"{url}apps.py").text == APPS
    assert fetch(shop, f"{url}../../etc/passwd").status_code == 404
    serve.send_signal(signal.SIGINT)
    assert serve.wait(10) == 130


def test_who_is_not_allowed(shop: tsnet.Server, folder: Path, start: Start) -> None:
    serve = start("serve", "apps:wsgi", "--allow", "tag:ci", "--ephemeral")
    assert fetch(shop, reached(serve)[0]).status_code == 403


def test_a_raw_port_says_that_headers_pass_unchecked(shop: tsnet.Server, start: Start) -> None:
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as local:

        def answer() -> None:
            with local.accept()[0] as sock:
                got.append(sock.recv(65_536))
                sock.sendall(b"HTTP/1.0 200 OK\r\n\r\nraw")

        thread = threading.Thread(target=answer)
        thread.start()
        port = local.getsockname()[1]
        serve = start("serve", str(port), "--ephemeral")
        url, _ = reached(serve)
        assert url == f"http://port-{port}/"
        assert fetch(shop, url).text == "raw"
        thread.join(10)
    assert b"Tailscale-User-Login: root@example.com" in got[0]
    serve.send_signal(signal.SIGTERM)
    _, err = serve.communicate(timeout=10)
    assert b"headers pass unchecked" in err
    assert serve.returncode == 0


def test_a_node_that_control_deletes_is_the_end(on_tailnet: Tailnet, folder: Path, start: Start) -> None:
    serve = start("serve", ".", "--hostname", "gone")
    reached(serve)
    on_tailnet.remove("gone")
    assert serve.wait(20) == 1
    assert serve.stderr is not None
    assert b"[node-removed]" in serve.stderr.read().splitlines()[-1]


def test_an_app_that_cannot_be_loaded_shows_its_own_traceback_alone(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    (folder / "broken_app.py").write_text("import no_such_module_here\n")
    assert main(["serve", "broken_app:app"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "Traceback (most recent call last):",
        f'  File "{folder / "broken_app.py"}", line 1, in <module>',
        "    import no_such_module_here",
        "ModuleNotFoundError: No module named 'no_such_module_here'",
        "tsnet serve: broken_app:app cannot be loaded: ModuleNotFoundError: No module named 'no_such_module_here'",
    ]


def test_what_cannot_be_served_joins_nothing(on_tailnet: Tailnet, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "no_such_module_here:app"]) == 2
    assert main(["serve", "8000", "--allow", "tag:ci"]) == 2
    assert "joined" not in capsys.readouterr().err
    assert on_tailnet.nodes() == {}


@pytest.mark.parametrize("up", [True, False])
def test_shields_that_were_saved_are_told_of(up: bool, shop: tsnet.Server, capsys: pytest.CaptureFixture[str]) -> None:
    shop.set(shields_up=up)
    serve.start(shop, find_target("8000"), 80, [])
    assert ("nobody can connect to it" in capsys.readouterr().err) is up


def test_it_ends_when_what_it_serves_has_ended() -> None:
    serve.wait([ServiceEnded("serve_wsgi", 80, "100.64.0.1:80", ZeroDivisionError())])
    serve.wait([])
    with pytest.raises(tsnet.NotUp):
        serve.wait([Problem(tsnet.NotUp("refused"), fatal=False), Problem(tsnet.NotUp("refused"), fatal=True)])
