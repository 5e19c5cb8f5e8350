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
