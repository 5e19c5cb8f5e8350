from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.issuer import base64url, claims, jwks, rsa_key, signed
from tsnet.base.jsonwebtoken import MAX_TOKEN, check_keys, decode_base64url, verified
from tsnet.base.malformed import MalformedError

KEYS = jwks()["keys"]
CLAIMS = claims(1000)


CLAIMS_OF_JOE = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
PUBLISHED = [
    (  # RFC 7515 A.2
        {
            "kty": "RSA",
            "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT"
            "-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UT"
            "o7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkML"
            "s91kzk2PAcDTW9gb54h4FRWyuXpoQ",
            "e": "AQAB",
        },
        "eyJhbGciOiJSUzI1NiJ9",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t"
        "1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12j"
        "zDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQ"
        "Ge77Rw",
    ),
    (  # RFC 7515 A.3
        {
            "kty": "EC",
            "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        },
        "eyJhbGciOiJFUzI1NiJ9",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    ),
]


@pytest.mark.parametrize(("key", "header", "signature"), PUBLISHED, ids=["RS256", "ES256"])
def test_published_ones(key: dict[str, Any], header: str, signature: str) -> None:
    assert verified(f"{header}.{CLAIMS_OF_JOE}.{signature}", [key])["iss"] == "joe"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_good_one(algorithm: str) -> None:
    assert verified(signed(CLAIMS, algorithm), KEYS) == CLAIMS


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_one_that_names_no_key(algorithm: str) -> None:
    assert verified(signed(CLAIMS, algorithm, kid=None), KEYS) == CLAIMS


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "ES256"},  # of an RSA signature
        {"alg": ["RS256"]},
        {"kid": "another"},
        {"kid": "e"},
        {"crit": ["b64"], "b64": False},
    ],
)
def test_a_header_that_lies(header: dict[str, Any]) -> None:
    """It is replaced after the token was signed; or signed, where it may be what it says."""
    _, rest = signed(CLAIMS).split(".", 1)
    with pytest.raises(MalformedError):
        verified(f"{base64url(json.dumps({'kid': 'r', 'alg': 'RS256', **header}).encode())}.{rest}", KEYS)
    if "alg" not in header:
        with pytest.raises(MalformedError):
            verified(signed(CLAIMS, **header), KEYS)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
@pytest.mark.parametrize("seed", range(4))
def test_any_changed_character(algorithm: str, seed: int) -> None:
    chance = random.Random(seed)
    token = signed(CLAIMS, algorithm)
    for _ in range(20):
        at = chance.randrange(len(token) - 1)  # the last one has bits that mean nothing
        other = chance.choice([c for c in "Aa0-_.~ü" if c != token[at]])
        with pytest.raises(MalformedError):
            verified(token[:at] + other + token[at + 1 :], KEYS)


@pytest.mark.parametrize("token", ["", ".", "..", "a.b", "a.b.c", "a.b.c.d", "x" * (MAX_TOKEN + 1), "é.é.é"])
def test_what_is_none(token: str) -> None:
    with pytest.raises(MalformedError):
        verified(token, KEYS)


def test_a_signature_of_zeros() -> None:
    token = signed(CLAIMS, "ES256").rpartition(".")[0]
    for size in (0, 63, 64, 65):
        with pytest.raises(MalformedError):
            verified(f"{token}.{base64url(bytes(size))}", KEYS)


@pytest.mark.parametrize(
    "key",
    [
        {},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AQ"},
        {"kty": "RSA", "n": "AQ", "e": "AQAB"},
        {"kty": "RSA", "n": base64url(rsa_key().public_key().public_numbers().n)},
        {"kty": "RSA", "n": "!", "e": "AQAB"},
        {"kty": "RSA", "n": 5, "e": "AQAB"},
        {**KEYS[0], "e": base64url(1)},
    ],
)
def test_keys_that_cannot_be_used(key: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        check_keys([key])


def test_key_sets() -> None:
    check_keys(KEYS)
    none: list[dict[str, Any]] = []
    for bad in (none, KEYS * 20):
        with pytest.raises(MalformedError):
            check_keys(bad)


def test_base64url() -> None:
    assert decode_base64url("_-8") == b"\xff\xef"
    for bad in ("+/8", "a", "é"):
        with pytest.raises(MalformedError):
            decode_base64url(bad)
