from __future__ import annotations

import json

import pytest

from tests.attacks.bombs import MIB, filled
from tsnet.base import jsonobject
from tsnet.base.jsonobject import MAX_DEPTH
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


# --- what it becomes --------------------------------------------------------------------------------------------


def test_a_document_that_becomes_too_much_is_refused_before_it_is_built() -> None:
    document = filled(b'{"a":[', b"[],", b"1]}", MIB)
    with pytest.raises(MalformedError, match=r"^the answer would take \d+ MiB of memory, and may take 8 MiB$"):
        jsonobject.parse(document, "the answer")
    assert len(jsonobject.parse(document, budget=64 * MIB)["a"]) > 300_000
    with pytest.raises(MalformedError, match=r"^is damaged: it would take \d+ MiB of memory, and may take 8 MiB$"):
        jsonobject.parse_kept(document, "a", 2, writer="us")


@pytest.mark.parametrize(("begin", "end"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth(begin: bytes, end: bytes) -> None:
    inside = MAX_DEPTH - 1  # the document itself is the first level
    jsonobject.parse(b'{"a":' + begin * inside + b"1" * (begin != b"[") + end * inside + b"}")
    with pytest.raises(MalformedError, match="the document is nested more than 64 deep"):
        jsonobject.parse(b'{"a":' + begin * (inside + 1) + b"1" * (begin != b"[") + end * (inside + 1) + b"}")


def test_a_long_document_with_a_foreign_word_is_read_as_it_is() -> None:
    words = ["😀", "日本語", "ü\ud800"]
    document = json.dumps({"a": ["x" * 2 * MIB, *words]}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    assert jsonobject.parse(document, budget=64 * MIB)["a"][1:] == words


def test_a_long_document_that_is_foreign_throughout() -> None:
    document = json.dumps({"a": "ü" * MIB}, ensure_ascii=False).encode()
    assert jsonobject.parse(document, budget=64 * MIB) == {"a": "ü" * MIB}
    with pytest.raises(MalformedError, match="is not JSON"):
        jsonobject.parse(document[:-2] + b"\xff\xff", budget=64 * MIB)
