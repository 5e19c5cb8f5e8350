from __future__ import annotations

import json

import pytest

from tsnet.base.keys import NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.control.messages import CAPABILITY_VERSION
from tsnet.control.tokenrequest import MAX_TOKEN, TokenRequest, decode_token, token_of
from tsnet.errors import IdTokenRefused

URL = "https://control.example"
KEY = NodeKey(b"\2" * 32)


def test_a_request_is_as_gos() -> None:
    found = json.loads(TokenRequest(KEY, "https://third.example").encode())
    assert found == {"CapVersion": CAPABILITY_VERSION, "NodeKey": KEY.text(), "Audience": "https://third.example"}


def test_an_answer_with_a_token() -> None:
    assert decode_token(b'{"id_token": "a.b.c"}') == "a.b.c"
    assert token_of(200, b'{"id_token": "a.b.c", "more": 1}', URL) == "a.b.c"


@pytest.mark.parametrize(
    "token", ['""', "7", "null", '"a\\nb"', '"\\u00e9"', f'"{"x" * (MAX_TOKEN + 1)}"'], ids=lambda text: text[:8]
)
def test_an_answer_without_a_token_is_malformed(token: str) -> None:
    document = f'{{"id_token": {token}}}'.encode()
    with pytest.raises(MalformedError):
        decode_token(document)
    with pytest.raises(IdTokenRefused, match="without an ID token"):
        token_of(200, document, URL)


@pytest.mark.parametrize("document", [b"{}", b"no", b"", b"[1]"])
def test_what_is_no_answer_is_malformed(document: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_token(document)


@pytest.mark.parametrize("status", [404, 501])
def test_a_server_without_tokens(status: int) -> None:
    with pytest.raises(IdTokenRefused, match="has no ID tokens"):
        token_of(status, b"not implemented\n", URL)


def test_a_refusal_has_controls_words_on_one_line() -> None:
    with pytest.raises(IdTokenRefused, match=r"no audience INFO all is well \(HTTP 400\)") as refused:
        token_of(400, b"no audience\nINFO all is well", URL)
    assert str(refused.value).isprintable()
    with pytest.raises(IdTokenRefused) as refused:
        token_of(403, b"\xff\x1b[2J" * 10_000, URL)
    assert len(str(refused.value)) < 1000
