"""Registrations, one attempt after the other until control accepts one; then, some day, the logout.

| answer to a registration     | what follows                                                                        |
|------------------------------|-------------------------------------------------------------------------------------|
| what `login` makes of it     | Accepted, Again, Waiting; `Refused` for Denied. A URL to wait at is told, once      |
| HTTP 401, 403, other 4xx     | `Refused`, if this server has never served us; else Problem, again after a backoff  |
| HTTP 429, 503                | Problem, again when it says (`backoff`)                                             |
| anything else, and no answer | Problem, again after a backoff                                                      |

The first URL is waited at at once; a server that hands out another each time is asked less and less.

`leave` gives the node up. What control may know of it by then is logged out, key by key, each until control has
answered: the node's own key, and that of a registration which has left and was not answered. Such an answer is waited
for first, as long as the caller allows, since a logout could overtake it. A registration that waits for a person is not
waited for.

`recheck` asks whether control takes the node's own key again, beside an attempt with another one: the way to learn of
an extended key from a server that does not serve the map of an expired one.

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
from tsnet.control import facts, remedies
from tsnet.control.address import ControlAddress
from tsnet.control.backoff import Backoff, is_limited
from tsnet.control.facts import Fact
from tsnet.control.login import Accepted, Denied, Login, Outcome, Waiting
from tsnet.control.messages import REGISTER_PATH, RegisterRequest, RegisterResponse
from tsnet.control.uplink import Exchange, Purpose, Uplink
from tsnet.errors import AuthKeyRejected, Error, KeyExpired
from tsnet.netmap.model import UserProfile

REGISTER_TIMEOUT = 60.0
FOLLOWUP_TIMEOUT = 300.0
"""A person takes their time, but a link that died silently must not wait for ever."""


@attrs.frozen
class Refused:
    """Trying again cannot help."""

    error: Error


@attrs.frozen
class Welcome:
    """Control takes the node's own key."""

    user: UserProfile


@attrs.frozen
class Unknown:
    """Control does not know the node's own key."""


@attrs.define
class _Sent:
    """A registration that has left. stream: None once no answer to it can come any more."""

    key: NodePrivateKey
    waits_for_a_person: bool
    stream: int | None


class AuthRoutine:
    """halted: no attempt is made until `renew` or `restart`. What is told goes to `told`.

    key_is_saved: whether the node's key rests where a new process will find it. Until then nothing is registered: a
    crash would leave a node behind that nobody is.
    """

    def __init__(
        self,
        address: ControlAddress,
        login: Login,
        *,
        key_is_saved: bool,
        entropy: Callable[[int], bytes],
        told: list[Fact],
    ) -> None:
        self.login = login
        self.key_is_saved = key_is_saved
        self.halted = self.leaving = False
        self._address, self._told = address, told
        self._backoff, self._logout_backoff = Backoff(entropy), Backoff(entropy)
        self._uplink: Uplink | None = None
        self._sent: _Sent | None = None
        self._at = self._held_until = self._logout_at = -math.inf
        self._by = math.inf
        self._recheck: int | None = None
        self._recheck_wanted = False
        self._logouts: deque[NodePrivateKey] = deque()
        self._logout: tuple[int, NodePrivateKey] | None = None
        self._await_until = -math.inf

    # --- what is due --------------------------------------------------------------------------------------------

    @property
    def by(self) -> float:
        """When an answer that is under way must have come."""
        return self._by

    @property
    def is_asking(self) -> bool:
        """An answer is under way that settles the attempt by itself: nobody else has to act."""
        return self._stream is not None and self._sent is not None and not self._sent.waits_for_a_person

    @property
    def awaits_a_person(self) -> bool:
        """An answer is under way that comes once somebody has visited the login URL."""
        return self._stream is not None and self._sent is not None and self._sent.waits_for_a_person

    @property
    def has_left(self) -> bool:
        """Control has confirmed all that `leave` asked of it."""
        return self.leaving and not self._logouts and self._logout is None and not self._awaits

    def timers(self) -> Iterable[tuple[float, str]]:
        """Of what a usable connection lets us do."""
        if self.leaving:
            if self._awaits:
                yield self._await_until, "leave_by"
            elif self._logouts and self._logout is None:
                yield self._logout_at, "logout"
        elif self._may_register:
            yield self._at, "register"

    def ask(self, uplink: Uplink, hostinfo: Mapping[str, Any], now: float) -> None:
        """Send what is due."""
        self._uplink = uplink
        if self.leaving:
            self._log_out(uplink, hostinfo, now)
            return
        if self._may_register and now >= self._at:
            self._register(uplink, hostinfo, now)
        if self._recheck_wanted:
            self._recheck_wanted = False
            if self._recheck is not None:
                uplink.cancel(self._recheck)
            self._recheck = self._request(uplink, "recheck", self.login.recheck_request(hostinfo))

    @property
    def _stream(self) -> int | None:
        return self._sent.stream if self._sent is not None else None

    @property
    def _may_register(self) -> bool:
        return self.login.wanted and self.key_is_saved and not self.halted and self._stream is None

    def _register(self, uplink: Uplink, hostinfo: Mapping[str, Any], now: float) -> None:
        request = self.login.request(hostinfo)
        self._sent = _Sent(self.login.attempt, bool(request.followup), self._request(uplink, "register", request))
        self._by = now + (FOLLOWUP_TIMEOUT if request.followup else REGISTER_TIMEOUT)
        if request.followup:
            self._backoff.succeeded(now)

    def _request(self, uplink: Uplink, purpose: Purpose, request: RegisterRequest) -> int:
        return uplink.request(purpose, "POST", REGISTER_PATH, request.encode())

    # --- what the owner decides ---------------------------------------------------------------------------------

    def renew(self, now: float, auth_key: str) -> None:
        """Log in anew, with a new node key in place of one that control knows."""
        self.login.renew(auth_key)
        self._begin(now)

    def restart(self, now: float) -> None:
        """Begin from scratch, as a new process would."""
        self.login.restart()
        self._begin(now)

    def start_over(self, now: float) -> None:
        """Register as another node, after this while."""
        self.abandon()
        self.login.start_over()
        self._at = now

    def resume(self) -> None:
        """Control takes the key that had expired: the attempt to replace it is over."""
        self.abandon()
        self.login.resume()

    def halt(self) -> None:
        self.halted = True
        self.abandon()
        self.login.give_up()

    def recheck(self) -> None:
        self._recheck_wanted = self.login.known

    def abandon(self) -> None:
        """No answer of those under way is wanted any more."""
        for stream in (self._stream, self._recheck):
            if stream is not None and self._uplink is not None:
                self._uplink.cancel(stream)
        self._lose_answers()

    def lost(self) -> None:
        """The connection is gone, with whatever was under way."""
        self._uplink = None
        awaited = self.leaving and self._awaits
        self._lose_answers()
        if self._logout is not None:
            self._logouts.appendleft(self._logout[1])
            self._logout = None
        if awaited:
            self._plan()

    def leave(self, now: float, by: float, *, connected: bool) -> None:
        """Give the node up; `has_left` follows, at once where control knows nothing of it.

        by: until then an answer that is under way is waited for. connected: control can be asked right now.
        """
        self.leaving, self.halted = True, False
        self._await_until, self._logout_at = by, now
        sent = self._sent
        if sent is not None and sent.waits_for_a_person:
            self.abandon()
            self._sent = sent if connected else None
        if not self._awaits:
            self._plan()

    def has_logged_out(self) -> None:
        """Whoever logs in after this is another node."""
        self.leaving, self.halted = False, True
        self.abandon()
        self._sent = None
        self.login.start_over()

    def _begin(self, now: float) -> None:
        self.abandon()
        self.halted = False
        self._at = max(now, self._held_until)

    def _lose_answers(self) -> None:
        """What was sent may have been heard all the same."""
        if self._sent is not None:
            self._sent.stream = None
        self._recheck, self._by = None, math.inf

    # --- answers ------------------------------------------------------------------------------------------------

    def answer(self, exchange: Exchange, *, met: bool, now: float) -> Outcome | Refused | None:
        """The answer to a registration; None if there is nothing to do but wait. met: this server has served us."""
        sent, self._sent, self._by = self._sent, None, math.inf
        is_first = sent is None or not sent.waits_for_a_person
        outcome = self._outcome(exchange, met, is_first, now)
        if self.leaving:
            if exchange.status == 0 or (exchange.status >= 500 and not is_limited(exchange)):
                self._sent = sent
                self._lose_answers()
            self._plan()
        return outcome

    def recheck_answer(self, exchange: Exchange) -> Welcome | Unknown | None:
        """None: still expired, or nothing that one could build on."""
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
        """A node that control does not know is as good as logged out."""
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
            self._told.append(facts.Problem(remedies.not_control(self._address, detail), fatal=False))
            return None
        outcome = self.login.accept(response)
        if isinstance(outcome, Accepted):
            self._backoff.succeeded(now)
        elif isinstance(outcome, Waiting):
            self._at = now if is_first else now + self._backoff.failed(now)
            if not outcome.repeated:
                self._told.append(facts.LoginUrl(outcome.url))
        elif isinstance(outcome, Denied):
            rejected = AuthKeyRejected(self._address.url, outcome.reason)
            return Refused(KeyExpired(outcome.reason) if outcome.key_expired else rejected)
        else:
            self._at = now
        return outcome

    def _failed(self, exchange: Exchange, met: bool, now: float) -> Refused | None:
        error, hopeless = remedies.registration_error(self._address, exchange.status, _refusal(exchange))
        if hopeless and not met:
            return Refused(error)
        self._at = now + self._backoff.failed(now, exchange)
        if is_limited(exchange):
            self._held_until = self._at
        self._told.append(facts.Problem(error, fatal=False))
        return None

    # --- leaving ------------------------------------------------------------------------------------------------

    @property
    def _awaits(self) -> bool:
        """A registration is under way whose answer says what has to be logged out."""
        return self._stream is not None and self._await_until > -math.inf

    def _plan(self) -> None:
        """What control may know of us. The key that is less certain comes first: it may be on its way still."""
        keys = [self._sent.key] if self._sent is not None else []
        if self.login.known and self.login.private not in keys:
            keys.append(self.login.private)
        self._logouts = deque(keys)

    def _log_out(self, uplink: Uplink, hostinfo: Mapping[str, Any], now: float) -> None:
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
    """Headscale 0.23 refuses by a whole RegisterResponse, whose Error is mostly empty; others by a line of text."""
    if exchange.text.startswith("{"):
        with contextlib.suppress(MalformedError):
            return RegisterResponse.decode(bytes(exchange.body)).error
    return exchange.text
