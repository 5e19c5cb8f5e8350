"""Id tokens: a node proves to a third party who it is, with a JWT that control signs for one audience.

    node ─ POST /machine/id-token {CapVersion, NodeKey, Audience} ─► control ─► {"id_token": JWT}
    third party ─ GET /.well-known/openid-configuration ─► issuer, jwks_uri ─ GET ─► the public key

| claim          | value                                                                      |
|----------------|----------------------------------------------------------------------------|
| iss            | control's URL                                                              |
| sub, node      | the node's full name                                                       |
| aud            | the audience that was asked for                                            |
| iat, nbf, exp  | now, now, LIFETIME later                                                   |
| jti            | random                                                                     |
| key, nid       | the node's key and number                                                  |
| addresses      | its tailnet addresses                                                      |
| domain         | the tailnet's                                                              |
| tags           | as "domain:tag:name", if it has tags                                       |
| user, uid      | the owner as "domain:login" and number, if it has none                     |

The signature is EdDSA (Ed25519): its key grows from control's own, so that it is the same after a restart, and nothing
more has to be kept.

Source: Go tailcfg.TokenRequest, tailcfg.TokenResponse, ipn/localapi serveIDToken; RFC 7515, RFC 7519, RFC 8037;
OpenID Connect Discovery 1.0.
Not here: how a node asks (`tsnet.control.tokenrequest`).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from tsnet.base import jsonobject
from tsnet.base.crypto import blake2s, token_private_of, token_public, token_signature
from tsnet.base.keys import MachinePrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.control.gojson import text
from tsnet.control.messages import REQUEST_BUDGET
from tsnet.control.server.answers import ControlRequest, Reply, caller
from tsnet.control.server.members import Member
from tsnet.control.server.tailnet import TailnetState

DISCOVERY_PATH, KEYS_PATH = "/.well-known/openid-configuration", "/.well-known/jwks.json"

LIFETIME = 300.0
"""Seconds for which a token is valid."""

MAX_AUDIENCE = 1024
ALGORITHM = "EdDSA"


class IdTokens:
    """What control answers to TokenRequests. issuer: control's URL. pages: the documents for third parties, by path."""

    def __init__(
        self, tailnet: TailnetState, control: MachinePrivateKey, *, issuer: str, entropy: Callable[[int], bytes]
    ) -> None:
        self._tailnet, self._issuer, self._entropy = tailnet, issuer, entropy
        self._private = token_private_of(control)
        public = token_public(self._private)
        self._key_id = blake2s(public).hex()[:16]
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": _base64url(public), "kid": self._key_id, "alg": ALGORITHM}
        self.pages: dict[str, bytes] = {
            DISCOVERY_PATH: jsonobject.encode(self._discovery()),
            KEYS_PATH: jsonobject.encode({"keys": [{**jwk, "use": "sig"}]}),
        }

    def answer(self, request: ControlRequest) -> Reply:
        """A token for the node that asks. Raises MalformedError for what is no TokenRequest."""
        fields = jsonobject.parse(request.body, "the request", budget=REQUEST_BUDGET)
        audience = text(fields.get("Audience"))
        if not 0 < len(audience) <= MAX_AUDIENCE:
            raise MalformedError(f"request without an Audience of at most {MAX_AUDIENCE} characters")
        member = caller(self._tailnet, request, fields)
        if isinstance(member, Reply):
            return member
        return Reply(
            200, jsonobject.encode({"id_token": self._signed(self._claims(member, audience, request.unix_now))})
        )

    def _claims(self, member: Member, audience: str, unix_now: float) -> dict[str, Any]:
        domain, now = self._tailnet.base_domain, int(unix_now)
        name = f"{member.name}.{domain}"
        claims = {
            "iss": self._issuer,
            "sub": name,
            "aud": audience,
            "iat": now,
            "nbf": now,
            "exp": now + int(LIFETIME),
            "jti": self._entropy(16).hex(),
            "key": member.key.text(),
            "nid": member.id,
            "node": name,
            "addresses": [str(prefix.network_address) for prefix in member.addresses],
            "domain": domain,
        }
        if member.tags:
            return {**claims, "tags": [f"{domain}:{tag}" for tag in member.tags]}
        return {**claims, "user": f"{domain}:{self._tailnet.users[member.user].login_name}", "uid": member.user}

    def _signed(self, claims: Mapping[str, Any]) -> str:
        header = {"alg": ALGORITHM, "typ": "JWT", "kid": self._key_id}
        signed = f"{_base64url(jsonobject.encode(header))}.{_base64url(jsonobject.encode(claims))}"
        return f"{signed}.{_base64url(token_signature(self._private, signed.encode()))}"

    def _discovery(self) -> dict[str, Any]:
        return {
            "issuer": self._issuer,
            "jwks_uri": f"{self._issuer}{KEYS_PATH}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        }


def _base64url(data: bytes) -> str:
    """Without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
