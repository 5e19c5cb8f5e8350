"""Every option that an error names is named by `api`, and the command line has a word for each."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tsnet.cli import console
from tsnet.cli.command import parser
from tsnet.cli.words import NEVER_SAID, WORDS
from tsnet.config import TYPES, seconds
from tsnet.errors import ConfigError

ROOT = Path(__file__).parent.parent.parent
SOURCES = sorted(path for path in ROOT.glob("tsnet/**/*.py") if path.name != "words.py")
AN_OPTION = re.compile(r"(?<![\w/?&.-])[a-z]+(_[a-z]+)*=(?=True|False|None|[\s,.;:)]|$)|\bstatus\(\)")


def calls_of_api(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "api":
            yield node


def name_of(call: ast.Call) -> str:
    """The name, or "" where it is put together of a table's options."""
    return str(call.args[0].value) if isinstance(call.args[0], ast.Constant) else ""


def texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """The texts of a module that are no docstrings and no comments of attributes."""
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_texts_name_options_by_api_alone(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    by_api = {id(call.args[0]) for call in calls_of_api(tree)}
    plain = [node.value for node in texts(tree) if AN_OPTION.search(str(node.value)) and id(node) not in by_api]
    assert plain == []


def test_the_command_line_has_a_word_for_every_name() -> None:
    calls = [call for path in SOURCES for call in calls_of_api(ast.parse(path.read_text(encoding="utf-8")))]
    names = {name_of(call) for call in calls if name_of(call)} | {f"{option}=" for option in TYPES}
    assert names - NEVER_SAID <= WORDS.keys()
    for call in calls:
        if WORDS.get(name_of(call), "") is None:
            assert any(keyword.arg == "before" for keyword in call.keywords), f"{name_of(call)} is no clause"


def test_the_words_are_options_of_the_commands() -> None:
    commands = next(action.choices for action in parser()._actions if isinstance(action.choices, dict))
    options = {option for command in commands.values() for option in command._option_string_actions}
    for word in WORDS.values():
        assert word is None or not word.startswith("-") or word in options, word


def test_an_error_of_a_command_speaks_its_language(capsys: pytest.CaptureFixture[str]) -> None:
    from tsnet.base.wording import Wording, api
    from tsnet.errors import AddressInUse, ConfigError, NeedsLogin

    text = Wording("choose ", api("state="), api("on_auth_url=", before=" or "), " (TS_AUTHKEY=x)")
    console.begin("nc", verbose=False)
    for error in (ConfigError(text), AddressInUse(text), NeedsLogin(text, "https://login.test")):
        console.fail(error)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"tsnet nc: choose --state-dir (TS_AUTHKEY=x) [{code}]" for code in ("config", "address-in-use", "needs-login")
    ]


def test_a_command_hears_of_no_none() -> None:
    with pytest.raises(ConfigError) as raised:
        seconds(-1)
    assert "or None" in str(raised.value)
    assert console.message(raised.value) == "--timeout takes seconds, 0 or more; not -1"
