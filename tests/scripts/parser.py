"""A whole script: options, then events.

    --name=value
    `command`                          now, nothing else is waited for
    TIME < packet                      injected
    TIME > packet                      expected
    TIME call(arguments) = result [ERRNO] [(remark)]
    TIME `command`
    TIME %{ Python }%

    TIME   1.5 | +1.5 | * | 1~2 | +1~+2 | 1...2 | +1...2      (`...`: when a call that blocks returns)

Source: packetdrill's published syntax (https://github.com/google/packetdrill).
"""

from __future__ import annotations

from tests.scripts.cursor import NAME, NUMBER, SECONDS, Cursor
from tests.scripts.packets import parse_packet
from tests.scripts.script import Action, Call, Code, Event, Script, Shell, When
from tests.scripts.values import parse_list

_COMMAND = r"`((?:\\.|[^`\\])*)`"
_CODE = r"%\{(.*?)\}%"


def parse(text: str) -> Script:
    """Raises ScriptError, with the line, for what is no script."""
    cursor = Cursor(text)
    options: dict[str, str] = {}
    while (name := cursor.take(r"--(\w+)")) is not None:
        options[name] = cursor.take(r"=(\S+)") or ""
    events: list[Event] = []
    while not cursor.done:
        events.append(_parse_event(cursor))
    return Script(options, tuple(events))


def _parse_event(cursor: Cursor) -> Event:
    line = cursor.line
    command = cursor.take(_COMMAND)
    if command is not None:
        return Event(line, When("after"), Shell(command))
    when = _parse_when(cursor)
    return Event(line, when, _parse_action(cursor))


def _parse_when(cursor: Cursor) -> When:
    if cursor.take(r"\*"):
        return When("any")
    kind = "after" if cursor.take(r"\+") else "at"
    start = float(cursor.need(SECONDS, "a time"))
    if cursor.take("~"):
        cursor.take(r"\+")
        return When(kind, start, float(cursor.need(SECONDS, "a time")))
    if cursor.take(r"\.\.\."):
        return When(kind, start, None, float(cursor.need(SECONDS, "a time")))
    return When(kind, start)


def _parse_action(cursor: Cursor) -> Action:
    if cursor.take("<"):
        return parse_packet(cursor, inbound=True)
    if cursor.take(">"):
        return parse_packet(cursor, inbound=False)
    command = cursor.take(_COMMAND)
    if command is not None:
        return Shell(command)
    code = cursor.take(_CODE)
    return Code(code) if code is not None else _parse_call(cursor)


def _parse_call(cursor: Cursor) -> Call:
    start = cursor.at
    name = cursor.need(NAME, "a packet, a call, a command or code")
    cursor.need(r"\(", "the arguments")
    arguments = parse_list(cursor, r"\)")
    cursor.need("=", "= and the result")
    result = None if cursor.take(r"\?") else int(cursor.need(NUMBER, "the result"), 0)
    error = cursor.take(r"E[A-Z0-9]+\b")
    cursor.take(r"\([^)]*\)")
    text = " ".join(cursor.text[start : cursor.at].split())
    return Call(name, tuple(arguments), result, error, text)
