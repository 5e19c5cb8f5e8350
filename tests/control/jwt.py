"""What a third party does with an id token: find control's keys by its issuer, check the signature, read the claims."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def decode_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verified(token: str, issuer: str, get: Callable[[str], bytes]) -> dict[str, Any]:
    """The claims of a token that this issuer has signed. Raises InvalidSignature for another.

    get: gives the document at a path of the issuer.
    """
    discovery = json.loads(get("/.well-known/openid-configuration"))
    assert discovery["issuer"] == issuer
    assert discovery["jwks_uri"].startswith(issuer)
    keys = {key["kid"]: key for key in json.loads(get(discovery["jwks_uri"].removeprefix(issuer)))["keys"]}
    header, claims, signature = token.split(".")
    found = json.loads(decode_base64url(header))
    key = keys[found["kid"]]
    assert (found["alg"], key["kty"], key["crv"]) == ("EdDSA", "OKP", "Ed25519")
    public = Ed25519PublicKey.from_public_bytes(decode_base64url(key["x"]))
    public.verify(decode_base64url(signature), f"{header}.{claims}".encode())
    read: dict[str, Any] = json.loads(decode_base64url(claims))
    assert read["iss"] == issuer
    return read
