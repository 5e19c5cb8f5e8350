"""A large JSON object read a piece at a time, so that whoever reads it holds nobody up: what lists hold is made as it
is read, and its JSON is gone before the next piece.

    document ──► window of WINDOW bytes ──► value after value, each in one call of the standard library's scanner
                                            one that does not end within the window is taken apart, level by level

    Each(make)       a list: each of its elements becomes make(element)
    Members(plan)    an object: each of its members is read by the plan

What is read is what `json.loads` reads, and what it refuses is refused. The bounds are those of `jsonobject`, and hold
before anything is built.

Not here: documents that are read whole (`jsonobject`), the estimate (`jsonsize`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from json.decoder import JSONDecoder
from typing import Any, Final

from tsnet.base import jsonobject, jsonsize
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.base.steps import Steps

WINDOW = 64 << 10
"""Bytes. The scanner takes up to a millisecond for so many, during which no other thread runs."""

_BLANKS = " \t\n\r"


@record
class Each:
    """A plan for a list. What is no list is read as it is."""

    make: Callable[[Any], Any]


@record
class Members:
    """A plan for an object whose members are alike. What is no object is read as it is."""

    plan: Each


Plan = Each | Members
Plans = Mapping[str, Plan]


def parse_in_pieces(document: bytes, plans: Plans, what: str, *, budget: int) -> Steps[dict[str, Any]]:
    """The object, with what the plans make of its members.

    Raises MalformedError, which says what it is about, as `jsonobject.parse` does; also what a `make` raises.
    """
    size = yield from jsonsize.size_in_pieces(document, budget)
    jsonobject.check_size(size, what, budget)
    reader = _Reader(document, what, budget)
    try:
        return (yield from reader.document(plans))
    except UnicodeDecodeError:
        raise reader.malformed() from None


class _Reader:
    """A place in the document. The window is text, and begins where a token does."""

    def __init__(self, document: bytes, what: str, budget: int) -> None:
        self._document = document
        self._what = what
        self._budget = budget
        self._scan: Final = JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._begin = self._end = 0  # of the window, in bytes of the document

    def malformed(self, why: str = "is not JSON") -> MalformedError:
        return MalformedError(f"{self._what} {why}")

    # --- what is read -------------------------------------------------------------------------------------------

    def document(self, plans: Plans) -> Steps[dict[str, Any]]:
        if self._next() != "{":
            raise self.malformed("is no JSON object")
        members = yield from self._object(plans.get, 1)
        self._skip_blanks()
        if self._at < len(self._text):
            raise self.malformed()
        return members

    def _value(self, plan: Plan | None, depth: int) -> Steps[Any]:
        """The value that begins here. depth: how many containers are around it."""
        begins = self._next()
        if begins == "[" and isinstance(plan, Each):
            return (yield from self._list(plan.make, depth + 1))
        if begins == "{" and isinstance(plan, Members):
            within = plan.plan
            return (yield from self._object(lambda _name: within, depth + 1))
        found = self._whole(depth)
        if found is not _CUT:
            return found
        if begins == "[":
            return (yield from self._list(None, depth + 1))
        if begins == "{":
            return (yield from self._object(lambda _name: None, depth + 1))
        return self._long(depth)

    def _list(self, make: Callable[[Any], Any] | None, depth: int) -> Steps[list[Any]]:
        self._enter(depth)
        found: list[Any] = []
        if self._next() == "]":
            self._at += 1
            return found
        while True:
            value = yield from self._value(None, depth)
            found.append(value if make is None else make(value))
            yield
            if self._is_last("]"):
                return found

    def _object(self, plan_of: Callable[[str], Plan | None], depth: int) -> Steps[dict[str, Any]]:
        self._enter(depth)
        members: dict[str, Any] = {}
        if self._next() == "}":
            self._at += 1
            return members
        while True:
            name = self._name(depth)
            members[name] = yield from self._value(plan_of(name), depth)
            yield
            if self._is_last("}"):
                return members

    def _name(self, depth: int) -> str:
        """A member's name, and the colon behind it."""
        if self._next() != '"':
            raise self.malformed()
        name = self._whole(depth)
        if name is _CUT:
            name = self._long(depth)
        if self._next() != ":":
            raise self.malformed()
        self._at += 1
        return str(name)

    def _enter(self, depth: int) -> None:
        self._at += 1
        if depth > jsonobject.MAX_DEPTH:
            raise self._too_deep()

    def _is_last(self, end: str) -> bool:
        """Step over what stands behind a value: a comma, or the end of what holds it."""
        found = self._next()
        if found not in (",", end):
            raise self.malformed()
        self._at += 1
        return found == end

    # --- one value in one call ----------------------------------------------------------------------------------

    def _whole(self, depth: int) -> Any:
        """The value, if it ends within a window that begins with it; _CUT if not."""
        while True:
            value, end = self._scanned()
            if value is not _CUT:
                if isinstance(value, (dict, list)):
                    self._check_depth(value, end, depth)
                self._at = end
                return value
            if self._at == 0 or self._is_at_end:
                return _CUT
            self._move()

    def _scanned(self) -> tuple[Any, int]:
        """The value and where it ends. _CUT if it does not end, or could go on behind the window."""
        try:
            value, end = self._scan(self._text, self._at)
        except ValueError:
            return _CUT, 0
        except RecursionError:
            raise self._too_deep() from None
        if end + _MOST_OF_A_NUMBER > len(self._text) and not self._is_at_end:
            return _CUT, 0
        return value, end

    def _long(self, depth: int) -> Any:
        """A value that is no container and longer than the window; or none at all."""
        size = WINDOW
        while not self._is_at_end:
            size *= 2
            self._move(size)
            jsonobject.check_size(jsonsize.built_size(self._piece(), self._budget), self._what, self._budget)
            value, end = self._scanned()
            if value is not _CUT:
                self._at = end
                return value
        value, self._at = self._scanned()
        if value is _CUT:
            raise self.malformed()
        return value

    def _check_depth(self, value: Any, end: int, depth: int) -> None:
        levels = jsonobject.MAX_DEPTH - depth
        text, at = self._text, self._at
        brackets = text.count("[", at, end) + text.count("{", at, end)
        if brackets > levels and jsonobject.is_deep(value, levels):
            raise self._too_deep()

    def _too_deep(self) -> MalformedError:
        return self.malformed(f"is nested more than {jsonobject.MAX_DEPTH} deep")

    # --- the window ---------------------------------------------------------------------------------------------

    @property
    def _is_at_end(self) -> bool:
        """Whether the window holds the rest of the document."""
        return self._end == len(self._document)

    def _next(self) -> str:
        """The character after the blanks here; it stays. Raises MalformedError at the document's end."""
        self._skip_blanks()
        if self._at >= len(self._text):
            raise self.malformed()
        return self._text[self._at]

    def _skip_blanks(self) -> None:
        while True:
            text, at = self._text, self._at
            while at < len(text) and text[at] in _BLANKS:
                at += 1
            self._at = at
            if at < len(text) or self._is_at_end:
                return
            self._move()

    def _move(self, size: int = WINDOW) -> None:
        """Begin a new window here."""
        text, at = self._text, self._at
        read = at if text.isascii() else len(text[:at].encode("utf-8", "surrogatepass"))
        self._begin += read
        self._end = _boundary(self._document, self._begin + size)
        self._text, self._at = self._piece().decode("utf-8", "surrogatepass"), 0

    def _piece(self) -> bytes:
        """The window as it came."""
        return self._document[self._begin : self._end]


_CUT: Final = object()
_MOST_OF_A_NUMBER = 4
"""A number is cut where what is left could stand behind it: of `1e+5`, `1` with `e+` behind it."""


def _boundary(document: bytes, at: int) -> int:
    """The last place until `at` at which no character is cut."""
    if at >= len(document):
        return len(document)
    for _ in range(3):
        if document[at] & 0xC0 != 0x80:
            break
        at -= 1
    return at
