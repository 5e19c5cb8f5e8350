"""An issuer of ID tokens, as GitHub or a Kubernetes cluster is one: keys, and the tokens that they sign."""

from __future__ import annotations

import base64
import functools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.webdouble import WebAnswer, WebRequest, web_double

ISSUER = "https://issuer.example"
AUDIENCE = "tailnet.example/ci"


@functools.cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, bits)


@functools.cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def base64url(data: bytes | int) -> str:
    if isinstance(data, int):
        data = data.to_bytes((data.bit_length() + 7) // 8)
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwks() -> dict[str, Any]:
    """Both public keys."""
    public, curve = rsa_key().public_key().public_numbers(), ec_key().public_key().public_numbers()
    one = {"kty": "RSA", "kid": "r", "alg": "RS256", "n": base64url(public.n), "e": base64url(public.e)}
    x, y = (base64url(each.to_bytes(32)) for each in (curve.x, curve.y))
    return {"keys": [one, {"kty": "EC", "kid": "e", "crv": "P-256", "x": x, "y": y}]}


def signed(claims: dict[str, Any], algorithm: str = "RS256", **header: Any) -> str:
    head = {"alg": algorithm, "kid": "r" if algorithm == "RS256" else "e", **header}
    text = ".".join(base64url(json.dumps(part).encode()) for part in (head, claims))
    if algorithm == "RS256":
        signature = rsa_key().sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    else:
        r, s = decode_dss_signature(ec_key().sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32) + s.to_bytes(32)
    return f"{text}.{base64url(signature)}"


def claims(now: float, **others: Any) -> dict[str, Any]:
    """Those of a good token, but for the others."""
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "repo:us/app:ref:main", "iat": now, "exp": now + 300}
    return {**good, **others}


@contextmanager
def runner(path: str = "/token") -> Iterator[str]:
    """A GitHub runner on loopback, which gives a token for any audience. Yields its URL."""

    def answer(request: WebRequest) -> WebAnswer:
        audience = parse_qs(urlsplit(request.path).query)["audience"][0]
        return WebAnswer(json.dumps({"value": signed(claims(time.time(), aud=audience))}).encode())

    with web_double(answer) as double:
        yield double.url + path
