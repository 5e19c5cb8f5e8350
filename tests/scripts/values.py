"""Arguments of system calls, as text.

    ...   1   0x2   "text"   NAME|NAME   [v, …]   {name=v, name(2)=v, v, …}   function(v)

`htons(80)` and `inet_addr("…")` stand for their arguments. NULL is 0.
"""

from __future__ import annotations

from typing import Any

from tests.scripts.cursor import NAME, NUMBER, Cursor
from tests.scripts.script import Struct, Value

_TEXT = r'"((?:\\.|[^"\\])*)"'


def parse_value(cursor: Cursor) -> Value:
    if cursor.take(r"\.\.\."):
        return ...
    if cursor.take(r"\["):
        return parse_list(cursor, r"\]")
    if cursor.take(r"\{"):
        return _parse_struct(cursor)
    text = cursor.take(_TEXT)
    if text is not None:
        return text.encode().decode("unicode_escape").encode("latin-1")
    number = cursor.take(NUMBER)
    if number is not None:
        return int(number, 0)
    return _parse_names(cursor)


def parse_list(cursor: Cursor, end: str) -> list[Any]:
    """Values with commas between them, and the end."""
    values: list[Any] = []
    while not cursor.take(end):
        values.append(parse_value(cursor))
        if not cursor.take(","):
            cursor.need(end, "a comma or the end of the list")
            break
    return values


def _parse_struct(cursor: Cursor) -> Struct:
    fields: dict[str, Any] = {}
    items: list[Any] = []
    while not cursor.take(r"\}"):
        name = cursor.take(rf"({NAME})(?=\s*(?:\([^)]*\))?\s*[=:])")
        if name is None:
            items.append(parse_value(cursor))
        else:
            cursor.take(r"\([^)]*\)")
            cursor.need("[=:]", "= and a value")
            fields[name] = parse_value(cursor)
        if not cursor.take(","):
            cursor.need(r"\}", "a comma or the end of the structure")
            break
    return Struct(fields, tuple(items))


def _parse_names(cursor: Cursor) -> Value:
    name = cursor.need(NAME, "a value")
    if cursor.take(r"\("):
        arguments = parse_list(cursor, r"\)")
        return arguments[0] if arguments else ...
    names = {name}
    while cursor.take(r"\|"):
        names.add(cursor.need(NAME, "a name"))
    return 0 if names == {"NULL"} else frozenset(names)
