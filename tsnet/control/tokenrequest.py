"""A node asks control for an ID token: a JWT that proves to a third party, the audience, which node this is.

    POST /machine/id-token   {"CapVersion": …, "NodeKey": "nodekey:…", "Audience": "…"}
    answer                   {"id_token": "header.claims.signature"}

A server that has no such tokens answers with 404 or 501 (Headscale), one that refuses with 400 or 403 and its words.

Source: Go tailcfg.TokenRequest, tailcfg.TokenResponse; ipn/ipnlocal fetchIDToken.
Not here: what a token says (`server.idtokens`).
"""

from __future__ import annotations

from tsnet.base import jsonobject
from tsnet.base.keys import NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.control.gojson import line, text
from tsnet.control.messages import CAPABILITY_VERSION
from tsnet.errors import IdTokenRefused

ID_TOKEN_PATH = "/machine/id-token"

MAX_TOKEN = 64 * 1024
"""Characters of a token. One of Tailscale's has some 1,500."""

_MISSING = (404, 501)


@record
class TokenRequest:
    node_key: NodeKey
    audience: str

    def encode(self) -> bytes:
        fields = {"CapVersion": CAPABILITY_VERSION, "NodeKey": self.node_key.text(), "Audience": self.audience}
        return jsonobject.encode(fields)


def decode_token(document: bytes) -> str:
    """The token in control's answer to a TokenRequest. Raises MalformedError if there is none."""
    token = text(jsonobject.parse(document, "the answer").get("id_token"))
    if not 0 < len(token) <= MAX_TOKEN or not token.isascii() or not token.isprintable():
        raise MalformedError("an answer without id_token")
    return token


def token_of(status: int, document: bytes, control_url: str) -> str:
    """The token in any answer of control. Raises IdTokenRefused."""
    if status in _MISSING:
        raise IdTokenRefused(f"control at {control_url} has no ID tokens (HTTP {status})")
    if status != 200:
        words = line(document.decode("utf-8", "replace").strip(), 200)
        raise IdTokenRefused(f"control at {control_url} refuses an ID token: {words or 'no reason'} (HTTP {status})")
    try:
        return decode_token(document)
    except MalformedError:
        raise IdTokenRefused(f"control at {control_url} answers without an ID token") from None
