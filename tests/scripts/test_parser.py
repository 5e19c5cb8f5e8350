"""Whole scripts."""

from __future__ import annotations

import pytest

from tests.scripts.parser import parse
from tests.scripts.script import Call, Code, Event, ScriptError, Segment, Shell, When


def only(text: str) -> Event:
    script = parse(text)
    assert len(script.events) == 1
    return script.events[0]


@pytest.mark.parametrize(
    ("time", "when"),
    [
        ("0", When("at", 0)),
        ("1.5", When("at", 1.5)),
        ("+.25", When("after", 0.25)),
        ("*", When("any")),
        ("+.1~+.2", When("after", 0.1, 0.2)),
        ("1~2", When("at", 1, 2)),
        ("+0...0.200", When("after", 0, None, 0.2)),
        ("1...2.5", When("at", 1, None, 2.5)),
    ],
)
def test_times(time: str, when: When) -> None:
    assert only(f"{time} close(3) = 0").when == when


def test_options_and_events() -> None:
    script = parse(
        "// a\n--mss=1000\n--tolerance_usecs=5\n`one`\n0 < . 1:1(0)\n+0 > . 1:1(0)\n+1 `two`\n+0 %{ three }%"
    )
    assert script.options == {"mss": "1000", "tolerance_usecs": "5"}
    assert [event.line for event in script.events] == [4, 5, 6, 7, 8]
    kinds = [type(event.action) for event in script.events]
    assert kinds == [Shell, Segment, Segment, Shell, Code]
    assert script.events[0].when == When("after")


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("close(3) = 0", Call("close", (3,), 0, None, "close(3) = 0")),
        ("read(3, ..., 9) = ?", Call("read", (3, ..., 9), None, None, "read(3, ..., 9) = ?")),
        ("f() = -1 EAGAIN (Resource (no", Call("f", (), -1, "EAGAIN", "f() = -1 EAGAIN")),
        ("f() = 0x2 (flags O_RDWR)", Call("f", (), 2, None, "f() = 0x2 (flags O_RDWR)")),
    ],
)
def test_calls(text: str, call: Call) -> None:
    if text.endswith("(no"):
        with pytest.raises(ScriptError):
            parse(f"0 {text}")
    else:
        assert only(f"0 {text}").action == call


def test_code_may_have_braces_and_lines() -> None:
    assert only("0 %{\nassert {1: 2}[1] == 2\n}%").action == Code("\nassert {1: 2}[1] == 2\n")


@pytest.mark.parametrize("text", ["socket()", "+ close(3) = 0", "0 close(3)", "0 close 3", "0", "0 `open", "0 < S"])
def test_what_is_no_script(text: str) -> None:
    with pytest.raises(ScriptError, match="line 1"):
        parse(text)
