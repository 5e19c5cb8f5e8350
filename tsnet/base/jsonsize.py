"""How much memory a JSON document takes once it is built: an upper estimate from its bytes, before any of it is built.

What a document costs is not its length: `[],` is three bytes and becomes 88, `{"a":1},` is eight and becomes 184. The
estimate counts brackets, commas and quotes, which takes a few milliseconds for 10 MB. Only if that is too much, it
looks at the names of members: the parser keeps each name once, and a map of the tailnet has the same thirty names
everywhere.

| per            | bytes | what                                                                              |
|----------------|-------|-----------------------------------------------------------------------------------|
| `[`            | 88    | a list, and the least that it allocates for its items                             |
| `{`            | 184   | a dict, and a table for five members                                              |
| member         | 28    | its share of a larger table                                                       |
| value          | 9     | its place in a list                                                               |
| number         | 32    | int or float                                                                      |
| string         | 64    | and its characters, one byte each, or four if one of them is not Latin-1          |
| name, once     | 100   | more: its place in the parser's table of names                                    |
| character      | 1     | more: the text that is parsed                                                     |

Source: CPython's objects, measured with tracemalloc; tests/base/test_jsonsize.py compares.
Not here: reading JSON, and what is refused (`jsonobject`).
"""

from __future__ import annotations

import re

LIST, DICT, MEMBER, PLACE, NUMBER, STRING, NAME = 88, 184, 28, 9, 32, 64, 100
WIDEST = 4
"""Bytes that a character takes at most: all of a string's do, if one of them needs it."""

_PLAIN_NAME = re.compile(rb'"([^,:\]}\s"\\][^"\\]*)"[ \t\r\n]*:')
"""A name without escapes, and its colon. Its first byte tells it from what may stand between two strings, where a match
could begin, too."""

_SPACED_COLON = re.compile(rb'"[ \t\r\n]+:')

_WIDE = re.compile(rb"\\u(?!00)")
_MAX_NAMES = 1 << 16


def built_size(document: bytes, enough: int) -> int:
    """Bytes, at least as many as the document's text and values take. Above `enough`, any answer above it will do."""
    width = 1 if document.isascii() else WIDEST
    lists, dicts = document.count(b"["), document.count(b"{")
    values = document.count(b",") + lists + dicts + 1
    strings = document.count(b'"') // 2
    members = min(document.count(b":"), values)
    fixed = 2 * width * len(document) + lists * LIST + dicts * DICT + values * PLACE
    size = fixed + members * MEMBER + strings * STRING + (values - lists - dicts) * NUMBER
    if size > enough >= fixed:
        members = document.count(b'":') + sum(1 for _ in _SPACED_COLON.finditer(document))
        plain, names, length = _plain_names(document)
        texts = max(0, strings - plain)
        numbers = max(0, values - lists - dicts - texts)
        once = (names + max(0, members - plain)) * NAME + names * STRING
        size = fixed + members * MEMBER + texts * STRING + once + numbers * NUMBER - width * length
    return size + _widened(document, enough - size)


def _plain_names(document: bytes) -> tuple[int, int, int]:
    """How many members have a plain name; how many such names there are; how long the names of all those members are.

    Of a document with more than _MAX_NAMES names, only what comes before is counted.
    """
    members, length, names = 0, 0, set()
    for match in _PLAIN_NAME.finditer(document):
        members += 1
        length += len(match[1]) + 2
        names.add(match[1])
        if len(names) > _MAX_NAMES:
            break
    return members, len(names), length


def _widened(document: bytes, enough: int) -> int:
    """What escapes add to a document of ASCII: they make all characters of their strings wide."""
    if not document.isascii():
        return 0  # all of it counts as wide already
    size, end = 0, 0
    while size <= enough and (match := _WIDE.search(document, end)):
        begin = _quote_before(document, match.start(), end)
        end = _quote_after(document, match.end())
        size += WIDEST * (end - begin)
    return size


def _quote_before(document: bytes, at: int, least: int) -> int:
    """Where the string around `at` begins, or something before that."""
    while (found := document.rfind(b'"', least, at)) > least and document[found - 1] == 0x5C:
        at = found
    return max(found, least)


def _quote_after(document: bytes, at: int) -> int:
    """Where the string around `at` ends, or something behind that."""
    while (found := document.find(b'"', at)) > 0 and document[found - 1] == 0x5C:
        at = found + 1
    return len(document) if found < 0 else found
