"""Registrations, one attempt after the other until control accepts one; and in the end the logout.

| answer to a registration     | what follows                                                                        |
|------------------------------|-------------------------------------------------------------------------------------|
| one that `login` understands | Accepted, Again, Waiting; `Refused` for Denied. A URL to wait at is told, once      |
| HTTP 4xx but 408 and 429     | `Refused`, if this server has never served us, or an application asked for the      |
|                              | login (`renew`); else Problem, again after a backoff                                |
| HTTP 429, 503                | Problem, again when it says (`backoff`)                                             |
| anything else, and no answer | Problem, again after a backoff                                                      |

The next request, with the first URL, leaves at once. A server that hands out another URL each time is asked less and
less often.

`leave` gives the node up. It logs out every key that control may know by then: the node's own key, and that of a
registration which was sent and not answered. Each logout is repeated until control has answered. A logout could
overtake a registration that is under way, so `leave` waits for its answer first, as long as the caller allows, unless
that registration waits for a person.

`recheck` asks whether control accepts the node's own key again, while an attempt with another key goes on. That is how
we learn of an extended key from a server that does not serve the map of an expired one.

Source: Go control/controlclient/auto.go authRoutine, direct.go doLogin, TryLogout.
Not here: keys (`login`), connections and the map (`client`).
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from tsnet.base.keys import NodePrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.base.trace import Trace
from tsnet.control.client import controlerrors, facts
from tsnet.control.client.address import ControlAddress
from tsnet.control.client.backoff import Backoff, is_limited
from tsnet.control.client.controlconnection import ControlConnection, Exchange, Purpose
from tsnet.control.client.facts import Fact
from tsnet.control.client.login import Accepted, Denied, Login, Outcome, Waiting
from tsnet.control.messages import REGISTER_PATH, RegisterRequest, RegisterResponse
from tsnet.errors import AuthKeyRejected, Error, KeyExpired
from tsnet.netmap.model import UserProfile

REGISTER_TIMEOUT = 60.0
FOLLOWUP_TIMEOUT = 300.0
"""Seconds. A person may take their time, but a link that died silently must not be waited for without end."""


@record
class Refused:
    """Control refuses the registration, and trying again cannot help."""

    error: Error


@record
class Welcome:
    """Control accepts the node's own key."""

    user: UserProfile


@record
class Unknown:
    """Control does not know the node's own key."""


@attrs.define
class _Sent:
    """A registration that was sent. stream: None once no answer to it can come."""

    key: NodePrivateKey
    waits_for_a_person: bool
    stream: int | None


class AuthRoutine:
    """halted: no attempt is made until `renew` or `restart`. told: the list that facts are added to.

    key_is_saved: whether the node's key is saved for the next process; a rotated one is not yet. Until then nothing is
    registered, because after a crash nobody would have the key of the registered node.
    """

    def __init__(
        self,
        address: ControlAddress,
        login: Login,
        *,
        entropy: Callable[[int], bytes],
        told: list[Fact],
        trace: Trace | None = None,
    ) -> None:
        self._trace = trace
        self.login = login
        self.key_is_saved = True
        self.halted: bool = False
        self.leaving: bool = False
        self._is_asked_for = False
        self._has_answer = False  # to any registration of this process
        self._address, self._told = address, told
        self._backoff, self._logout_backoff = Backoff(entropy), Backoff(entropy)
        self._uplink: ControlConnection | None = None
        self._sent: _Sent | None = None
        self._at = self._logout_at = -math.inf
        self._by = math.inf
        self._recheck: int | None = None
        self._recheck_wanted = False
        self._logouts: deque[NodePrivateKey] = deque()
        self._logout: tuple[int, NodePrivateKey] | None = None
        self._await_until = -math.inf

    # --- what is due --------------------------------------------------------------------------------------------

    @property
    def by(self) -> float:
        """When the answer to a registration or logout must have come."""
        return self._by

    @property
    def is_asking(self) -> bool:
        """Whether a registration is under way that is answered without a person."""
        return self._stream is not None and self._sent is not None and not self._sent.waits_for_a_person

    @property
    def is_confirming(self) -> bool:
        """Whether the first registration of this process is under way, with a key that control has accepted before: it
        will mostly accept it again, so that what comes next need not wait for its answer."""
        sent = self._sent
        if self._has_answer or self._stream is None or sent is None or sent.waits_for_a_person:
            return False
        return self.login.known and sent.key == self.login.private and not self.leaving

    @property
    def awaits_a_person(self) -> bool:
        """Whether a registration is under way that is answered once somebody has visited the login URL."""
        return self._stream is not None and self._sent is not None and self._sent.waits_for_a_person

    @property
    def has_left(self) -> bool:
        """Whether control has answered every logout that `leave` asked for."""
        return self.leaving and not self._logouts and self._logout is None and not self._awaits

    def timers(self) -> Iterable[tuple[float, str]]:
        """When there is something to ask over a usable connection, and what."""
        if self.leaving:
            if self._awaits:
                yield self._await_until, "leave_by"
            elif self._logouts and self._logout is None:
                yield self._logout_at, "logout"
        elif self._may_register:
            yield self._at, "register"

    def ask(self, uplink: ControlConnection, hostinfo: Mapping[str, Any], now: float) -> None:
        """Send what is due."""
        self._uplink = uplink
        if self.leaving:
            self._log_out(uplink, hostinfo, now)
            return
        if self._may_register and now >= self._at:
            self._register(uplink, hostinfo, now)
        if self._recheck_wanted:
            if self._recheck is not None:
                uplink.cancel(self._recheck)
                self._recheck = None
            if not uplink.usable:
                return  # until a request has been answered
            self._recheck_wanted = False
            self._recheck = self._request(uplink, "recheck", self.login.recheck_request(hostinfo))

    @property
    def _stream(self) -> int | None:
        return self._sent.stream if self._sent is not None else None

    @property
    def needs_key(self) -> bool:
        """Whether a registration waits for nothing but an auth key (`Login.take_key`)."""
        return self._is_due and self.login.needs_key and not self.leaving

    @property
    def _may_register(self) -> bool:
        return self._is_due and not self.login.needs_key

    @property
    def _is_due(self) -> bool:
        return self.login.wanted and self.key_is_saved and not self.halted and self._stream is None

    def _register(self, uplink: ControlConnection, hostinfo: Mapping[str, Any], now: float) -> None:
        request = self.login.request(hostinfo)
        if self._trace is not None:
            with_key, person = bool(request.auth_key), bool(request.followup)
            self._trace("registering", node_key=request.node_key, with_auth_key=with_key, waits_for_a_person=person)
        self._sent = _Sent(self.login.attempt, bool(request.followup), self._request(uplink, "register", request))
        self._by = now + (FOLLOWUP_TIMEOUT if request.followup else REGISTER_TIMEOUT)
        if request.followup:
            self._backoff.succeeded(now)

    def _request(self, uplink: ControlConnection, purpose: Purpose, request: RegisterRequest) -> int:
        return uplink.request(purpose, "POST", REGISTER_PATH, request.encode())

    # --- what the owner decides ---------------------------------------------------------------------------------

    def renew(self, now: float, auth_key: str) -> None:
        """Log in anew: with a new node key, if control knows the present one. It ends a logout that is not over."""
        self._stop_leaving()
        self.login.renew(auth_key)
        self._is_asked_for = True
        self._begin(now)

    def restart(self, now: float) -> None:
        """Register from the beginning, as a new process would."""
        self.login.restart()
        self._begin(now)

    def start_over(self, now: float) -> None:
        """Register as another node, from `now` on."""
        self.abandon()
        self.login.start_over()
        self._at = now

    def resume(self) -> None:
        """End the attempt to replace the expired key: control accepts that key again."""
        self.abandon()
        self.login.resume()

    def halt(self) -> None:
        self.halted, self._is_asked_for = True, False
        self.abandon()
        self.login.give_up()

    def recheck(self) -> None:
        self._recheck_wanted = self.login.known

    def abandon(self) -> None:
        """Cancel the registration and the recheck that are under way."""
        for stream in (self._stream, self._recheck):
            if stream is not None and self._uplink is not None:
                self._uplink.cancel(stream)
        self._lose_answers()

    def lost(self) -> None:
        """The connection is gone, and the requests on it with it."""
        self._uplink = None
        awaited = self.leaving and self._awaits
        self._lose_answers()
        if self._logout is not None:
            self._logouts.appendleft(self._logout[1])
            self._logout = None
        if awaited:
            self._plan()

    def leave(self, now: float, by: float, *, connected: bool) -> None:
        """Give the node up. `has_left` becomes true, at once if control knows nothing of the node.

        by: how long to wait for the answer to a registration. connected: whether control can be asked now.
        """
        if self._trace is not None:
            self._trace("leaving", connected=connected)
        self.leaving, self.halted = True, False
        self._await_until, self._logout_at = by, now
        sent = self._sent
        if sent is not None and sent.waits_for_a_person:
            self.abandon()
            self._sent = sent if connected else None
        if not self._awaits:
            self._plan()

    def has_logged_out(self) -> None:
        """End the logout. A later login is another node's."""
        self.leaving, self.halted = False, True
        self.abandon()
        self._sent = None
        self.login.start_over()

    def _stop_leaving(self) -> None:
        if self._logout is not None and self._uplink is not None:
            self._uplink.cancel(self._logout[0])
        self.leaving, self._logout, self._await_until = False, None, -math.inf
        self._logouts.clear()

    def _begin(self, now: float) -> None:
        self.abandon()
        self.halted = False
        self._at = self._backoff.soonest(now)

    def _lose_answers(self) -> None:
        """No answer will come. `_sent` is kept: control may have got the registration all the same."""
        if self._sent is not None:
            self._sent.stream = None
        self._recheck, self._by = None, math.inf

    # --- answers ------------------------------------------------------------------------------------------------

    def answer(self, exchange: Exchange, *, met: bool, now: float) -> Outcome | Refused | None:
        """Take the answer to a registration; None if there is nothing to do but wait. met: the server has served us."""
        sent, self._sent, self._by = self._sent, None, math.inf
        self._has_answer = True
        is_first = sent is None or not sent.waits_for_a_person
        outcome = self._outcome(exchange, met and not self._is_asked_for, is_first, now)
        if isinstance(outcome, Accepted | Refused):
            self._is_asked_for = False
        if self.leaving:
            if exchange.status == 0 or (exchange.status >= 500 and not is_limited(exchange)):
                self._sent = sent
                self._lose_answers()
            self._plan()
        return outcome

    def recheck_answer(self, exchange: Exchange) -> Welcome | Unknown | None:
        """Take the answer to a recheck; None if the key is still expired, or the answer says nothing."""
        self._recheck = None
        if exchange.status in (404, 410):
            return Unknown()
        try:
            response = RegisterResponse.decode(bytes(exchange.body)) if exchange.status == 200 else None
        except MalformedError:
            response = None
        if response is None or response.node_key_expired:
            return None
        if response.error or response.auth_url or response.node_key_signature:
            return Unknown()
        return Welcome(response.user)

    def logout_answer(self, exchange: Exchange, now: float) -> None:
        """Take the answer to a logout. A refusal counts as done: control does not know the node."""
        logout, self._logout = self._logout, None
        assert logout is not None
        if self._stream is None:
            self._by = math.inf
        if exchange.status in (0, 408) or exchange.status >= 500 or is_limited(exchange):
            self._logouts.appendleft(logout[1])
            self._logout_at = now + self._logout_backoff.failed(now, exchange)

    def _outcome(self, exchange: Exchange, met: bool, is_first: bool, now: float) -> Outcome | Refused | None:
        if exchange.status != 200:
            return self._failed(exchange, met, now)
        try:
            response = RegisterResponse.decode(bytes(exchange.body))
        except MalformedError as error:
            self._at = now + self._backoff.failed(now)
            detail = f"its answer to the registration is not one ({error})"
            self._told.append(facts.Problem(controlerrors.not_control(self._address, detail), fatal=False))
            return None
        outcome = self.login.accept(response)
        if isinstance(outcome, Accepted):
            self._backoff.succeeded(now)
        elif isinstance(outcome, Waiting):
            self._at = now if is_first else now + self._backoff.failed(now)
            if not outcome.repeated:
                if self._trace is not None:
                    self._trace("a person must log in")
                self._told.append(facts.LoginUrl(outcome.url))
        elif isinstance(outcome, Denied):
            rejected = AuthKeyRejected(self._address.url, outcome.reason, self.login.key_was_made)
            return Refused(KeyExpired(outcome.reason) if outcome.key_expired else rejected)
        else:
            self._at = now
        return outcome

    def _failed(self, exchange: Exchange, met: bool, now: float) -> Refused | None:
        error, hopeless = controlerrors.registration_error(
            self._address, exchange.status, _refusal(exchange), key_was_made=self.login.key_was_made
        )
        if hopeless and not met:
            return Refused(error)
        self._at = now + self._backoff.failed(now, exchange)
        if self._trace is not None:
            self._trace("registration failed", status=exchange.status, again_in=self._at - now)
        self._told.append(facts.Problem(error, fatal=False))
        return None

    # --- leaving ------------------------------------------------------------------------------------------------

    @property
    def _awaits(self) -> bool:
        """Whether `leave` waits for the answer to a registration, which says what has to be logged out."""
        return self._stream is not None and self._await_until > -math.inf

    def _plan(self) -> None:
        """Plan the logout of every key that control may know. The unanswered registration's key comes first."""
        keys = [self._sent.key] if self._sent is not None else []
        if self.login.known and self.login.private not in keys:
            keys.append(self.login.private)
        self._logouts = deque(keys)

    def _log_out(self, uplink: ControlConnection, hostinfo: Mapping[str, Any], now: float) -> None:
        if self._awaits:
            if now < self._await_until:
                return
            self._await_until = -math.inf
            self._plan()
        if self._logouts and self._logout is None and now >= self._logout_at:
            key = self._logouts.popleft()
            self._logout = self._request(uplink, "logout", self.login.logout_request(key, hostinfo)), key
            self._by = now + REGISTER_TIMEOUT


def _refusal(exchange: Exchange) -> str:
    """The text of a refusal. Headscale 0.23 sends a whole RegisterResponse, mostly with an empty Error; others send a
    line of text."""
    if exchange.text.startswith("{"):
        with contextlib.suppress(MalformedError):
            return RegisterResponse.decode(bytes(exchange.body)).error
    return exchange.text
