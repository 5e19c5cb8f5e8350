"""A credential is exchanged for an auth key, which is good for one node.

    ClientSecret       ─ POST /api/v2/oauth/token           grant_type, client_id, client_secret ─┐
    FederatedIdentity  ─ ID token (a worker obtains it)                                           │
                       ─ POST /api/v2/oauth/token-exchange  client_id, jwt ───────────────────────┴─► access token
    access token       ─ POST /api/v2/tailnet/-/keys        {"capabilities": …, "tags": […]} ───────► auth key

| what goes wrong                                          | outcome                                                  |
|----------------------------------------------------------|----------------------------------------------------------|
| no ID token can be obtained, or not within TOKEN_TIMEOUT | NoIdToken, final                                         |
| HTTP 4xx but 404, 408 and 429                            | CredentialRejected, IdTokenRejected with its cause; final|
| a web page, a redirect, a 404, no JSON, a certificate    | as at control: CaptivePortal, NotAControlServer …; final |
| HTTP 5xx, 408, 429, no connection, no answer             | ControlUnreachable; again after a backoff                |

No redirect is followed, and nothing is sent over plain http to another machine. A key is asked for when it is needed
and never kept: a key that was sent once may be spent.

Source: Go feature/oauthkey, feature/identityfederation, internal/client/tailscale; RFC 6749 §4.4.2, §5.
Not here: when a key is needed (`authroutine`), where ID tokens come from (`edge.io.idtokens`), errors (`rejections`).
"""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable
from urllib.parse import urlencode

import attrs

from tsnet.base import jsonobject
from tsnet.base.credentials import ClientSecret, Credential, FederatedIdentity, is_word
from tsnet.base.links import Compute, Computed, Effect, Event, Link
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.base.steps import Steps
from tsnet.base.trace import Trace
from tsnet.control.apipaths import AUTH_KEYS, BY_ID_TOKEN, BY_SECRET
from tsnet.control.client import controlerrors, rejections
from tsnet.control.client.address import ControlAddress
from tsnet.control.client.backoff import Backoff
from tsnet.control.gojson import text
from tsnet.errors import Error
from tsnet.http1.answers import Answer, Failed, Reason
from tsnet.http1.asking import Response
from tsnet.http1.client import Http1Client

TOKEN_TIMEOUT = 30.0
"""Seconds in which an ID token must have been obtained."""

REQUEST_TIMEOUT = 10.0
MAX_ANSWER = 64 * 1024
ANY_CLIENT = "some-client-id"
"""The server knows the client by its secret; OAuth wants an ID all the same, and Go sends this one."""

_FORM = ("Content-Type", "application/x-www-form-urlencoded")
_OUR_SIDE = (Reason.URL, Reason.REQUEST, Reason.BUSY)


@record
class Failure:
    """Why there is no key. is_final: asking again cannot help."""

    error: Error
    is_final: bool


class KeyExchange:
    """One exchange at a time, from `ask` on; `take_outcome` gives the key or the failure of the last, once."""

    def __init__(
        self,
        credential: Credential,
        *,
        new_link: Callable[[str], Link],
        entropy: Callable[[int], bytes],
        wall_offset: float,
        trace: Trace | None = None,
    ) -> None:
        self.is_asking: bool = False
        self.wall_offset: float = wall_offset
        self._credential, self._new_link, self._trace = credential, new_link, trace
        self._address = _address_of(credential)
        self._http = Http1Client(lambda: new_link("key exchange"))
        self._backoff = Backoff(entropy)
        self._at = -math.inf
        self._reading: Link | None = None
        self._read_by = math.inf
        self._asked = 0
        self._id_token = ""
        self._shown: list[bytes] = []
        """The secrets that the server has been shown, and could repeat in its answer."""
        self._step = ""
        self._effects: list[Effect] = []
        self._outcome: str | Failure | None = None

    def __repr__(self) -> str:
        return f"<KeyExchange at {self._address.url}>"

    # --- the owner's side ---------------------------------------------------------------------------------------

    @property
    def ask_at(self) -> float:
        """When another key may be asked for; -inf for at once."""
        return self._at

    def ask(self, now: float) -> None:
        """Begin, unless an exchange goes on, or a backoff."""
        if self.is_asking or now < self._at:
            return
        self.is_asking, self._outcome = True, None
        if self._trace is not None:
            self._trace("asking for an auth key", at=self._address.host)
        if isinstance(self._credential, ClientSecret):
            form = {"grant_type": "client_credentials", "client_id": ANY_CLIENT}
            self._shown.append(self._credential.secret.encode())
            self._post(BY_SECRET, {**form, "client_secret": self._credential.secret}, now)
        else:
            self._read_token(self._credential, now)

    def hurry(self, now: float) -> None:
        """The network has changed: failures before say nothing. A wait that the server asked for goes on."""
        self._at = self._backoff.begin_anew(now)

    def cancel(self) -> None:
        """Nobody needs a key any more."""
        self._http.close()
        self.is_asking, self._outcome = False, None
        self._forget()

    def take_outcome(self) -> str | Failure | None:
        """The auth key, or why there is none; None if nothing has come out since the last call."""
        outcome, self._outcome = self._outcome, None
        return outcome

    @property
    def waiting_for(self) -> str:
        """What an exchange that goes on waits for, as words for an error."""
        return "waiting for its ID token" if self._reading is not None else "waiting for an auth key"

    def owns(self, link: Link) -> bool:
        return link == self._reading or self._http.owns(link)

    # --- the verbs ----------------------------------------------------------------------------------------------

    def receive(self, event: Event, now: float) -> None:
        if event.link == self._reading:
            if isinstance(event, Computed):
                self._token_read(event.value, now)
        else:
            self._http.receive(event, now)
            self._look(now)

    def transmit(self, now: float) -> list[Effect]:
        if now >= self._read_by:
            self._fail(rejections.no_id_token(f"none within {TOKEN_TIMEOUT:g} s"), is_final=True)
        effects = self._http.transmit(now)
        self._look(now)
        effects += self._http.transmit(now)
        effects, self._effects = [*self._effects, *effects], []
        return effects

    def deadline(self) -> float:
        """Without `ask_at`, which matters only to whoever wants a key."""
        return -math.inf if self._effects else min(self._http.deadline(), self._read_by)

    # --- the ID token -------------------------------------------------------------------------------------------

    def _read_token(self, identity: FederatedIdentity, now: float) -> None:
        self._reading, self._read_by = self._new_link("id token"), now + TOKEN_TIMEOUT
        self._effects.append(Compute(self._reading, _obtained, identity.obtain))

    def _token_read(self, value: object, now: float) -> None:
        self._reading, self._read_by = None, math.inf
        token = value.strip() if isinstance(value, str) else ""
        if isinstance(value, Exception):
            self._fail(rejections.reader_failed(value), is_final=True)
        elif not isinstance(value, str):
            if inspect.iscoroutine(value):
                value.close()  # nobody awaits it
            self._fail(rejections.no_id_token(f"a {type(value).__name__}, and not text"), is_final=True)
        elif not is_word(token):
            what = "an empty text" if not token else "a text that is none"
            self._fail(rejections.no_id_token(what), is_final=True)
        else:
            assert isinstance(self._credential, FederatedIdentity)
            self._id_token = token
            self._shown.append(token.encode())
            form = {"grant_type": "authorization_code", "code": "", "client_id": self._credential.client_id}
            self._post(BY_ID_TOKEN, {**form, "jwt": token}, now)

    # --- the requests -------------------------------------------------------------------------------------------

    def _post(self, path: str, form: dict[str, str], now: float) -> None:
        self._send(path, urlencode(form).encode(), (_FORM,), now)

    def _send(self, path: str, body: bytes, headers: tuple[tuple[str, str], ...], now: float) -> None:
        self._step = path
        self._asked = self._http.request(
            "POST",
            self._credential.base_url + path,
            now=now,
            headers=(("Accept", "application/json"), *headers),
            body=body,
            timeout=REQUEST_TIMEOUT,
            max_body=MAX_ANSWER,
            max_redirects=0,
        )

    def _ask_key(self, access_token: str, now: float) -> None:
        one = self._credential
        self._shown.append(access_token.encode())
        create = {
            "reusable": False,
            "ephemeral": one.is_ephemeral,
            "preauthorized": one.is_preauthorized,
            "tags": list(one.tags),
        }
        body = jsonobject.encode({"capabilities": {"devices": {"create": create}}})
        headers = (("Content-Type", "application/json"), ("Authorization", f"Bearer {access_token}"))
        self._send(AUTH_KEYS, body, headers, now)

    def _look(self, now: float) -> None:
        for answer in self._http.take_answers():
            if answer.ticket != self._asked or not self.is_asking:
                continue
            if isinstance(answer, Failed):
                self._no_answer(answer, now)
            else:
                self._answered(answer, now)

    def _no_answer(self, failed: Failed, now: float) -> None:
        if failed.reason is Reason.LINK:
            self._fail(*controlerrors.link_error(self._address, failed.detail), now=now)
        elif failed.reason is Reason.TIMEOUT or failed.reason is Reason.TRUNCATED:
            self._fail(controlerrors.unreachable(self._address, failed.detail), is_final=False, now=now)
        else:
            what = "the request cannot be sent" if failed.reason in _OUR_SIDE else "its answer is none"
            error = controlerrors.not_control(self._address, f"{what} ({failed.detail})")
            self._fail(error, is_final=True)

    def _answered(self, answer: Answer, now: float) -> None:
        if answer.status != 200:
            response = self._showable(answer)
            unix_now = now + self.wall_offset
            error, is_final = rejections.of(self._address, self._step, response, self._id_token, unix_now)
            self._fail(error, is_final, now=now, response=response)
            return
        name = "key" if self._step == AUTH_KEYS else "access_token"
        try:
            found = text(jsonobject.parse(answer.body, "it").get(name))
        except MalformedError:
            found = ""
        if not is_word(found):
            error = rejections.no_answer(self._address, self._step, self._showable(answer), name)
            self._fail(error, is_final=True)
        elif self._step != AUTH_KEYS:
            self._ask_key(found, now)
        else:
            self._succeed(found, now)

    def _showable(self, answer: Answer) -> Response:
        """The answer without the secrets that it repeats: an error shows its words, and where it redirects to."""
        headers = {name: self._without(value.encode()).decode() for name, value in answer.headers.items()}
        return Response(answer.status, headers, self._without_secrets(answer.body))

    def _without_secrets(self, body: bytes) -> bytes:
        with contextlib.suppress(MalformedError):  # JSON may spell any letter as an escape: it is spelled anew
            body = jsonobject.encode(jsonobject.parse(body, "it"))
        return self._without(body)

    def _without(self, said: bytes) -> bytes:
        for secret in self._shown:
            said = said.replace(secret, b"***")
        return said

    # --- the end ------------------------------------------------------------------------------------------------

    def _succeed(self, key: str, now: float) -> None:
        if self._trace is not None:
            self._trace("has an auth key")
        self.is_asking, self._outcome = False, key
        self._backoff.succeeded(now)
        self._forget()

    def _fail(self, error: Error, is_final: bool, *, now: float = -math.inf, response: Response | None = None) -> None:
        if not is_final:
            self._at = now + self._backoff.failed(now, response)
        if self._trace is not None:
            self._trace("no auth key", why=type(error).__name__, final=is_final)
        self.is_asking, self._outcome = False, Failure(error, is_final)
        self._forget()

    def _forget(self) -> None:
        """Keep no secret of an exchange that is over."""
        self._reading, self._read_by, self._id_token, self._step = None, math.inf, "", ""
        self._shown.clear()


def _address_of(credential: Credential) -> ControlAddress:
    address = ControlAddress.parse(credential.base_url)
    named = isinstance(credential, ClientSecret) and credential.names_its_url
    return attrs.evolve(address, is_with_secret=True) if named else address


def _obtained(obtain: Callable[[], str]) -> Steps[str]:
    yield
    return obtain()
