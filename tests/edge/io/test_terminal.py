from __future__ import annotations

import io
import os

import pytest

from tests.base.test_qrcode import decode
from tsnet.edge.io.terminal import HALVES, PLAIN, QUIET, WHITE_ON_BLACK, code_lines, login_message

URL = "https://login.tailscale.com/a/0123456789ab"


class Terminal(io.StringIO):
    """A terminal that is not there."""

    def __init__(self, encoding: str = "utf-8", *, is_one: bool = True) -> None:
        super().__init__()
        self._encoding, self._is_one = encoding, is_one

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._is_one


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def modules(lines: list[str]) -> list[list[bool]]:
    """The matrix that is drawn there."""
    pairs = {character: pair for pair, character in HALVES.items()}
    rows: list[list[bool]] = []
    for line in lines:
        drawn = [pairs[character] for character in line.removeprefix(WHITE_ON_BLACK).removesuffix(PLAIN)]
        rows += [[pair[0] for pair in drawn], [pair[1] for pair in drawn]]
    size = len(rows[0]) - 2 * QUIET
    edge = [*rows[:QUIET], *rows[QUIET + size :], *(row[:QUIET] + row[QUIET + size :] for row in rows)]
    assert not any(map(any, edge)), "the quiet zone is light"
    return [row[QUIET : QUIET + size] for row in rows[QUIET : QUIET + size]]


def test_what_is_drawn_is_the_url() -> None:
    lines = code_lines(URL, Terminal())
    assert decode(modules(lines)) == URL
    assert all(line.startswith(WHITE_ON_BLACK) and line.endswith(PLAIN) for line in lines)
    assert len(lines) == 17


def test_without_colours_light_modules_are_drawn_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    lines = code_lines(URL, Terminal())
    assert set("".join(lines)) <= set(HALVES.values())
    assert decode(modules(lines)) == URL


def test_where_no_code_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_lines(URL, Terminal(is_one=False)) == []
    assert code_lines(URL, Terminal("ascii")) == []
    assert code_lines(URL, Terminal("latin-1")) == []
    assert code_lines("https://example.com/" + "x" * 300, Terminal()) == []
    monkeypatch.setenv("TERM", "dumb")
    assert code_lines(URL, Terminal()) == []


def test_a_narrow_terminal_gets_the_url_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(stream, "fileno", lambda: 2)
    monkeypatch.setattr(os, "get_terminal_size", lambda number: os.terminal_size((32, 24)))
    assert code_lines(URL, stream) == []
    monkeypatch.setattr(os, "get_terminal_size", lambda number: os.terminal_size((33, 24)))
    assert code_lines(URL, stream)


def test_the_message() -> None:
    assert login_message("shop", URL, Terminal(is_one=False)) == f"To log shop in, visit:\n\n    {URL}\n\n"
    shown = login_message("shop", URL, Terminal())
    assert decode(modules(shown.splitlines()[4:])) == URL
    assert "\x1b" not in login_message("shop", "http://a/\x1b[2J", Terminal(is_one=False))
