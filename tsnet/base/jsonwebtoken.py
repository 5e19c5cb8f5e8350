"""JSON Web Tokens of others: whose key has signed them, and what they claim.

    header.claims.signature     each in base64url without padding; header {"alg": "RS256", "kid": "…"}

| alg   | key of a JSON Web Key Set              | signature                                |
|-------|----------------------------------------|------------------------------------------|
| RS256 | {"kty": "RSA", "n", "e"}, 2048 bits up | PKCS #1 v1.5 over SHA-256                |
| ES256 | {"kty": "EC", "crv": "P-256", "x", "y"}| r and s, 32 bytes each, over SHA-256     |

The key is chosen by `kid`; a token without one is tried with each key of its kind. No other `alg` is known, "none" and
those of shared secrets least of all.

Source: RFC 7515, RFC 7517, RFC 7518 §3.3, §3.4, §6; RFC 7519.
Not here: signatures (`crypto`), which claims are wanted (`control.server.credentials`), tokens that control signs
(`control.server.idtokens`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tsnet.base import jsonobject
from tsnet.base.crypto import es256_verifies, rs256_verifies
from tsnet.base.malformed import MalformedError

MAX_TOKEN = 16 * 1024
MAX_KEYS = 32
LEAST_RSA, MOST_RSA = 2048, 8192
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
_KINDS = {"RS256": "RSA", "ES256": "EC"}


def verified(token: str, keys: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The claims of a token that one of these keys has signed. Raises MalformedError."""
    if len(token) > MAX_TOKEN or not token.isascii() or token.count(".") != 2:
        raise MalformedError("it is no JWT")
    signed, _, last = token.rpartition(".")
    header, claims = (jsonobject.parse(decode_base64url(part), "a part of the JWT") for part in signed.split("."))
    algorithm, key_id = header.get("alg"), header.get("kid")
    kind = _KINDS.get(algorithm) if isinstance(algorithm, str) else None
    if kind is None or "crit" in header:
        raise MalformedError(f"it is signed in none of the ways {', '.join(_KINDS)}")
    signature = decode_base64url(last)
    candidates = [key for key in keys if key.get("kty") == kind and (key_id is None or key.get("kid") == key_id)]
    if not any(_is_signed(key, signature, signed.encode()) for key in candidates[:MAX_KEYS]):
        raise MalformedError("its signature is of no key of the issuer")
    return claims


def decode_base64url(text: str) -> bytes:
    """Raises MalformedError."""
    if not _BASE64URL.fullmatch(text):
        raise MalformedError("it is not base64url")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_")
    except ValueError:
        raise MalformedError("it is not base64url") from None


def check_keys(keys: Sequence[Mapping[str, Any]]) -> None:
    """Raise MalformedError if one is no key that can be used here."""
    if not 0 < len(keys) <= MAX_KEYS:
        raise MalformedError(f"a key set has 1 to {MAX_KEYS} keys")
    for key in keys:
        _is_signed(key, b"", b"")


def _is_signed(key: Mapping[str, Any], signature: bytes, signed: bytes) -> bool:
    """Raises MalformedError for a key that cannot be used."""
    if key.get("kty") == "RSA":
        n, e = _number(key, "n"), _number(key, "e")
        if not LEAST_RSA <= n.bit_length() <= MOST_RSA or e.bit_length() > 33:
            raise MalformedError(f"an RSA key has {LEAST_RSA} to {MOST_RSA} bits")
        return rs256_verifies(n, e, signature, signed)
    if key.get("kty") == "EC" and key.get("crv") == "P-256":
        return es256_verifies(_number(key, "x"), _number(key, "y"), signature, signed)
    raise MalformedError("a key is neither RSA nor EC with the curve P-256")


def _number(key: Mapping[str, Any], name: str) -> int:
    value = key.get(name)
    if not isinstance(value, str) or len(value) > MAX_TOKEN:
        raise MalformedError(f"a key lacks {name!r}")
    return int.from_bytes(decode_base64url(value))
