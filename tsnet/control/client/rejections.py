"""The errors of a credential that gets no auth key: what was refused, in whose words, and what helps.

| refused                                      | error              | remedy                                  |
|----------------------------------------------|--------------------|-----------------------------------------|
| the client secret (401 at …/oauth/token)     | CredentialRejected | another secret                          |
| the ID token (4xx at …/oauth/token-exchange) | IdTokenRejected    | by the token: expired, or its audience  |
| a key with these tags (4xx at …/keys)        | CredentialRejected | the client's tags and scope `auth_keys` |
| nothing: no ID token was obtained            | NoIdToken          | what the reader said                    |

The claims of a refused ID token are read to find out why, and nothing of it is shown but the audience and its end.

Source: ours, over the errors of RFC 6749 §5.2 and of Tailscale's API ({"message": …}).
Not here: the requests (`keyexchange`), errors that control has as well (`controlerrors`).
"""

from __future__ import annotations

from tsnet.base import jsonobject
from tsnet.base.jsonwebtoken import decode_base64url
from tsnet.base.malformed import MalformedError
from tsnet.base.wording import Wording, api
from tsnet.control.apipaths import BY_ID_TOKEN, BY_SECRET
from tsnet.control.client import controlerrors
from tsnet.control.client.address import ControlAddress
from tsnet.control.gojson import line, number, text, texts
from tsnet.errors import CredentialRejected, Error, IdTokenRejected, NoIdToken
from tsnet.http1.asking import Response

MAX_WORDS = 200
_SKEW = 60.0


def of(address: ControlAddress, path: str, response: Response, id_token: str, unix_now: float) -> tuple[Error, bool]:
    """The error for an answer other than 200, and whether it is final."""
    status = response.status
    if controlerrors.is_page(response) and status < 500:
        return controlerrors.captive(address, f"it answers POST {path} with a web page"), True
    if status < 400 or status >= 500 or status in (404, 405, 408, 429):
        return controlerrors.answer_error(address, f"POST {path}", response)
    words = _words(response)
    said = f"{words or 'no reason'} (HTTP status {status})"
    if path == BY_ID_TOKEN:
        return IdTokenRejected(_token_text(address, said, id_token, unix_now), said), True
    if path == BY_SECRET:
        what = f"{address.url} does not accept this client secret: {said}. Make an OAuth client with the scope "
        return CredentialRejected(
            Wording(what, "auth_keys, and pass its secret as ", api("client_secret="), " or TS_CLIENT_SECRET."), said
        ), True
    what = f"{address.url} makes no auth key for this client: {said}. Give the client the scope auth_keys and the tags "
    return CredentialRejected(Wording(what, "that ", api("tags="), " asks for."), said), True


def no_answer(address: ControlAddress, path: str, response: Response, name: str) -> Error:
    """The error for a 200 without what was asked for."""
    if controlerrors.is_page(response):
        return controlerrors.answer_error(address, f"POST {path}", response)[0]
    return controlerrors.not_control(address, f"its answer to POST {path} has no {name}")


def no_id_token(found: str) -> Error:
    """found: what there was instead."""
    options = (api("id_token="), " (TS_ID_TOKEN), or ", api("audience="), " (TS_AUDIENCE)")
    return NoIdToken(Wording(f"there is no ID token to join with, but {found}. Check ", *options, "."))


def reader_failed(error: Exception) -> Error:
    """The error for an exception of what gives ID tokens. Ours is told as it is; of another only its kind, since its
    text may hold the token."""
    if isinstance(error, NoIdToken):
        return error
    return NoIdToken(
        Wording("no ID token to join with: what ", api("id_token="), f" names failed with {type(error).__name__}.")
    )


def _token_text(address: ControlAddress, said: str, token: str, unix_now: float) -> Wording:
    claims = _claims(token)
    ends, audiences = number(claims.get("exp")), _audiences(claims)
    what = f"{address.url} does not accept this ID token: {said}. "
    if ends and ends < unix_now:
        expired = f"It expired {unix_now - ends:.0f} s ago: give each start a new one, as a file or a function for "
        return Wording(what, expired, api("id_token="), ", or set the clock of this machine.")
    if number(claims.get("nbf")) > unix_now + _SKEW:
        return Wording(what, "It is not valid yet: set the clock of this machine.")
    shown = f"It is for the audience {audiences}" if audiences else "It names no audience"
    return Wording(
        what,
        f"{shown}: that, its issuer and its subject must be those of the credential ",
        api("client_id="),
        " names.",
    )


def _audiences(claims: dict[str, object]) -> str:
    audience = claims.get("aud")
    found = [audience] if isinstance(audience, str) else texts(audience)
    return line(", ".join(found), MAX_WORDS)


def _claims(token: str) -> dict[str, object]:
    """Of a JWT, unverified; none if it is not one."""
    part = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        return jsonobject.parse(decode_base64url(part), "the token")
    except MalformedError:
        return {}


def _words(response: Response) -> str:
    """What the server says, in a line."""
    try:
        fields = jsonobject.parse(response.body, "it")
    except MalformedError:
        return line(response.body[:MAX_WORDS].decode("utf-8", "replace").strip(), MAX_WORDS)
    found = text(fields.get("message")) or text(fields.get("error_description")) or text(fields.get("error"))
    return line(found, MAX_WORDS)
