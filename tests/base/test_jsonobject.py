from __future__ import annotations

import pytest

from tsnet.base import jsonobject
from tsnet.base.malformed import MalformedError


@pytest.mark.parametrize("document", [b"", b"{", b"\xff\xfe", b'{"a":1}}', b"[" * 100_000])
def test_what_is_not_json(document: bytes) -> None:
    with pytest.raises(MalformedError, match=r"^the answer is not JSON$"):
        jsonobject.parse(document, "the answer")


@pytest.mark.parametrize("document", [b"[]", b"null", b'"x"', b"1", b"true"])
def test_what_is_no_object(document: bytes) -> None:
    with pytest.raises(MalformedError, match=r"^the document is no JSON object$"):
        jsonobject.parse(document)


def test_both_ways() -> None:
    members = {"A": [1, None], "ü": {"b": "c d"}}
    document = jsonobject.encode(members)
    assert document == b'{"A":[1,null],"\\u00fc":{"b":"c d"}}'
    assert jsonobject.parse(document) == members
    assert jsonobject.parse(b' {"A": 1} \n') == {"A": 1}


# --- what was kept ----------------------------------------------------------------------------------------------


def test_what_was_kept() -> None:
    kept = b' {"kind": "a", "version": 2, "b": 1}\n'
    assert jsonobject.parse_kept(kept, "a", 2, writer="us") == {"kind": "a", "version": 2, "b": 1}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"secret", "is damaged: it is not JSON"),
        (b"[" * 100_000, "is damaged: it is not JSON"),
        (b"[]", "was not written by us"),
        (b'{"kind": "secret", "version": 2}', "was not written by us"),
        (b'{"kind": "a"}', "has no version, and this library knows version 2"),
        (b'{"kind": "a", "version": 3}', "has version 3, and this library knows version 2"),
        (b'{"kind": "a", "version": "secret"}', "has no version, and this library knows version 2"),
        (b'{"kind": "a", "version": true}', "has no version, and this library knows version 2"),
        (b'{"kind": "a", "version": 123456789}', "has no version, and this library knows version 2"),
    ],
)
def test_what_cannot_be_read(document: bytes, reason: str) -> None:
    with pytest.raises(MalformedError) as refused:
        jsonobject.parse_kept(document, "a", 2, writer="us")
    assert str(refused.value) == reason
