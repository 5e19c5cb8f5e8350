"""What control tells, in order, and what each word of it changes in the rooms of the node.

| control's word                                     | who hears of it                                            |
|----------------------------------------------------|------------------------------------------------------------|
| a netmap                                           | every room (`netmapadoption`); what follows it waits       |
| connected, disconnected, published                 | `home`, `reachability`, `preferences`                      |
| health, a duplicate, a problem, a page, a URL      | the owner, as a fact                                       |
| a key: ours accepted, rotated, expired, extended   | `admittance`, `remembered`, `calls`                        |
| that nobody has approved of us                     | `admittance`, `calls`                                      |
| a key: control's own                               | `remembered`                                               |
| a logout is done                                   | `admittance`, `calls`; every peer leaves, no view is left  |
| a ping, an answer                                  | `askedpings`, whoever asked                                |

A new key of ours is put to use when it is saved (`use_key`).

Not here: what control has to say (`control.client.facts`), when it is asked (`node`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol, assert_never

import attrs

from tsnet.base.crypto import node_public
from tsnet.base.keys import NodePrivateKey
from tsnet.base.trace import Trace
from tsnet.config import Config
from tsnet.control.client import facts as told
from tsnet.control.client.client import Client
from tsnet.control.client.keptmap import KeptMap
from tsnet.control.gojson import format_time
from tsnet.engine import facts
from tsnet.engine.admittance import Admittance, key_expired, needs_approval
from tsnet.engine.askedpings import Answer, AskedPings
from tsnet.engine.attributes import attributes_of
from tsnet.engine.cachednetmap import CachedNetmap
from tsnet.engine.derprelays import Relays
from tsnet.engine.differences import trace_changes
from tsnet.engine.engine import Engine
from tsnet.engine.factqueue import FactQueue
from tsnet.engine.healthmessages import SAID_BY_CONTROL, HealthMessages, sentences_of
from tsnet.engine.identity import Identity
from tsnet.engine.leaving import Leaving
from tsnet.engine.lifecycle import logged_out
from tsnet.engine.netmapadoption import Adoption
from tsnet.engine.portmapping import PortMapping
from tsnet.engine.preferences import Preferences
from tsnet.engine.reachability import Reachability
from tsnet.engine.remembered import Remembered
from tsnet.engine.socketcalls import SocketCalls
from tsnet.engine.surroundings import Surroundings
from tsnet.engine.view import NodeView
from tsnet.engine.when_due import WhenDue
from tsnet.errors import ControlUnreachable, Error, NeedsApproval
from tsnet.netcheck.home import Home
from tsnet.netmap.model import DerpMap, NetMap

STALE = "stale"
"""The source of the complaint that the netmap is not of now."""


LOCK = "lock"
NOT_CHECKED = "this tailnet has Tailnet Lock, and this node does not check its signatures: it believes control alone"


class Rooms(Protocol):
    """The node, as far as control's word goes."""

    config: Config
    view: NodeView | None
    trace: Trace | None
    engine: Engine
    adoption: Adoption
    admittance: Admittance
    cached: CachedNetmap
    asked_pings: AskedPings
    calls: SocketCalls
    control: Client
    health: HealthMessages
    home: Home
    leaving: Leaving
    port_mapping: PortMapping
    preferences: Preferences
    reachability: Reachability
    relays: Relays
    remembered: Remembered
    surroundings: Surroundings

    @property
    def netmap(self) -> NetMap | None: ...


class ControlWord:
    """node: whose rooms are changed. queue: where facts are added."""

    def __init__(
        self, node: Rooms, control: WhenDue[Client], entropy: Callable[[int], bytes], *, queue: FactQueue
    ) -> None:
        self._node, self._control, self._entropy, self._facts = node, control, entropy, queue
        self._untold: deque[told.Fact] = deque()
        self._is_emptying = self._is_away = self._tells_leaving = False
        self._kept: KeptMap | None = None  # that which is being adopted
        self._forgets: str | None = None  # the user whose login is to be forgotten

    @property
    def has_more(self) -> bool:
        """Whether something is left for the next turn."""
        return self._node.adoption.is_under_way or bool(self._untold)

    def take(self, now: float) -> None:
        """In order. While a netmap is under way, what control says after it waits."""
        node = self._node
        if not node.adoption.is_under_way:
            self._untold += node.control.take_facts()
        while self._untold and not node.adoption.is_under_way:
            self.tell(self._untold.popleft(), now)

    def tell(self, fact: told.Fact, now: float) -> None:
        node = self._node
        match fact:
            case told.NetMapChanged(netmap):
                node.adoption.begin(netmap, node.view)
                self.adopt(now)
            case told.LoginUrl(url):
                node.cached.answered()
                self._abandon(now)
                self._facts.append(facts.LoginUrl(url))
            case told.Connected() | told.Disconnected():
                self._changed(fact, now)
            case told.Published(region):
                node.reachability.published(region)
                node.preferences.published(node.control.hostinfo_is_known)
            case told.DuplicateNode(reason):
                self._facts.append(facts.DuplicateNode(reason))
            case told.ControlHealth(messages):
                node.health.set("control", messages)
            case told.MapHealth(message):
                node.health.set("map", (message,) if message else ())
            case told.NodeRemoved(error):
                self._facts.append(facts.Removed(error))
                self._trouble(error, True, now)
            case told.Problem(error, fatal):
                if isinstance(fact, told.NodeRemoved):
                    node.cached.forget()
                self._trouble(error, fatal, now)
            case told.PingRequested(ping):
                self.answer(node.asked_pings.asked(ping, now), now)
            case told.BrowserRequested(url):
                self._facts.append(facts.Notice(f"control asks that somebody opens this page in a browser: {url}"))
            case told.Answered(ticket, status, body, error):
                self._facts.append(facts.ControlAnswered(ticket, status, body, error))
            case _:
                self._told_of_keys(fact, now)

    def _changed(self, fact: told.Connected | told.Disconnected, now: float) -> None:
        connected = isinstance(fact, told.Connected)
        self._node.home.control_listens(connected, now)
        self._is_away = self._is_away and not connected
        self._facts.append(facts.ControlChanged(connected, fact.reason if isinstance(fact, told.Disconnected) else ""))

    def _abandon(self, now: float) -> None:
        """Control does not let us in: without a netmap, no relay is ours."""
        if self._node.view is None and not self._node.adoption.is_under_way:
            self._node.reachability.abandon(now)

    def _trouble(self, error: Error, fatal: bool, now: float) -> None:
        if fatal:
            self._node.cached.answered()
            self._abandon(now)
            self._node.leaving.is_over = True
            self._node.admittance.refused()
        if fatal or self._is_news(error):
            self._facts.append(facts.Problem(error, fatal))

    def _is_news(self, error: Error) -> bool:
        """Each attempt to reach control fails while it is away. Of a node that has run, the first one is told."""
        if not isinstance(error, ControlUnreachable) or not self._node.admittance.has_run:
            return True
        was_away, self._is_away = self._is_away, True
        return not was_away

    def _told_of_keys(self, fact: told.KeyFact, now: float) -> None:
        node = self._node
        match fact:
            case told.LoggedIn(user, is_approved):
                node.admittance.accepted()
                node.remembered.change(registered=True, login_name=user.login_name)
                self._facts.append(facts.LoggedIn(user))
                if not is_approved and node.netmap is None:
                    node.admittance.unapproved(self._needs_approval())
                    self._update_refusal()
            case told.LoggedOut():
                node.leaving.is_over = True
                login_name = node.remembered.identity.login_name
                fresh = NodePrivateKey(self._entropy(32))
                node.remembered.forget_login(fresh)
                node.cached.new_key(node_public(fresh))
                if not node.leaving.has_begun:
                    self._log_out(login_name, now)
            case told.LoginEnded(number, error):
                self._facts.append(facts.LoginEnded(number, error))
            case told.NodeKeyRotated(private, old):
                node.remembered.rotate(private, old)  # `saved` puts the key to use
            case told.KeyExpired():
                node.cached.forget()
                node.admittance.expired(key_expired(node.preferences.current.hostname, node.config.control_url))
                self._update_refusal()
            case told.KeyExpiring(expires_at):
                self._facts.append(facts.KeyExpiring(expires_at))
            case told.KeyExtended():
                node.engine.sessions_lost(now)
                self._is_valid_again()
            case told.ControlKey(key):
                node.remembered.control_key(key)
            case told.NewControlKey(key, before):
                node.remembered.control_key(key, before)
            case _:
                assert_never(fact)

    def _log_out(self, login_name: str, now: float) -> None:
        """Control has forgotten us: nobody is a peer any more, and no relay is needed. It is told once the new identity
        is saved (`saved`)."""
        node = self._node
        node.calls.refusal = logged_out(node.preferences.current.hostname, node.config.control_url)
        self._tells_leaving = node.admittance.has_run
        node.admittance.logged_out()
        self._forgets = login_name
        if node.netmap is not None:
            node.adoption.begin(attrs.evolve(node.netmap, peers={}, derp_map=DerpMap()), node.view)
            self._is_emptying = True
            self.adopt(now)

    def saved(self, identity: Identity) -> None:
        """The identity is saved as this."""
        if self._forgets is not None and not identity.registered:
            login_name, self._forgets = self._forgets, None
            self._facts.append(facts.LoggedOut(login_name))

    def login_begun(self) -> None:
        """A logout that is not told yet is none any more."""
        self._forgets = None

    def answer(self, answers: Iterable[Answer], now: float) -> None:
        """Tell control of the pings that it asked for."""
        for ping, response in answers:
            self._control.wake().answer_ping(ping, response, now)

    def adopt(self, now: float) -> None:
        """Go on with the netmap that is under way. Nothing in here raises, so no room is left with another one.

        It costs what changes, in this turn and, if that is much, in those that follow.
        """
        node = self._node
        adopted = node.adoption.go_on(now)
        if adopted is None:
            return
        changes, netmap = adopted.changes, adopted.changes.after
        if node.trace is not None:
            trace_changes(changes, node.trace)
        if changes.of("self_node"):
            attributes = attributes_of(netmap.self_node.capabilities)
            node.surroundings.set_attributes(attributes, now)
            node.engine.rejected_flows.want(wanted=attributes.conn_reject)
            node.port_mapping.set_modes(now, enabled=not attributes.only_tcp_443, upnp=not attributes.disable_upnp)
        if changes.of("derp_map"):
            node.reachability.apply(netmap.derp_map, now)
            node.surroundings.apply(netmap.derp_map, now)
        if changes.of("is_locked"):
            node.health.set(LOCK, (NOT_CHECKED,) if netmap.is_locked else ())
        if changes.of("health") or changes.of("display_messages"):
            node.health.set(SAID_BY_CONTROL, sentences_of(netmap))
        if self._kept is None and not self._is_emptying:
            node.cached.adopted(netmap, now)
            node.health.set(STALE, ())
        self.show(adopted.view)
        if self._is_emptying:
            self._is_emptying, node.view = False, None
            if self._tells_leaving:
                self._facts.change(changes)
            return
        node.remembered.change(stable_id=netmap.self_node.stable_id)
        node.engine.device.want_mark(now)
        if changes.before is not None and node.admittance.has_run:
            self._facts.change(changes)
        node.admittance.judge(netmap, self._needs_approval())
        self._update_refusal()
        if self._kept is not None:
            self._facts.append(facts.NetMapStale(self._kept.saved_at))
            self._kept = None

    def go_by(self, kept: KeptMap, now: float) -> None:
        """Control is away: a netmap from before it was is better than none."""
        node = self._node
        self._kept = kept
        text = f"control does not answer: this node goes by the netmap of {format_time(round(kept.saved_at))}"
        node.health.set(STALE, (text,))
        node.reachability.published(kept.netmap.self_node.home_region)  # peers have our home from then
        node.adoption.begin(kept.netmap, node.view)
        self.adopt(now)

    def show(self, view: NodeView) -> None:
        """From now on other threads see this, with the health and the home of now."""
        node = self._node
        node.view = attrs.evolve(
            view, health=node.health.messages, home_region=node.home.region, is_stale=node.cached.is_stale
        )
        node.calls.names = view.names

    def use_key(self, private: NodePrivateKey, now: float) -> None:
        node = self._node
        if node.trace is not None:
            node.trace("new node key in use")
        node.engine.set_node_key(private, now)
        node.relays.set_private_key(private)
        node.cached.new_key(node_public(private))
        self._is_valid_again()
        self._control.wake().key_saved(now)

    def _is_valid_again(self) -> None:
        self._node.admittance.valid_again(self._node.netmap)
        self._update_refusal()

    def _update_refusal(self) -> None:
        """Whether anything may be opened follows from an expiry and an approval, unless the node leaves."""
        if not self._node.leaving.has_begun:
            self._node.calls.refusal = self._node.admittance.refusal

    def _needs_approval(self) -> NeedsApproval:
        return needs_approval(self._node.preferences.current.hostname, self._node.config.control_url)
