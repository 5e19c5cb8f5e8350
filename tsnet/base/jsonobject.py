"""JSON objects from the network, and back: the one shape that control and relays speak.

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


def encode(members: Mapping[str, Any]) -> bytes:
    """Without a space."""
    return json.dumps(members, separators=(",", ":")).encode()
