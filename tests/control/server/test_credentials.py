from __future__ import annotations

import random
from typing import Any

import pytest

from tests.issuer import AUDIENCE, ISSUER, claims, jwks, signed
from tsnet.base.malformed import MalformedError
from tsnet.control.server.credentials import (
    LIFETIME,
    MAX_TOKENS,
    SKEW,
    Credentials,
    NotAllowed,
    TrustedIssuer,
    check_may_make_keys,
)

NOW = 1_790_000_000.0
TAGS = ("tag:ci", "tag:web")


@pytest.fixture
def known() -> Credentials:
    return Credentials(random.Random(1).randbytes)


def trusted(known: Credentials, **options: Any) -> TrustedIssuer:
    fixed = {"audience": AUDIENCE, "subject": "*", "keys": jwks()["keys"], "scopes": ["auth_keys"], "tags": TAGS}
    return known.trust(ISSUER, **{**fixed, **options})


def test_a_secret_gives_a_token_for_a_while(known: Credentials) -> None:
    client = known.oauth_client(["auth_keys"], TAGS)
    token = known.token_for_secret(client.secret, NOW)
    assert known.client_of(token, NOW + LIFETIME - 1) == client
    with pytest.raises(NotAllowed):
        known.client_of(token, NOW + LIFETIME)
    assert client.secret not in repr(client)


@pytest.mark.parametrize("secret", ["", "tskey-client-x-y", "\ud800"])
def test_an_unknown_secret(known: Credentials, secret: str) -> None:
    known.oauth_client(["auth_keys"], TAGS)
    with pytest.raises(NotAllowed, match="API token invalid"):
        known.token_for_secret(secret, NOW)
    with pytest.raises(NotAllowed, match="API token invalid"):
        known.client_of(secret, NOW)


def test_tokens_are_bounded(known: Credentials) -> None:
    client = known.oauth_client(["auth_keys"], TAGS)
    tokens = [known.token_for_secret(client.secret, NOW) for _ in range(MAX_TOKENS + 1)]
    with pytest.raises(NotAllowed):
        known.client_of(tokens[0], NOW)
    assert known.client_of(tokens[1], NOW) == known.client_of(tokens[-1], NOW) == client


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
@pytest.mark.parametrize("audience", [AUDIENCE, ["other", AUDIENCE]])
def test_an_id_token_gives_one_too(known: Credentials, algorithm: str, audience: Any) -> None:
    issuer = trusted(known)
    token = known.token_for_jwt(issuer.id, signed(claims(NOW, aud=audience), algorithm), NOW)
    assert known.client_of(token, NOW) == issuer


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ({"iss": "https://other.example"}, "wrong issuer"),
        ({"aud": "another"}, "wrong audience"),
        ({"aud": ["another", 5]}, "wrong audience"),
        ({"aud": None}, "wrong audience"),
        ({"exp": NOW - SKEW}, "it has expired"),
        ({"exp": None}, "it has expired"),
        ({"exp": "never"}, "it has expired"),
        ({"nbf": NOW + SKEW + 1}, "not yet valid"),
        ({"iat": NOW + SKEW + 1}, "not yet valid"),
        ({"sub": "repo:them/app"}, "wrong subject"),
        ({"sub": None}, "wrong subject"),
    ],
)
def test_claims_that_do_not_fit(known: Credentials, others: dict[str, Any], reason: str) -> None:
    issuer = trusted(known, subject="repo:us/*")
    with pytest.raises(NotAllowed, match=reason):
        known.token_for_jwt(issuer.id, signed(claims(NOW, **others)), NOW)


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("*", True),
        ("repo:us/app:ref:main", True),
        ("repo:us/*", True),
        ("*:main", True),
        ("repo:*:ref:*", True),
        ("repo:us/app:ref:mai", False),
        ("repo.us/*", False),
        ("", False),
    ],
)
def test_subjects(known: Credentials, pattern: str, fits: bool) -> None:
    issuer = trusted(known, subject=pattern)
    if fits:
        assert known.token_for_jwt(issuer.id, signed(claims(NOW)), NOW)
    else:
        with pytest.raises(NotAllowed, match="subject"):
            known.token_for_jwt(issuer.id, signed(claims(NOW)), NOW)


def test_no_text_of_a_refusal_has_the_token(known: Credentials) -> None:
    issuer, token = trusted(known), signed(claims(NOW))
    for client_id, jwt in (("unknown", token), (issuer.id, token[:-4] + "AAAA"), (issuer.id, "no.jw.t")):
        with pytest.raises(NotAllowed) as caught:
            known.token_for_jwt(client_id, jwt, NOW)
        assert token[-20:] not in str(caught.value)


def test_keys_that_cannot_be_used(known: Credentials) -> None:
    with pytest.raises(MalformedError):
        trusted(known, keys=[{"kty": "oct"}])


@pytest.mark.parametrize(
    ("scopes", "tags", "reason"),
    [
        (["auth_keys"], ["tag:ci"], ""),
        (["all"], ["tag:ci", "tag:web"], ""),
        (["devices"], ["tag:ci"], "scope"),
        ([], ["tag:ci"], "scope"),
        (["auth_keys"], [], "needs tags"),
        (["auth_keys"], ["tag:ci", "tag:db"], "tag:db"),
    ],
)
def test_who_may_make_a_key(known: Credentials, scopes: list[str], tags: list[str], reason: str) -> None:
    client = known.oauth_client(scopes, TAGS)
    if not reason:
        check_may_make_keys(client, tags)
        return
    with pytest.raises(NotAllowed, match=reason):
        check_may_make_keys(client, tags)
