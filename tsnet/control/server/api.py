"""The part of Tailscale's API by which a client gets an auth key, as Go's client and ours ask it.

| POST                         | body                              | answer                                          |
|------------------------------|-----------------------------------|-------------------------------------------------|
| /api/v2/oauth/token          | form: client_secret, or as Basic  | {"access_token", "token_type", "expires_in", …} |
| /api/v2/oauth/token-exchange | form: client_id, jwt              | the same                                        |
| /api/v2/tailnet/-/keys       | {"capabilities": {"devices": …}}  | {"id", "key", "created", "expires", …}          |

A refusal is {"message": …} with 401 for who asks, 403 for what, and 400 for a request that is none.

Source: Go internal/client/tailscale, client/tailscale/keys.go; golang.org/x/oauth2 internal/token.go;
RFC 6749 §4.4, §5.
Not here: who may have keys (`credentials`), what keys are (`tailnet`).
"""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, unquote_plus

from tsnet.base import jsonobject
from tsnet.base.malformed import MalformedError
from tsnet.control.apipaths import AUTH_KEYS, BY_ID_TOKEN, BY_SECRET
from tsnet.control.gojson import format_time, mapping, number, texts
from tsnet.control.http import Headers
from tsnet.control.messages import REQUEST_BUDGET
from tsnet.control.server.credentials import LIFETIME, NotAllowed, check_may_make_keys
from tsnet.control.server.pages import JSON
from tsnet.control.server.tailnet import TailnetState
from tsnet.control.upgrade import Request

KEY_LIFETIME = 90 * 86_400.0
"""Seconds, unless the request says otherwise."""

Answered = tuple[int, bytes, Headers]


class KeyApi:
    def __init__(self, tailnet: TailnetState) -> None:
        self._tailnet, self._credentials = tailnet, tailnet.credentials

    def answer(self, request: Request, unix_now: float) -> Answered:
        """Status, body and headers."""
        path = request.path.partition("?")[0]
        asked = {BY_SECRET: self._by_secret, BY_ID_TOKEN: self._by_jwt, AUTH_KEYS: self._make_key}.get(path)
        if asked is None or request.method != "POST":
            return _refused(404, "not found")
        try:
            return asked(request, unix_now)
        except MalformedError as error:
            return _refused(400, str(error))

    def _by_secret(self, request: Request, unix_now: float) -> Answered:
        form = _form(request.body)
        secret = _basic_password(request) or form.get("client_secret", "")
        try:
            return _token(self._credentials.token_for_secret(secret, unix_now))
        except NotAllowed as refusal:
            return _refused(401, str(refusal))

    def _by_jwt(self, request: Request, unix_now: float) -> Answered:
        form = _form(request.body)
        try:
            token = self._credentials.token_for_jwt(form.get("client_id", ""), form.get("jwt", ""), unix_now)
        except NotAllowed as refusal:
            return _refused(401, str(refusal))
        return _token(token)

    def _make_key(self, request: Request, unix_now: float) -> Answered:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":  # Go sends an API key as the name of a user without a password
            token = _basic(token)[0]
        try:
            client = self._credentials.client_of(token.strip(), unix_now)
        except NotAllowed as refusal:
            return _refused(401, str(refusal))
        fields = jsonobject.parse(request.body, "the request", budget=REQUEST_BUDGET)
        create = mapping(mapping(mapping(fields.get("capabilities")).get("devices")).get("create"))
        tags = texts(create.get("tags"))
        try:
            check_may_make_keys(client, tags)
        except NotAllowed as refusal:
            return _refused(403, str(refusal))
        lifetime = number(fields.get("expirySeconds"))
        key = self._tailnet.create_auth_key(
            reusable=create.get("reusable") is True,
            ephemeral=create.get("ephemeral") is True,
            preauthorized=create.get("preauthorized") is True,
            tags=tags,
            expires_at=unix_now + (min(lifetime, KEY_LIFETIME) if lifetime > 0 else KEY_LIFETIME),
        )
        told = {
            "id": key.text.split("-")[2],
            "key": key.text,
            "created": format_time(unix_now),
            "expires": format_time(key.expires_at),
            "capabilities": {"devices": {"create": {**create, "tags": list(tags)}}},
        }
        return 200, jsonobject.encode(told), JSON


def _token(token: str) -> Answered:
    told = {"access_token": token, "token_type": "Bearer", "expires_in": int(LIFETIME), "scope": "auth_keys"}
    return 200, jsonobject.encode(told), JSON


def _refused(status: int, message: str) -> Answered:
    return status, jsonobject.encode({"message": message}), JSON


def _form(body: bytes) -> dict[str, str]:
    """The first value of each field. Raises MalformedError."""
    try:
        found = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=16)
    except ValueError:
        raise MalformedError("the request is no form") from None
    return {name: values[0] for name, values in found.items()}


def _basic_password(request: Request) -> str:
    kind, _, encoded = request.headers.get("authorization", "").partition(" ")
    return unquote_plus(_basic(encoded)[1]) if kind.lower() == "basic" else ""


def _basic(encoded: str) -> tuple[str, str]:
    """User and password; empty ones if it is not base64."""
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode("utf-8", "replace").partition(":")
    except ValueError:
        return "", ""
    return user, password
