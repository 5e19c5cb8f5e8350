"""What control thinks of this node, and what follows from each of its answers.

    register ─► accepted: registered ─► a first map: connected, met ─┬─► not known any more: removed
       ▲  │                                                          └─► the key has expired: lapsed ─► extended:
       │  └► refused: over, until `retry` or `login`                              │                     registered
       └──────────────────── a new key is wanted ◄────────────────────────────────┘

An expired key is followed in the map while a login waits, in case somebody extends it; then the login is given up. Of
several answers the one that the node lives by is told (`facts`).

Source: Go control/controlclient/auto.go.
Not here: the registration itself (`authroutine`), the connection and what is due on it (`client`).
"""

from __future__ import annotations

import math

from tsnet.base.trace import Trace
from tsnet.control.client import controlerrors, facts
from tsnet.control.client.address import ControlAddress
from tsnet.control.client.authroutine import AuthRoutine, Refused, Unknown, Welcome
from tsnet.control.client.controlconnection import Exchange, Lost
from tsnet.control.client.facts import Fact
from tsnet.control.client.login import Accepted, Again, Login
from tsnet.control.client.maproutine import Ended, MapRoutine
from tsnet.control.client.publisher import Publisher
from tsnet.control.client.serverkey import ServerKey
from tsnet.errors import Error
from tsnet.netmap.model import UserProfile

ACCEPTED_FOR = 3.0
"""Seconds after control has accepted a key in which "no such node" is not believed: not every part of Headscale knows
at once whom another part has accepted."""


GARBLED_TRIES = 3
"""So many answers without sense, one after the other, are not control's: within a second, by the backoff."""


class Membership:
    """told: the list that facts are added to. The owner drops a connection that is not wanted any more.

    is_registered: control accepts our key. has_met: the server has served this process. has_logged_out: only `login`
    goes on. is_connected: a map stream runs.
    """

    def __init__(
        self,
        address: ControlAddress,
        server_key: ServerKey,
        login: Login,
        auth: AuthRoutine,
        routine: MapRoutine,
        publisher: Publisher,
        *,
        told: list[Fact],
        trace: Trace | None = None,
    ) -> None:
        self._trace = trace
        self.is_registered: bool = False
        self.is_connected: bool = False
        self.has_met: bool = False
        self.has_logged_out: bool = False
        self._address, self._server_key, self._told = address, server_key, told
        self._login, self._auth, self._map, self._publisher = login, auth, routine, publisher
        self._unserved_until = -math.inf
        """Until then "no such node" is not believed: ACCEPTED_FOR after an acceptance, or less if control serves it."""
        self._awaited_login = ""
        """How far a login is that an application asked for: "asked", "accepted", "served"; "" if there is none."""
        self._logins = 0  # how many were asked for
        self._garbled = 0  # how many connections in a row broke at an answer without sense
        self._lapsed = False
        """Control says that the key has expired. We still follow its map, in case somebody extends the key."""

    @property
    def follows(self) -> bool:
        """Whether there is a key whose map control serves, or may serve again."""
        return self.is_registered or self._lapsed

    @property
    def wants_connection(self) -> bool:
        return not self._auth.halted or self.follows

    # --- what the application wants -------------------------------------------------------------------------------

    def login(self, now: float, auth_key: str) -> int:
        self._login.expired = self._login.expired or self._map.session.expired
        self.has_logged_out, self._awaited_login = False, "asked"
        self._auth.renew(now, auth_key)
        self._logins += 1
        return self._logins

    def take_login_end(self) -> list[Fact]:
        """That the login which was asked for is over: to be told behind the netmap that it brought."""
        if self._awaited_login != "served":
            return []
        self._awaited_login = ""
        return [facts.LoginEnded(self._logins, None)]

    def _login_failed(self, error: Error) -> None:
        if self._awaited_login:
            self._awaited_login = ""
            self._told.append(facts.LoginEnded(self._logins, error))

    def retry(self, now: float) -> None:
        if self.has_logged_out or self._auth.leaving:
            return
        if self._auth.halted and not self.is_registered:
            if not self._lapsed:
                self.has_met = False
                self._server_key.from_scratch()
            self._auth.restart(now)
        self._map.hurry(now)

    def check_left(self) -> None:
        """Tell of a logout that is over."""
        if self._auth.has_left:
            self._auth.has_logged_out()
            self._map.session.forget()
            self.has_logged_out = True
            self._stop(facts.LoggedOut())

    def _stop(self, fact: Fact) -> None:
        """Leave control alone until `retry` or `login`."""
        if self.is_connected:
            self._told.append(facts.Disconnected("control is left alone"))
        self.is_registered = self._lapsed = self.is_connected = False
        if not self._auth.halted:
            self._auth.halt()
        self._say("control is left alone", why=type(fact).__name__)
        self._told.append(fact)

    def _say(self, event: str, **fields: object) -> None:
        if self._trace is not None:
            self._trace(event, **fields)

    # --- the connection -------------------------------------------------------------------------------------------

    def lost(self, lost: Lost, *, is_news: bool) -> None:
        """The connection is gone. is_news: False if nothing is wrong."""
        self._garbled = self._garbled + 1 if lost.is_garbled else 0
        is_tried_again = self._may_be_garbled(lost)
        if lost.hopeless and not self.has_met and not is_tried_again:
            self._stop(facts.Problem(lost.error, fatal=True))
        elif self.is_connected:
            self.is_connected = False
            self._told.append(facts.Disconnected(lost.reason))
        elif is_tried_again and not self._login.known:
            pass  # the next try is a moment away, and the last one tells
        elif is_news and self._server_key.is_news(lost.error):
            self._told.append(facts.Problem(lost.error, fatal=False))
        self.check_left()

    def _may_be_garbled(self, lost: Lost) -> bool:
        """Whether what answers may be control all the same. A node that control knows has met it at this URL; another
        one may have the wrong URL, and is to hear of that soon."""
        return lost.is_garbled and (self._login.known or self._garbled < GARBLED_TRIES)

    def waits(self) -> None:
        """The server lets us wait: whoever wants the node up hears of it before a connection is given up."""
        if not self.has_met:
            self._told.append(facts.Problem(controlerrors.slow(self._address), fatal=False))

    def reached(self) -> None:
        """A stream's first message with state has come: the server serves us."""
        self.has_met, self._unserved_until = True, -math.inf
        if self._awaited_login == "accepted":
            self._awaited_login = "served"
        self._taken_in()
        if not self.is_connected:
            self.is_connected = True
            self._told.append(facts.Connected())

    def _taken_in(self) -> None:
        """The server has accepted us, or serves us: tell its key if it is new."""
        fact = self._server_key.taken_in()
        if fact is not None:
            self._told.append(fact)

    # --- registration ---------------------------------------------------------------------------------------------

    def register_answered(self, exchange: Exchange, now: float) -> None:
        outcome = self._auth.answer(exchange, met=self.has_met, now=now)
        if isinstance(outcome, Accepted):
            self._accepted(outcome, now)
        elif isinstance(outcome, Refused):
            self._refused(outcome)
        if not self.follows:  # what was asked together with the registration
            self._map.end()
            self._publisher.end(now)
        if self._login.expired and self._login.known and not self.is_registered and not self._auth.leaving:
            self._lapsed = self._lapsed or not isinstance(outcome, Again)
            self.look_for_an_extension(now)
        self.check_left()

    def _accepted(self, outcome: Accepted, now: float) -> None:
        self._taken_in()
        if self._awaited_login == "asked":
            self._awaited_login = "accepted"
        if outcome.rotated:
            self._auth.key_is_saved = False
            self._told.append(facts.NodeKeyRotated(self._login.private, outcome.old))
            self._map.end()
            self._publisher.end(now)
        self._go_on(outcome.user, now, is_approved=outcome.is_approved)

    def _go_on(self, user: UserProfile, now: float, *, is_approved: bool = True) -> None:
        """Control accepts our key: poll and publish."""
        self._say("registered", user=user.login_name)
        self._told.append(facts.LoggedIn(user, is_approved))
        self.is_registered, self._lapsed, self._unserved_until = True, False, now + ACCEPTED_FOR
        self._map.go(now)
        if self._publisher.stream is None:
            self._publisher.change(now)

    def _refused(self, outcome: Refused) -> None:
        """The attempt is over. We still follow the map of a key that we followed. While leaving it does not matter."""
        if self._auth.leaving:
            return
        if self.is_registered and not self._login.expired:
            self._auth.halt()
            self._told.append(facts.Problem(outcome.error, fatal=False))
        elif self.follows or (self._login.expired and self._login.known):
            self._auth.halt()
            self._told.append(facts.Problem(outcome.error, fatal=True))
        else:
            self._stop(facts.Problem(outcome.error, fatal=True))
        self._login_failed(outcome.error)

    def no_key(self, error: Error, *, is_final: bool) -> None:
        """There is no auth key to register with. is_final: asking for one again cannot help."""
        if is_final:
            self._refused(Refused(error))
        else:
            self._told.append(facts.Problem(error, fatal=False))

    # --- an expired key -------------------------------------------------------------------------------------------

    def look_for_an_extension(self, now: float) -> None:
        """If the expired key is good again by the map, no login is needed.

        A registration that is under way is not cancelled: control may have put its new key in the old one's place.
        """
        if self._login.expired and self._map.is_heard and not self._map.session.expired and not self._auth.is_asking:
            self._resume(None, now)

    def _resume(self, user: UserProfile | None, now: float) -> None:
        self._auth.resume()
        if self._awaited_login:
            self._awaited_login = "served"
        if self._lapsed:
            self._taken_in()
            self._go_on(user or self._map.session.own_user, now)

    def rechecked(self, exchange: Exchange, now: float) -> None:
        found = self._auth.recheck_answer(exchange)
        if isinstance(found, Welcome) and self._lapsed and not self._auth.is_asking:
            self._resume(found.user, now)
        elif isinstance(found, Unknown):
            self._removed(exchange.text, now)

    # --- whether control knows us ---------------------------------------------------------------------------------

    def poll_ended(self, exchange: Exchange, now: float) -> None:
        ended = self._map.ended(exchange, expired=self._lapsed, expected=not self.follows, now=now)
        if ended is Ended.REMOVED:
            self._removed(exchange.text, now)
        elif ended is Ended.REFUSED:
            self._auth.recheck()

    def published(self, exchange: Exchange, now: float) -> None:
        if exchange.status == 200:
            self._unserved_until = -math.inf
            self._told.append(facts.Published(self._publisher.succeeded(now)))
            return
        self._publisher.failed(now, exchange)
        if exchange.status == 404:
            self._removed(exchange.text, now)

    def _removed(self, text: str, now: float) -> None:
        """Control does not know our key: the node was deleted, unless a login is just replacing the key.

        While we leave this is to be expected, and the answer to the logout decides.
        """
        if not self.is_registered or self._login.wanted or self._auth.leaving or now < self._unserved_until:
            return
        self.is_registered = False
        self._say("control does not know this node any more")
        self._map.end()
        self._publisher.end(now)
        if self._login.may_start_over:
            self._map.session.forget()
            self._auth.start_over(now + self._map.delay(now))  # a backoff, in case control forgets each new node
            return
        self._login.known = False
        self._stop(facts.NodeRemoved(controlerrors.node_removed(self._address, text), fatal=True))
