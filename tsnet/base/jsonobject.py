"""JSON objects: the shape that control and relays speak, and that this library keeps between two runs.

A document is bounded by what it becomes. It is refused, before it is built, if that may take more than its budget of
memory, and afterwards if it is nested deeper than MAX_DEPTH.

Not here: the estimate (`jsonsize`), what the members mean, and Go's way to write them (`control.gojson`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tsnet.base import jsonsize
from tsnet.base.malformed import MalformedError

MIB = 1 << 20
BUDGET = 8 * MIB
"""Bytes of memory for a document and what it becomes, if its reader names no other budget."""

MAX_DEPTH = 64

_LARGE = MIB
_COPIES = 4
"""Putting escapes into a document takes as much memory as so many of it."""

_NOT_ASCII = re.compile(rb"[\x80-\xff]+")
_ALL_NOT_ASCII = bytes(range(128, 256))


def parse(document: bytes, what: str = "the document", *, budget: int = BUDGET) -> dict[str, Any]:
    """Raises MalformedError, which says what it is about, when it is no object, too large or too deep to be read."""
    value = _built(document, what, budget)
    if not isinstance(value, dict):
        raise MalformedError(f"{what} is no JSON object")
    return value


def parse_kept(document: bytes, kind: str, version: int, *, writer: str, budget: int = BUDGET) -> dict[str, Any]:
    """An object that was kept with `"kind"` and `"version"`. writer: who writes that kind, for the error.

    Raises MalformedError, whose text completes "the state …" and quotes nothing but a version: the rest may be secret.
    """
    if not document.strip():
        raise MalformedError("is empty")
    members = _built(document, "is damaged: it", budget)
    if not isinstance(members, dict) or members.get("kind") != kind:
        raise MalformedError(f"was not written by {writer}")
    found = members.get("version")
    if found != version:
        shown = f"version {found}" if type(found) is int and 0 <= found < 1 << 16 else "no version"
        raise MalformedError(f"has {shown}, and this library knows version {version}")
    return members


def encode(members: Mapping[str, Any]) -> bytes:
    """Without a space."""
    return json.dumps(members, separators=(",", ":")).encode()


def _built(document: bytes, what: str, budget: int) -> Any:
    """Any JSON value. Raises MalformedError."""
    try:
        if len(document) * jsonsize.SURELY > budget:
            document = _narrow(document, budget)
            check_size(jsonsize.built_size(document, budget), what, budget)
        text = document.decode("utf-8", "surrogatepass")
        del document  # it may be long, and is not needed any more
        value = json.loads(text)
    except MalformedError:
        raise
    except (ValueError, RecursionError):
        raise MalformedError(f"{what} is not JSON") from None
    if is_deep(value):
        raise MalformedError(f"{what} is nested more than {MAX_DEPTH} deep")
    return value


def check_size(size: int, what: str, budget: int) -> None:
    """Raises MalformedError if a document may become larger than that."""
    if size > budget:
        raise MalformedError(f"{what} would take {size // MIB} MiB of memory, and may take {budget // MIB} MiB")


def _narrow(document: bytes, budget: int) -> bytes:
    """A long document that is ASCII but for a few words, with escapes in their place.

    As one text it would take four bytes for each of its characters, because of one emoji in somebody's name.
    """
    if len(document) <= _LARGE or document.isascii() or len(document) * _COPIES > budget:
        return document
    foreign = len(document) - len(document.translate(None, _ALL_NOT_ASCII))
    return _NOT_ASCII.sub(_escaped, document) if foreign <= len(document) // 16 else document


def _escaped(match: re.Match[bytes]) -> bytes:
    return json.dumps(match[0].decode("utf-8", "surrogatepass"))[1:-1].encode()


def is_deep(value: Any, levels: int = MAX_DEPTH) -> bool:
    """Whether more containers than `levels` stand one in the other."""
    level = [value]
    for _ in range(levels):
        level = [
            item
            for holder in level
            for item in (holder.values() if isinstance(holder, dict) else holder if isinstance(holder, list) else ())
            if isinstance(item, (dict, list))
        ]
        if not level:
            return False
    return True
