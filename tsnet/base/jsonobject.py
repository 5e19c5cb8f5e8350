"""JSON objects: the shape that control and relays speak, and that this library keeps between two runs.

Not here: what the members mean, and Go's way to write them (`control.gojson`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tsnet.base.malformed import MalformedError


def parse(document: bytes, what: str = "the document") -> dict[str, Any]:
    """Raises MalformedError, which says what it is about, when it is no object, or too deep to be read."""
    try:
        value = json.loads(document)
    except (ValueError, RecursionError):
        raise MalformedError(f"{what} is not JSON") from None
    if not isinstance(value, dict):
        raise MalformedError(f"{what} is no JSON object")
    return value


def parse_kept(document: bytes, kind: str, version: int, *, writer: str) -> dict[str, Any]:
    """An object that was kept with `"kind"` and `"version"`. writer: who writes that kind, for the error.

    Raises MalformedError, whose text completes "the state …" and quotes nothing but a version: the rest may be secret.
    """
    if not document.strip():
        raise MalformedError("is empty")
    try:
        members = json.loads(document)
    except (ValueError, RecursionError):
        raise MalformedError("is damaged: it is not JSON") from None
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
