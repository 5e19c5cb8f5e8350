"""A CI job that joins without a stored secret: by an ID token, which its provider gives it. In GitHub Actions it takes
`tsnet.Server("ci-job", client_id=…, audience=…, tags=…)`; here the program plays provider and tailnet as well."""

import base64
import json
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

import tsnet
from tsnet.testing import Tailnet

KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER, AUDIENCE = "https://ci.example", "tailnet"


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwks() -> dict[str, list[dict[str, str]]]:
    numbers = KEY.public_key().public_numbers()
    x, y = (text(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    return {"keys": [{"kty": "EC", "crv": "P-256", "x": x, "y": y}]}


def id_token() -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "repo:us/app", "exp": time.time() + 60}
    signed = ".".join(text(json.dumps(part).encode()) for part in ({"alg": "ES256"}, claims))
    r, s = utils.decode_dss_signature(KEY.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{text(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


with Tailnet() as tailnet:
    client = tailnet.trust_issuer(ISSUER, audience=AUDIENCE, jwks=jwks(), subject="repo:us/*", tags=["tag:ci"])
    options = {"control_url": tailnet.control_url, "client_id": client.id, "tags": ["tag:ci"]}
    with tsnet.Server("ci-job", id_token=id_token, **options) as node:  # type: ignore[arg-type]
        print("joined as", node.name, "with", *tailnet.node("ci-job").tags)
