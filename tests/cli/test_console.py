from __future__ import annotations

import io
import logging
import re
from pathlib import Path

import pytest

from tsnet.base.wording import Wording, api
from tsnet.cli import console
from tsnet.edge.io.log import log
from tsnet.errors import AddressInUse, ControlUnreachable


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_library_warns_in_the_commands_name(capsys: pytest.CaptureFixture[str]) -> None:
    console.begin("nc", verbose=False)
    logging.getLogger("tsnet").warning("the relay is slow")
    logging.getLogger("tsnet.forward").error("nothing to forward to")
    logging.getLogger("tsnet").info("a detail")
    logging.getLogger("tsnet").error("an error that is raised, too")
    assert capsys.readouterr().err == "tsnet nc: the relay is slow\ntsnet nc: nothing to forward to\n"


def test_verbose_says_all(capsys: pytest.CaptureFixture[str]) -> None:
    console.begin("nc", verbose=False)
    console.begin("nc", verbose=True)
    logging.getLogger("tsnet").info("a detail")
    assert capsys.readouterr().err == "tsnet nc: a detail\n"


def test_an_error_that_the_log_has_shown_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    error = ControlUnreachable(Wording("control cannot be reached. Check ", api("control_url=")))
    for verbose in (False, True):
        console.begin("nc", verbose=verbose)
        logging.getLogger("tsnet").warning("%s: %s", "shop", error)
        console.fail(error)
        assert capsys.readouterr().err.splitlines() == [
            "tsnet nc: shop: control cannot be reached. Check --control-url",
            "tsnet nc: gave up waiting [control-unreachable]",
        ]
        logging.getLogger("tsnet").error("%s: %s", "shop", error)  # it is raised, too
        assert capsys.readouterr().err == ""


def test_a_line_of_the_log_speaks_the_commands_language(capsys: pytest.CaptureFixture[str]) -> None:
    console.begin("nc", verbose=False)
    logging.getLogger("tsnet").warning(Wording("%d, see ", api("state=")), 5)
    logging.getLogger("tsnet").warning("%s", Wording("see ", api("state=")))
    assert capsys.readouterr().err.splitlines() == ["tsnet nc: 5, see --state-dir", "tsnet nc: see --state-dir"]


def test_other_handlers_of_the_log_get_the_error_itself(caplog: pytest.LogCaptureFixture) -> None:
    console.begin("nc", verbose=False)
    logging.getLogger("tsnet").addHandler(caplog.handler)
    error = ControlUnreachable(Wording("Check ", api("control_url=")))
    logging.getLogger("tsnet").warning("%s", error)
    assert caplog.records[0].args == (error,)
    assert caplog.records[0].getMessage() == "Check control_url="


def test_a_fault_shows_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    console.begin("nc", verbose=False)
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        logging.getLogger("tsnet").exception("a node failed")
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_stderr_that_has_gone_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Gone())
    console.say("hello?")


def test_an_error_is_one_line_with_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    console.begin("curl", verbose=False)
    console.fail(ControlUnreachable("no answer\n from control: check the URL"))
    console.fail(AddressInUse("port 80 is taken"))
    console.fail(OSError("plain"))
    console.fail(ValueError())
    assert capsys.readouterr().err.splitlines() == [
        "tsnet curl: no answer from control: check the URL [control-unreachable]",
        "tsnet curl: port 80 is taken [address-in-use]",
        "tsnet curl: plain",
        "tsnet curl: ValueError",
    ]


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert console.Style(Terminal())(console.BOLD, "x") == "\x1b[1mx\x1b[0m"
    assert console.Style(io.StringIO())(console.BOLD, "x") == "x"
    monkeypatch.setenv("TERM", "dumb")
    assert console.Style(Terminal())(console.BOLD, "x") == "x"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert console.Style(Terminal())(console.BOLD, "x") == "x"


EVIL = "evil \x1b[2J\nroot: \u202e"


def test_what_others_say_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    console.begin("curl", verbose=True)
    console.say(EVIL)
    console.show(EVIL, 1)
    console.fail(OSError(5, EVIL))
    console.fail(ValueError(EVIL))
    logging.getLogger("tsnet").warning("%s", EVIL)
    try:
        raise ValueError(EVIL)
    except ValueError:
        log.exception("a fault: %s", EVIL)
    out, err = capsys.readouterr()
    assert out.split("\n") == [r"evil \x1b[2J root: \u202e 1", ""]
    lines = err.split("\n")
    assert all(line.isprintable() for line in lines)
    assert lines[:3] == [rf"tsnet curl: evil \x1b[2J root: \u202e{''}"] * 3


def test_only_the_console_prints_what_others_say() -> None:
    """What the others print is theirs: JSON, a table of `printable` cells, how to join, what the demo has seen."""
    folder = Path(console.__file__).parent
    printing = {path.stem for path in folder.glob("*.py") if re.search(r"\bprint\(|stdout\.write\(", path.read_text())}
    assert printing == {"console", "status", "netcheck", "explain", "debug", "tailnet", "demo"}
