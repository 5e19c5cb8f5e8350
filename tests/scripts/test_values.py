"""Arguments of calls."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scripts.cursor import Cursor
from tests.scripts.script import ScriptError, Struct
from tests.scripts.values import parse_list, parse_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("...", ...),
        ("3", 3),
        ("0xffffffff", 0xFFFFFFFF),
        ("-1", -1),
        ("NULL", 0),
        ('"a\\"b\\n"', b'a"b\n'),
        ("O_RDWR|O_NONBLOCK", frozenset({"O_RDWR", "O_NONBLOCK"})),
        ("[1]", [1]),
        ("[]", []),
        ("[A | B, ...]", [frozenset({"A", "B"}), ...]),
        ("htons(8080)", 8080),
        ("{onoff=1, linger=0}", Struct({"onoff": 1, "linger": 0}, ())),
        ("{..., 40}", Struct({}, (..., 40))),
        ("[{fd=4, events=POLLIN}]", [Struct({"fd": 4, "events": frozenset({"POLLIN"})}, ())]),
        (
            "{msg_name(...)=..., msg_iov(2)=[{..., 1}, {..., 2}], msg_flags=0}",
            Struct(
                {"msg_name": ..., "msg_iov": [Struct({}, (..., 1)), Struct({}, (..., 2))], "msg_flags": 0},
                (),
            ),
        ),
        ('{sin_addr=inet_addr("1.2.3.4")}', Struct({"sin_addr": b"1.2.3.4"}, ())),
    ],
)
def test_values(text: str, value: Any) -> None:
    cursor = Cursor(text)
    assert parse_value(cursor) == value
    assert cursor.done


def test_lists_end_where_they_say() -> None:
    cursor = Cursor("1, 2) = 3")
    assert parse_list(cursor, r"\)") == [1, 2]
    assert cursor.take("=") == "="


@pytest.mark.parametrize("text", ["[1", "{a=", "]", "{a=1 b=2}", ""])
def test_what_is_no_value(text: str) -> None:
    with pytest.raises(ScriptError, match="line 1: expected"):
        parse_value(Cursor(text))
