"""What a node reports after a turn, and who hears of it: its life, readers of events, the log, the store, a ping.

Not here: what a report means for the node's state (`engine.lifecycle`), one reader's queue (`pipes.subscriptions`).
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import assert_never

from tsnet.base.wording import Wording, api
from tsnet.edge.io.log import log
from tsnet.edge.io.saver import Saver
from tsnet.edge.io.whereabouts import StateMoved
from tsnet.edge.pipes.subscriptions import Subscription
from tsnet.edge.run.dialing import Attempts
from tsnet.edge.run.logins import Logins
from tsnet.edge.run.pump import Pump
from tsnet.engine import facts
from tsnet.engine.lifecycle import Lifecycle, News
from tsnet.errors import Error


class Reports:
    """health: as last reported. on_login_url: see `Options`."""

    def __init__(
        self, life: Lifecycle, attempts: Attempts, logins: Logins, on_login_url: Callable[[str], bool] | None
    ) -> None:
        self.health: tuple[str, ...] = ()
        self._life, self._attempts = life, attempts
        self._on_login_url = on_login_url
        self.logins = logins
        self._has_duplicate = False
        self._subscriptions: list[weakref.ref[Subscription]] = []

    # --- readers of events ----------------------------------------------------------------------------------

    def subscribe(self) -> Subscription:
        """Every event from now on, until the node has failed or was closed. Forgotten when nobody holds it."""
        subscription = Subscription()
        self._subscriptions.append(weakref.ref(subscription, self._forget))
        if self._life.is_over or self._life.has_failed:
            subscription.end()
        return subscription

    def publish(self, event: object) -> None:
        """Tell every reader; from any thread."""
        for subscription in _alive(tuple(self._subscriptions)):
            subscription.put(event)

    def end(self) -> None:
        """No more events come."""
        references, self._subscriptions = self._subscriptions, []
        for subscription in _alive(references):
            subscription.end()

    def _forget(self, reference: weakref.ref[Subscription]) -> None:
        with contextlib.suppress(ValueError):
            self._subscriptions.remove(reference)

    # --- in the node's thread -------------------------------------------------------------------------------

    def take(self, found: Iterable[facts.Fact], pump: Pump, saver: Saver) -> None:
        """In the order in which the node told them."""
        for fact in found:
            match fact:
                case facts.Save():
                    _save(fact, pump, saver)
                case facts.PingAnswered() | facts.ControlAnswered() | facts.NetcheckDone():
                    self._attempts.answered(fact)
                case facts.Notice(text):
                    log.warning("%s: %s", self._life.hostname, text)
                case facts.LoginEnded(number, error):
                    self.logins.ended(number, error)
                case facts.PrefsSaved() | facts.PrefsTaken():
                    pass  # those who wait for it look at the node itself (`Setting`)
                case facts.EndpointMapped():
                    pass  # for whoever follows the trace
                case _:
                    self._event(fact)

    def _event(self, fact: facts.Event) -> None:
        match fact:
            case facts.Running():
                self._life.told(News.RUNNING)
            case facts.ApprovalPending(error):
                self._needs_approval(error)
            case facts.Expired(error):
                self._life.told(News.EXPIRED, error)
            case facts.KeyExpiring(expires_at):
                self._tell_of_expiry(expires_at)
            case facts.LoggedOut():
                self._life.told(News.LOGGED_OUT)
            case facts.LoginUrl(url):
                self._life.login_wanted(url, self._is_somebody_there(url))
            case facts.Problem(error, fatal):
                self._trouble(error, fatal)
            case facts.NetMapChanged():
                self._life.is_well()
            case facts.Health(messages):
                self._set_health(messages)
            case facts.DuplicateNode(reason):
                self._tell_of_duplicate(reason)
            case facts.PeerAppeared() | facts.PeerChanged() | facts.PeerLeft() | facts.PrefsChanged():
                pass  # for readers of events alone, as those below are
            case (
                facts.PathChanged()
                | facts.HomeChanged()
                | facts.LoggedIn()
                | facts.Removed()
                | facts.NetMapStale()
                | facts.RelayChanged()
                | facts.ControlChanged()
                | facts.Reachable()
            ):
                pass
            case _:
                assert_never(fact)
        self.publish(fact)
        if self._life.has_failed:
            self.end()

    def _trouble(self, error: Error, fatal: bool) -> None:
        """Said once, not with every attempt; while the node closes nobody needs to hear."""
        if self._life.troubled(error) and not self._life.is_over:
            log.say(logging.ERROR if fatal else logging.WARNING, "%s: %s", self._life.hostname, error)
        if fatal:
            self._life.told(News.REFUSED, error)

    def _needs_approval(self, error: Error) -> None:
        if not self._life.is_over:
            log.warning("%s: %s", self._life.hostname, error)
        self._life.told(News.APPROVAL_WANTED, error)

    def _tell_of_expiry(self, expires_at: float) -> None:
        when = f"{datetime.fromtimestamp(expires_at, UTC):%Y-%m-%d %H:%M} UTC"
        text = f"its key expires at {when}: extend it at control, or log the node in again"
        log.warning("%s: %s", self._life.hostname, Wording(text, api("login()", before=" with ")))

    def _tell_of_duplicate(self, reason: str) -> None:
        """Once: it stays so until somebody stops the other one."""
        if not self._has_duplicate:
            self._has_duplicate = True
            text = "another process uses the key of this node, and takes its traffic: give each its own state; %s"
            log.warning(f"%s: {text}", self._life.hostname, reason)

    def moved(self, how: str) -> None:
        """The state was used elsewhere last."""
        log.warning("%s: %s", self._life.hostname, how)
        self.publish(StateMoved(how))

    def _set_health(self, messages: tuple[str, ...]) -> None:
        """Each complaint is logged when it appears, not as often as it is repeated."""
        for message in messages:
            if message not in self.health:
                log.warning("%s: %s", self._life.hostname, message)
        self.health = messages

    def _is_somebody_there(self, url: str) -> bool:
        tell = self._on_login_url
        try:
            return tell is not None and tell(url)
        except Exception:  # a closed terminal, or a fault of the application's
            log.exception("%s: nobody could be told of the login URL", self._life.hostname)
            return False


def _save(fact: facts.Save, pump: Pump, saver: Saver) -> None:
    def done(error: Error | None) -> None:
        pump.node.saved(fact.ticket, error, pump.now())
        pump.mark()

    saver.save(fact.key, fact.value, done)


def _alive(references: Iterable[weakref.ref[Subscription]]) -> Iterable[Subscription]:
    return (subscription for reference in references if (subscription := reference()) is not None)
