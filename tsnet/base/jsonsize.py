"""How much memory a JSON document takes once it is built: an upper estimate from its bytes, before any of it is built.

What a document costs is not its length: `[],` is three bytes and becomes 88, `{"a":1},` is eight and becomes 184. The
estimate counts brackets, commas and quotes, slice by slice. Only if that is too much, it looks at the names of members:
the parser keeps each name once, and a map of the tailnet has the same thirty names everywhere.

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
from collections.abc import Iterator

import attrs

from tsnet.base.steps import Steps, finish

LIST, DICT, MEMBER, PLACE, NUMBER, STRING, NAME = 88, 184, 28, 9, 32, 64, 100
WIDEST = 4
"""Bytes that a character takes at most: all of a string's do, if one of them needs it."""

SURELY = 48
"""No document becomes more than so many times its length."""

SLICE = 64 << 10
"""Bytes that are looked at in one step: some tenths of a millisecond."""

_PLAIN_NAME = re.compile(rb'"([^,:\]}\s"\\][^"\\]*)"[ \t\r\n]*:')
"""A name without escapes, and its colon. Its first byte tells it from what may stand between two strings, where a match
could begin, too."""

_SPACED_COLON = re.compile(rb'"[ \t\r\n]+:')

_WIDE = re.compile(rb"\\u(?!00)|[\x80-\xff]")
_ALL_NOT_ASCII = bytes(range(128, 256))
_FEW = 16
"""One byte in so many, or fewer, may be beyond ASCII, so that only the strings around them count as wide."""

_MAX_NAMES = 1 << 16


def built_size(document: bytes, enough: int) -> int:
    """Bytes, at least as many as the document's text and values take. Above `enough`, any answer above it will do."""
    width = 1 if document.isascii() else WIDEST
    return finish(_size(document, enough, width))


def size_in_pieces(document: bytes, enough: int) -> Steps[int]:
    """The same for a document of which never more than a slice becomes text at once."""
    return _size(document, enough, None)


def _size(document: bytes, enough: int, width: int | None) -> Steps[int]:
    """width: bytes for each character, None if each slice has its own."""
    counts = _Counts()
    for begin, end in _slices(document):
        counts.add(document, begin, end, width or _width(document[begin:end]))
        yield
    size = counts.rough()
    if size > enough >= counts.fixed():
        names = _Names()
        for begin, end in _slices(document):
            names.add(document, begin, end, width or _width(document[begin:end]))
            yield
        size = counts.fine(names)
    if width == WIDEST:
        return size  # all of it counts as wide already
    at = 0
    for begin, end in _slices(document):
        added, at = _widened(document, max(begin, at), end, width)
        size += added
        if size > enough:
            break
        yield
    return size


def _slices(document: bytes) -> Iterator[tuple[int, int]]:
    """Where slices begin and end: between two values, or before a closing quote, if that is possible."""
    begin = 0
    while begin < len(document):
        end = begin + SLICE
        if end < len(document):
            end = document.rfind(b',"', begin, end) + 1 or end
        yield begin, min(end, len(document))
        begin = end


def _width(piece: bytes) -> int:
    """Of a slice that becomes text by itself."""
    if piece.isascii():
        return 1
    foreign = len(piece) - len(piece.translate(None, _ALL_NOT_ASCII))
    return WIDEST if foreign * _FEW > len(piece) else 1


@attrs.define
class _Counts:
    """What stands in the slices so far. length: of their characters, in bytes of memory."""

    length: int = 0
    lists: int = 0
    dicts: int = 0
    values: int = 1
    quotes: int = 0
    colons: int = 0

    def add(self, document: bytes, begin: int, end: int, width: int) -> None:
        count = document.count
        lists, dicts = count(b"[", begin, end), count(b"{", begin, end)
        self.length += width * (end - begin)
        self.lists += lists
        self.dicts += dicts
        self.values += count(b",", begin, end) + lists + dicts
        self.quotes += count(b'"', begin, end)
        self.colons += count(b":", begin, end)

    def fixed(self) -> int:
        return 2 * self.length + self.lists * LIST + self.dicts * DICT + self.values * PLACE

    def rough(self) -> int:
        members = min(self.colons, self.values)
        numbers = self.values - self.lists - self.dicts
        return self.fixed() + members * MEMBER + self.quotes // 2 * STRING + numbers * NUMBER

    def fine(self, names: _Names) -> int:
        texts = max(0, self.quotes // 2 - names.plain)
        numbers = max(0, self.values - self.lists - self.dicts - texts)
        once = (len(names.known) + max(0, names.members - names.plain)) * NAME + len(names.known) * STRING
        return self.fixed() + names.members * MEMBER + texts * STRING + once + numbers * NUMBER - names.length


class _Names:
    """The names of members. plain: how many members have a plain one; length: of those, in bytes of memory.

    After _MAX_NAMES different ones, no more are looked at.
    """

    def __init__(self) -> None:
        self.members = self.plain = self.length = 0
        self.known: set[bytes] = set()

    def add(self, document: bytes, begin: int, end: int, width: int) -> None:
        self.members += document.count(b'":', begin, end)
        self.members += sum(1 for _ in _SPACED_COLON.finditer(document, begin, end))
        if len(self.known) <= _MAX_NAMES:
            found = _PLAIN_NAME.findall(document, begin, end)
            self.plain += len(found)
            self.length += width * (sum(map(len, found)) + 2 * len(found))
            self.known.update(found)


def _widened(document: bytes, begin: int, end: int, width: int | None) -> tuple[int, int]:
    """What escapes and foreign characters add: they make all characters of their strings wide. And where to go on."""
    if width is None and _width(document[begin:end]) == WIDEST:
        return 0, end
    size, at = 0, begin
    while match := _WIDE.search(document, at, end):
        first = _quote_before(document, match.start(), at)
        at = _quote_after(document, match.end())
        size += WIDEST * (at - first)
    return size, max(at, end)


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
