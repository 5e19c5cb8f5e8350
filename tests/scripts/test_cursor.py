"""The scanner: blanks, comments, lines, complaints."""

from __future__ import annotations

import pytest

from tests.scripts.cursor import NUMBER, SECONDS, Cursor
from tests.scripts.script import ScriptError


def test_blanks_and_comments_are_no_content() -> None:
    cursor = Cursor(" // one\n /* two\n */ word // three")
    assert cursor.take("word") == "word"
    assert cursor.done


def test_what_does_not_match_is_not_taken() -> None:
    cursor = Cursor("abc")
    assert cursor.take("b") is None
    assert cursor.take("a(b)") == "b"
    assert cursor.take("c") == "c"


def test_lines_count_from_one() -> None:
    cursor = Cursor("a\n\nb")
    assert cursor.line == 1
    cursor.take("a")
    assert cursor.line == 3


def test_a_complaint_names_line_and_text() -> None:
    with pytest.raises(ScriptError, match="line 2: expected a number, found 'x y'"):
        Cursor("\nx y\nz").number()


@pytest.mark.parametrize(("text", "number"), [("12", 12), ("-1", -1), ("0x1f ", 31)])
def test_numbers(text: str, number: int) -> None:
    assert Cursor(text).number() == number
    assert Cursor("12ab").take(NUMBER) is None


@pytest.mark.parametrize("text", ["0", "1.5", ".25", "12"])
def test_seconds(text: str) -> None:
    assert Cursor(text + "...").take(SECONDS) == text
