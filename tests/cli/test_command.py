from __future__ import annotations

import importlib.util
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tsnet.cli.command import COMMANDS, main, parse
from tsnet.cli.signals import Terminated
from tsnet.errors import ConfigError, DialRefused, NotOnTailnet


def ending(monkeypatch: pytest.MonkeyPatch, outcome: Any) -> int:
    """The exit code of a command that ends so."""

    def run(options: Any) -> int:
        if isinstance(outcome, BaseException):
            raise outcome
        return int(outcome)

    monkeypatch.setitem(sys.modules, "tsnet.cli.status", SimpleNamespace(run=run))
    return main(["status"])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_module_and_a_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert importlib.util.find_spec(f"tsnet.cli.{name}") is not None
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert f"usage: tsnet {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["nc", "host"],
        ["nc", "host", "0"],
        ["nc", "host", "65536"],
        ["nc", "host", "²"],
        ["serve"],
        ["serve", ".", "--listen", "x"],
        ["run"],
        ["run", "pytest"],
        ["run", "--"],
        ["ping", "host", "-c", "0"],
        ["ping", "host", "-c", "-1"],
        ["ping", "host", "--time", "3"],  # no abbreviations: they would forbid new options
    ],
)
def test_a_line_without_sense_is_a_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: tsnet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "ls", "-la"], "the command to run stands after --: tsnet run -- ls -la"),
        (["run", "-L", "1:a:2", "echo", "a b"], "the command to run stands after --: tsnet run -- echo 'a b'"),
        (["run"], "the command to run stands after --: tsnet run -- COMMAND"),
        (["run", "--frob", "--", "ls"], "unrecognized arguments: --frob"),
        (["status", "--frob"], "unrecognized arguments: --frob"),
        (["nc", "db", "80", "81"], "unrecognized arguments: 81"),
    ],
)
def test_an_error_shows_the_usage_of_its_command(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    shown = capsys.readouterr().err
    assert end.value.code == 2
    assert shown.startswith(f"usage: tsnet {arguments[0]} ")
    assert shown.endswith(f"tsnet {arguments[0]}: error: {said}\n")


def test_what_follows_the_border_is_the_commands_own() -> None:
    options = parse(["run", "-L", "1:a:2", "--hostname", "ci", "--", "pytest", "-L", "--", "--hostname", "x"])
    assert options.forward == ["1:a:2"]
    assert options.hostname == "ci"
    assert options.argv == ["pytest", "-L", "--", "--hostname", "x"]


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (0, 0, ""),
        (7, 7, ""),
        (KeyboardInterrupt(), 130, ""),
        (Terminated(15), 143, ""),
        (ConfigError("port must be 0 to 65535"), 2, "tsnet status: port must be 0 to 65535 [config]\n"),
        (NotOnTailnet("no node 'x'"), 1, "tsnet status: no node 'x' [not-on-tailnet]\n"),
        (
            DialRefused("a:80 refused:\n  nothing there"),
            1,
            "tsnet status: a:80 refused: nothing there [dial-refused]\n",
        ),
        (FileNotFoundError(2, "No such file", "/x"), 1, "tsnet status: /x: No such file\n"),
    ],
)
def test_the_end_of_a_command(
    outcome: Any, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(monkeypatch, outcome) == code
    assert capsys.readouterr() == ("", said)


def test_ctrl_c_before_the_command_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("tsnet.cli.command.parse", interrupted)
    assert main(["status"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        ending(monkeypatch, ZeroDivisionError())


def test_help_imports_next_to_nothing() -> None:
    code = (
        "import sys\nfrom tsnet.cli import main\n"
        "try: main(['serve', '--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'anyio', 'asyncio', 'attrs', 'cryptography', 'httpx', 'nacl', 'ssl'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n[]\n")


@pytest.mark.parametrize(
    ("line", "verbose"),
    [
        (["curl", "shop"], False),
        (["--verbose", "curl", "shop"], True),
        (["-v", "curl", "shop"], True),
        (["curl", "-v", "shop"], True),
        (["-v", "curl", "shop", "--verbose"], True),
        (["-v", "run", "--", "ls", "-l"], True),
        (["run", "--", "ls", "-v"], False),
    ],
)
def test_verbose_stands_before_the_commands_name_or_behind_it(line: list[str], verbose: bool) -> None:
    options = parse(line)
    assert options.verbose is verbose
    assert options.argv == (line[line.index("--") + 1 :] if "--" in line else [])
