from __future__ import annotations

import base64
import json
import random
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.control.joined import new_tailnet
from tests.fuzzing import mutated
from tests.issuer import AUDIENCE, ISSUER, claims, jwks, signed
from tsnet.control.apipaths import AUTH_KEYS, BY_ID_TOKEN, BY_SECRET
from tsnet.control.server.api import KEY_LIFETIME, KeyApi
from tsnet.control.server.tailnet import TailnetState
from tsnet.control.upgrade import Request

NOW = 1_790_000_000.0
CREATE = {"reusable": False, "ephemeral": True, "preauthorized": True, "tags": ["tag:ci"]}


@pytest.fixture
def tailnet() -> TailnetState:
    return new_tailnet()


def ask(
    tailnet: TailnetState, path: str, body: bytes | dict[str, Any], authorization: str = "", method: str = "POST"
) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) else urlencode(body).encode()
    headers = {"authorization": authorization} if authorization else {}
    status, answer, _ = KeyApi(tailnet).answer(Request(method, path, headers, data), NOW)
    return status, json.loads(answer)


def token_of(tailnet: TailnetState, *tags: str) -> str:
    client = tailnet.credentials.oauth_client(["auth_keys"], tags)
    status, answer = ask(tailnet, BY_SECRET, {"client_secret": client.secret, "grant_type": "client_credentials"})
    assert (status, answer["token_type"], answer["expires_in"]) == (200, "Bearer", 3600)
    return str(answer["access_token"])


def wanted(**create: Any) -> bytes:
    return json.dumps({"capabilities": {"devices": {"create": {**CREATE, **create}}}}).encode()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_secret_by_http_basic(tailnet: TailnetState) -> None:
    """As golang.org/x/oauth2 tries it first."""
    client = tailnet.credentials.oauth_client(["auth_keys"], ["tag:ci"])
    status, answer = ask(
        tailnet, BY_SECRET, {"grant_type": "client_credentials"}, basic("some-client-id", client.secret)
    )
    assert (status, bool(answer["access_token"])) == (200, True)


def test_a_key_for_one_node(tailnet: TailnetState) -> None:
    token = token_of(tailnet, "tag:ci", "tag:web")
    status, answer = ask(tailnet, AUTH_KEYS, wanted(), f"Bearer {token}")
    key = tailnet.redeem(answer["key"], NOW)
    assert (status, key.tags, key.is_reusable, key.is_ephemeral, key.is_preauthorized) == (
        200,
        ("tag:ci",),
        False,
        True,
        True,
    )
    assert key.expires_at == NOW + KEY_LIFETIME
    assert answer["id"] in answer["key"]
    assert answer["expires"].endswith("Z")


def test_a_key_by_a_token_as_goes_client_shows_it(tailnet: TailnetState) -> None:
    token = token_of(tailnet, "tag:ci")
    assert ask(tailnet, AUTH_KEYS, wanted(), basic(token, ""))[0] == 200


def test_an_id_token(tailnet: TailnetState) -> None:
    issuer = tailnet.credentials.trust(
        ISSUER, audience=AUDIENCE, subject="*", keys=jwks()["keys"], scopes=["auth_keys"], tags=["tag:ci"]
    )
    form = {"client_id": issuer.id, "jwt": signed(claims(NOW)), "grant_type": "authorization_code", "code": ""}
    status, answer = ask(tailnet, BY_ID_TOKEN, form)
    assert status == 200
    assert ask(tailnet, AUTH_KEYS, wanted(), f"Bearer {answer['access_token']}")[0] == 200
    status, answer = ask(tailnet, BY_ID_TOKEN, {**form, "jwt": signed(claims(NOW, aud="x"))})
    assert (status, answer) == (401, {"message": "invalid ID token: wrong audience"})


@pytest.mark.parametrize(
    ("path", "body", "authorization", "status"),
    [
        (BY_SECRET, {}, "", 401),
        (BY_SECRET, {"client_secret": "tskey-client-no"}, "", 401),
        (BY_SECRET, {}, "Basic !", 401),
        (BY_SECRET, {}, "Basic", 401),
        (BY_SECRET, b"\xff", "", 400),
        (BY_SECRET, "&".join(f"a{i}=" for i in range(20)).encode(), "", 400),
        (BY_ID_TOKEN, {}, "", 401),
        (BY_ID_TOKEN, {"client_id": "T1", "jwt": "a.b.c"}, "", 401),
        (AUTH_KEYS, wanted(), "", 401),
        (AUTH_KEYS, wanted(), "Bearer no", 401),
        (AUTH_KEYS, wanted(), "Bearer TOKEN", 200),
        (AUTH_KEYS, wanted(tags=["tag:db"]), "Bearer TOKEN", 403),
        (AUTH_KEYS, wanted(tags=[]), "Bearer TOKEN", 403),
        (AUTH_KEYS, wanted(tags="tag:ci"), "Bearer TOKEN", 403),
        (AUTH_KEYS, b"{}", "Bearer TOKEN", 403),
        (AUTH_KEYS, b"[]", "Bearer TOKEN", 400),
        (AUTH_KEYS, b"", "Bearer TOKEN", 400),
        ("/api/v2/tailnet/-/devices", b"", "Bearer TOKEN", 404),
    ],
)
def test_answers(tailnet: TailnetState, path: str, body: Any, authorization: str, status: int) -> None:
    authorization = authorization.replace("TOKEN", token_of(tailnet, "tag:ci"))
    keys = len(tailnet.auth_keys)
    found, answer = ask(tailnet, path, body, authorization)
    assert found == status
    assert ("message" in answer) is (status != 200)
    assert len(tailnet.auth_keys) == keys + (status == 200)


def test_another_method(tailnet: TailnetState) -> None:
    assert ask(tailnet, AUTH_KEYS, b"", method="GET")[0] == 404


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(60, 60), (0, KEY_LIFETIME), (-5, KEY_LIFETIME), ("60", KEY_LIFETIME), (1e9, KEY_LIFETIME)],
)
def test_how_long_a_key_lives(tailnet: TailnetState, seconds: Any, expected: float) -> None:
    body = json.dumps({**json.loads(wanted()), "expirySeconds": seconds}).encode()
    _, answer = ask(tailnet, AUTH_KEYS, body, f"Bearer {token_of(tailnet, 'tag:ci')}")
    assert tailnet.redeem(answer["key"], NOW).expires_at == NOW + expected


@pytest.mark.parametrize("seed", range(5))
def test_nothing_raises_on_damaged_requests(tailnet: TailnetState, seed: int) -> None:
    chance = random.Random(seed)
    issuer = tailnet.credentials.trust(
        ISSUER, audience=AUDIENCE, subject="*", keys=jwks()["keys"], scopes=["auth_keys"], tags=["tag:ci"]
    )
    bearer = f"Bearer {token_of(tailnet, 'tag:ci')}"
    exchange = urlencode({"client_id": issuer.id, "jwt": signed(claims(NOW))}).encode()
    for path, sample in (
        (BY_SECRET, b"client_secret=tskey-client-a-b"),
        (BY_ID_TOKEN, exchange),
        (AUTH_KEYS, wanted()),
    ):
        for _ in range(40):
            authorization = mutated(bearer.encode(), chance).decode("latin-1") if chance.random() < 0.3 else bearer
            status, answer = ask(tailnet, path, mutated(sample, chance), authorization)
            assert status in (200, 400, 401, 403)
            assert isinstance(answer, dict)
