"""Most of them are met in test_keyexchange; here are their odd ends."""

from __future__ import annotations

import pytest

from tests.issuer import base64url, claims, signed
from tsnet.control.apipaths import AUTH_KEYS, BY_ID_TOKEN
from tsnet.control.client import rejections
from tsnet.control.client.address import ControlAddress
from tsnet.errors import CredentialRejected, IdTokenRejected, NoIdToken
from tsnet.http1.asking import Response

ADDRESS = ControlAddress.parse("https://api.example")
NOW = 1_790_000_000.0


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "a.!.c", f"a.{base64url(b'[]')}.c", "...", "é.é.é"])
def test_a_token_that_cannot_be_read(token: str) -> None:
    error, final = rejections.of(ADDRESS, BY_ID_TOKEN, Response(401, {}, b"no"), token, NOW)
    assert isinstance(error, IdTokenRejected)
    assert final
    assert "It names no audience" in str(error)
    assert error.reason == "no (HTTP status 401)"


def test_nothing_of_a_token_is_shown_but_its_audience() -> None:
    token = signed(claims(NOW, sub="hidden", aud="x" * 1000))
    text = str(rejections.of(ADDRESS, BY_ID_TOKEN, Response(401, {}, b""), token, NOW)[0])
    assert "no reason" in text
    assert "hidden" not in text
    assert "x" * 201 not in text


def test_an_audience_cannot_move_a_cursor() -> None:
    token = signed(claims(NOW, aud="\x1b[2J"))
    assert str(rejections.of(ADDRESS, BY_ID_TOKEN, Response(401, {}, b"\x1b[2J"), token, NOW)[0]).isprintable()


def test_a_key_that_is_not_made() -> None:
    error, final = rejections.of(ADDRESS, AUTH_KEYS, Response(403, {}, b'{"message": "tags"}'), "", NOW)
    assert type(error) is CredentialRejected
    assert final
    assert "tags=" in str(error)


def test_our_own_error_of_a_reader_is_told_as_it_is() -> None:
    error = NoIdToken("x")
    assert rejections.reader_failed(error) is error
