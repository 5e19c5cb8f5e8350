from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import tsnet
from tests.cli.conftest import Start
from tsnet.cli import main
from tsnet.cli.run import Forward, parse_forward, run_child
from tsnet.errors import ConfigError
from tsnet.testing.tailnet import Tailnet

FETCH = "import os, urllib.request as u; print(u.urlopen('http://' + os.environ['TSNET_FORWARD_SHOP_80']).read())"
WAIT = """import signal, sys, time
signal.signal(signal.{0}, lambda *_: sys.exit(5))
print('up', flush=True)
time.sleep(60)"""


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"ready"]


def python(code: str) -> list[str]:
    return ["--", sys.executable, "-c", code]


def test_the_child_finds_its_forward_and_gives_its_exit_code(
    shop: tsnet.Server, capfd: pytest.CaptureFixture[str]
) -> None:
    shop.serve_wsgi(app, block=False)
    assert main(["run", "-L", "0:shop:80", *python(f"{FETCH}; raise SystemExit(7)")]) == 7
    assert capfd.readouterr().out == "b'ready'\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_signals_are_passed_on_and_the_node_logs_out(name: str, on_tailnet: Tailnet, start: Start) -> None:
    run = start("run", "--hostname", "ci", *python(WAIT.format(name)), stdin=-3)
    assert run.stdout is not None
    assert run.stdout.readline() == b"up\n"
    assert "ci" in on_tailnet.nodes()
    run.send_signal(getattr(signal, name))
    assert run.wait(20) == 5
    assert "ci" not in on_tailnet.nodes()


def test_a_child_that_a_signal_kills(on_tailnet: Tailnet) -> None:
    assert main(["run", *python("import os; os.kill(os.getpid(), 9)")]) == 128 + 9
    assert on_tailnet.nodes() == {}


def test_a_command_that_cannot_be_run(on_tailnet: Tailnet, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--", "/no/such/command"]) == 127
    assert main(["run", "--", "/etc"]) == 126
    assert "cannot run /no/such/command: No such file or directory" in capsys.readouterr().err
    assert on_tailnet.nodes() == {}


@pytest.mark.parametrize("host", ["10.1.2.3", "nobody"])
def test_a_forward_to_nowhere_runs_nothing(
    host: str, on_tailnet: Tailnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made"
    assert main(["run", "-L", f"0:{host}:80", "--", "touch", str(made)]) == 1
    assert not made.exists()
    said = capsys.readouterr().err
    assert said.endswith("[not-on-tailnet]\n")
    assert "see tsnet status for the peers" in said
    assert on_tailnet.nodes() == {}


def test_a_local_port_that_is_taken(shop: tsnet.Server, capsys: pytest.CaptureFixture[str]) -> None:
    with shop.forward_local("shop", 80) as taken:
        assert main(["run", "-L", f"{taken.port}:shop:80", "--", "true"]) == 1
    assert "ddress already in use" in capsys.readouterr().err


def test_handlers_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert run_child(["true"], os.environ) == 0
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.parametrize(
    ("text", "forward"),
    [
        ("8000:staging:80", Forward(8000, "staging", 80)),
        ("0:staging:80", Forward(0, "staging", 80)),
        ("127.0.0.2:8000:staging:80", Forward("127.0.0.2:8000", "staging", 80)),
        ("/run/db.sock:db:5432", Forward("/run/db.sock", "db", 5432)),
        ("8000:[fd7a::1]:80", Forward(8000, "fd7a::1", 80)),
        ("[::1]:8000:[fd7a::1]:80", Forward("[::1]:8000", "fd7a::1", 80)),
    ],
)
def test_forwards(text: str, forward: Forward) -> None:
    assert parse_forward(text) == forward


@pytest.mark.parametrize(
    "text", ["", "8000", "8000:80", "a:b:80", "8000:b:c", "8000:b:0", "8000:b:70000", "70000:b:80", ":b:80", "8000::80"]
)
def test_what_is_no_forward(text: str) -> None:
    with pytest.raises(ConfigError, match="-L"):
        parse_forward(text)
    assert main(["run", "-L", text or "x", "--", "true"]) == 2
