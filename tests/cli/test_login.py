from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.base.test_qrcode import decode
from tests.cli.conftest import Start
from tests.edge.io.test_terminal import modules
from tests.waits import until
from tsnet.cli.command import main
from tsnet.cli.login import is_registered
from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.terminal import WHITE_ON_BLACK
from tsnet.testing.tailnet import Tailnet

JOINED = r"^tsnet login: till.tailnet.test \(100\.\S+, fd7a:\S+\) is logged in as you@tailnet.test$"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "state"


def read_all(terminal: int, last: str) -> str:
    """What was shown there, up to this text: one read gives some thousand bytes at most."""
    shown = b""
    while last.encode() not in shown:
        shown += os.read(terminal, 1 << 16)
    return shown.decode()


def login(place: Path, *arguments: str) -> int:
    return main(["login", "--hostname", "till", "--state-dir", str(place), *arguments])


def test_a_node_is_logged_in_and_out(on_tailnet: Tailnet, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert login(place) == 0
    told = capsys.readouterr().err
    assert re.search(JOINED, told, re.MULTILINE)
    assert f"its state is in {place}" in told
    assert is_registered(DirectoryStore(place), on_tailnet.control_url)
    assert not is_registered(DirectoryStore(place), "https://elsewhere.test")
    assert main(["logout", "--state-dir", str(place)]) == 0
    assert f"the node in {place} is logged out" in capsys.readouterr().err
    assert not is_registered(DirectoryStore(place), on_tailnet.control_url)
    assert main(["logout", "--state-dir", str(place)]) == 0
    assert "is not logged in" in capsys.readouterr().err


def test_a_node_that_is_logged_in_stays_what_it_is(
    on_tailnet: Tailnet, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def node_key() -> str:
        assert main(["state", "show", "--state-dir", str(place)]) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("node key"))

    assert login(place) == 0
    first = node_key()
    assert login(place) == 0
    assert node_key() == first
    assert login(place, "--force") == 0
    assert node_key() != first
    key = place.parent / "key"
    key.write_text(on_tailnet.create_auth_key("ann@example.com"))
    assert login(place, "--auth-key", f"file:{key}") == 0
    assert "is logged in as ann@example.com" in capsys.readouterr().err


def test_a_key_that_is_spent_is_one_line(
    on_tailnet: Tailnet, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = on_tailnet.create_auth_key()
    monkeypatch.setenv("TS_AUTHKEY", key)
    assert login(place / "a") == 0
    capsys.readouterr()
    assert login(place / "b") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "auth key already used" in line
    assert line.endswith("[auth-key-rejected]")
    assert key not in line
    monkeypatch.setenv("TS_AUTHKEY", on_tailnet.create_auth_key(expires_in=-1))
    assert login(place / "c") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "auth key expired" in line


def test_a_person_visits_the_url_that_is_printed(
    on_tailnet: Tailnet, place: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TS_AUTHKEY")
    process = start("login", "--hostname", "till", "--state-dir", str(place))
    until(on_tailnet.logins)
    (url,) = on_tailnet.logins()
    on_tailnet.approve(url)
    _out, told = process.communicate(timeout=20)
    assert process.returncode == 0
    assert f"to log in, visit {url}" in told.decode()


def test_a_node_whose_key_has_expired_is_logged_in_again_by_a_key_or_a_person(
    on_tailnet: Tailnet, place: Path, start: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TS_AUTHKEY", on_tailnet.create_auth_key(reusable=True))
    assert login(place) == 0
    on_tailnet.expire("till")
    assert login(place) == 0
    assert len(re.findall(JOINED, capsys.readouterr().err, re.MULTILINE)) == 2
    assert not on_tailnet.node("till").is_expired
    on_tailnet.expire("till")
    monkeypatch.delenv("TS_AUTHKEY")
    process = start("login", "--hostname", "till", "--state-dir", str(place))
    until(on_tailnet.logins)
    on_tailnet.approve(*on_tailnet.logins())
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert not on_tailnet.node("till").is_expired


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo-terminals")
def test_a_terminal_gets_a_code_of_the_url(
    on_tailnet: Tailnet, place: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TS_AUTHKEY")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    monkeypatch.delenv("NO_COLOR", raising=False)
    ours, theirs = os.openpty()
    try:
        process = start("login", "--hostname", "till", "--state-dir", str(place), stderr=theirs)
        until(on_tailnet.logins)
        (url,) = on_tailnet.logins()
        on_tailnet.approve(url)
        process.communicate(timeout=20)
        shown = read_all(ours, "its state is in").splitlines()
    finally:
        os.close(ours)
        os.close(theirs)
    assert f"    {url}" in shown
    assert decode(modules([line for line in shown if line.startswith(WHITE_ON_BLACK)])) == url


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["login"], 2, "name the place with --state-dir, or the node with --hostname"),
        (["logout"], 2, "name the place with --state-dir, or the node with --hostname"),
        (["logout", "--state-dir", "none"], 1, "there is no state of a node in none"),
    ],
)
def test_what_cannot_be(arguments: list[str], code: int, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.environ.pop("TS_HOSTNAME", None)
    assert main(arguments) == code
    assert why in capsys.readouterr().err
