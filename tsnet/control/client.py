"""The node's side of control, whole: find the server, log in, publish ourselves, follow the netmap.

    /key (TLS verified) ─┐
    link opened ─────────┴─> channel ready ─> register ─┬─> map poll ........ NetMapChanged, again and again
                                                        └─> lite update ..... whenever something about us changes

| what ends                    | what follows                                                                      |
|------------------------------|-----------------------------------------------------------------------------------|
| the link, the watchdog       | Disconnected, a new channel after a backoff; after 3 failures the key is asked anew |
| the map stream alone         | a new poll on the same channel after a backoff; three in a minute: DuplicateNode  |
| the node, deleted: HTTP 404  | an ephemeral one with a key registers anew as a new node; others NodeRemoved      |
| registration refused         | fatal Problem; everything stops until `login`                                     |
| a hopeless server, never met | fatal Problem (certificate, no control server, wrong pinned key)                  |
| HTTP 429                     | Problem, again after Retry-After                                                  |

Everything that leaves is an effect on links of the room "control"; `transmit` hands them out.
dropped: "late" (an event of a link long gone), "map-refused" (a message that is malformed or too large), "ping-…".

Source: Go control/controlclient/{auto,direct}.go.
Not here: what the pieces do in themselves (`uplink`, `login`, `mappoll`, `mapsession`, `publisher`, `pings`).
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from tsnet.base.crypto import node_public
from tsnet.base.keys import DiscoKey, LockKey, MachineKey, MachinePrivateKey, NodePrivateKey
from tsnet.base.links import Computed, Data, Effect, Event, Link
from tsnet.base.malformed import MalformedError
from tsnet.control import facts, remedies
from tsnet.control.address import ControlAddress
from tsnet.control.backoff import Backoff, retry_after
from tsnet.control.facts import Fact
from tsnet.control.login import Accepted, Again, Denied, Login, Outcome, Waiting
from tsnet.control.mappoll import MapPoll
from tsnet.control.mapsession import MapSession
from tsnet.control.messages import MAP_PATH, REGISTER_PATH, MapResponse, PingRequest, RegisterResponse
from tsnet.control.pings import Pings
from tsnet.control.publisher import Endpoint, Publisher
from tsnet.control.uplink import Exchange, Lost, Piece, Uplink
from tsnet.errors import AuthKeyRejected, KeyExpired

REGISTER_TIMEOUT = 60.0
FOLLOWUP_TIMEOUT = 300.0
"""A person takes their time, but a link that died silently must not wait for ever."""

MAX_SLEEP = 300.0
KEY_AFTER_FAILURES = 3
DUPLICATE_ENDS, DUPLICATE_SPAN = 3, 60.0
"""Our map stream ended this often within this span: somebody else polls with our key."""

DUPLICATE_PAUSE = 15.0


class Client:
    """One node at one control server. Speaks from the first `transmit` on.

    wall_offset: unix time = now + wall_offset. enrolled: the node key has been accepted before, so the auth key is
    shown only if control asks for it. control_key: the only server key to trust. hostinfo: tailcfg.Hostinfo by JSON
    names, tags to ask for among it (RequestTags).
    """

    def __init__(
        self,
        control_url: str,
        *,
        machine_private: MachinePrivateKey,
        node_private: NodePrivateKey,
        disco_key: DiscoKey,
        entropy: Callable[[int], bytes],
        wall_offset: float,
        hostinfo: Mapping[str, Any],
        auth_key: str = "",
        enrolled: bool = False,
        ephemeral: bool = False,
        lock_key: LockKey | None = None,
        control_key: MachineKey | None = None,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self._address = ControlAddress.parse(control_url)
        self._machine_private, self._entropy, self._pinned = machine_private, entropy, control_key
        self._login = Login(
            node_private,
            auth_key=auth_key,
            enrolled=enrolled,
            ephemeral=ephemeral,
            lock_key=lock_key,
            entropy=entropy,
        )
        self._publisher = Publisher(disco_key, hostinfo, entropy)
        self._session = MapSession(disco_key, wall_offset)
        self._pings = Pings(self._address, self._new_link, self.dropped)
        self._facts: list[Fact] = []
        self._effects: list[Effect] = []
        self._generation = 0
        self._control_key: MachineKey | None = None
        self._uplink: Uplink | None = None
        self._poll: MapPoll | None = None
        self._register_stream: int | None = None
        self._registered = self._connected = self._met = self._halted = self._leaving = False
        self._poll_ends: deque[float] = deque(maxlen=DUPLICATE_ENDS)
        self._connect_backoff, self._register_backoff = Backoff(entropy), Backoff(entropy)
        self._poll_backoff = Backoff(entropy)
        self._connect_at = self._register_at = self._poll_at = -math.inf
        self._register_by = math.inf

    def __repr__(self) -> str:
        return f"<control.Client of {self._address.url}>"

    # --- the application's side ---------------------------------------------------------------------------------

    def set_hostinfo(self, hostinfo: Mapping[str, Any], now: float) -> None:
        self._publisher.set_hostinfo(hostinfo, now)
        self._advance(now)

    def set_net_info(self, net_info: Mapping[str, Any], now: float) -> None:
        """tailcfg.NetInfo by JSON names: PreferredDERP is our home. Goes out with the next `transmit`."""
        self._publisher.set_net_info(net_info, now)
        self._advance(now)

    def set_endpoints(self, endpoints: Iterable[Endpoint], now: float) -> None:
        self._publisher.set_endpoints(endpoints, now)
        self._advance(now)

    def set_wall_offset(self, wall_offset: float) -> None:
        """The wall clock was set."""
        self._session.wall_offset = wall_offset

    def login(self, now: float, auth_key: str = "") -> None:
        """Log in anew (the key has expired, or something fatal has been put right), with a new node key."""
        self._halted = False
        self._login.renew(auth_key)
        self._abandon_registration()
        self._register_at = now
        self._advance(now)

    def logout(self, now: float) -> None:
        """Give the node up; LoggedOut follows when control has confirmed it, at once if control never knew the node."""
        if not self._login.known:
            self._stop(facts.LoggedOut())
            return
        self._leaving, self._halted = True, False
        self._abandon_registration()
        self._register_at = now
        self._advance(now)

    def answer_ping(self, ping: PingRequest, response: Mapping[str, Any], now: float) -> None:
        """The result of a PingRequested, with the fields of tailcfg.PingResponse."""
        self._pings.answer(ping, response, now)
        self._advance(now)

    # --- the four verbs -----------------------------------------------------------------------------------------

    def receive(self, event: Event, now: float) -> None:
        uplink = self._uplink
        if isinstance(event, Computed):
            self._computed(event, now)
        elif uplink is not None and uplink.owns(event.link):
            for found in uplink.receive(event):
                if self._uplink is uplink:
                    self._dispatch(found, now)
        elif event.link.name == "ping":
            self._pings.receive(event, now)
        else:
            self.dropped["late"] += 1
        self._advance(now)

    def transmit(self, now: float, budget: int = 1 << 20) -> list[Effect]:
        self._tick(now)
        self._advance(now)
        taken = 0
        for effect in self._effects:
            if taken and budget <= 0:
                break
            budget -= len(effect.data) if isinstance(effect, Data) else 0
            taken += 1
        effects, self._effects = self._effects[:taken], self._effects[taken:]
        return effects

    def deadline(self) -> float:
        if self._effects:
            return -math.inf
        return min(at for at, _reason in self._timers())

    def why(self) -> str:
        """What the deadline is for."""
        return min(self._timers())[1]

    def take_facts(self) -> list[Fact]:
        taken, self._facts = self._facts, []
        return taken

    def _timers(self) -> Iterable[tuple[float, str]]:
        """Every instant at which time alone makes a difference, given what is under way."""
        yield math.inf, "nothing"
        yield self._pings.deadline(), "ping"
        yield self._session.expiry_at, "expiry"
        if self._halted:
            return
        yield self._register_by, "register_by"
        yield self._publisher.answer_by, "publish_by"
        if self._poll is not None:
            yield self._poll.watchdog_at, "watchdog"
        if self._uplink is None:
            yield self._connect_at, "connect"
            return
        yield self._uplink.ready_by, "ready_by"
        if self._uplink.usable:
            if self._may_register():
                yield self._register_at, "register"
            if self._may_poll():
                yield self._poll_at, "poll"
            if self._may_publish():
                yield self._publisher.at, "publish"

    # --- what is due --------------------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        """What has taken too long."""
        self._pings.tick(now)
        self._session.tick(now)
        if self._uplink is None:
            return
        self._uplink.tick(now)
        if self._poll is not None and now >= self._poll.watchdog_at:
            self._lose("no word from control for two minutes", now)
        elif now >= self._register_by:
            self._lose("no answer to the registration", now)
        elif now >= self._publisher.answer_by:
            self._lose("no answer to an update", now)

    def _advance(self, now: float) -> None:
        """Do everything that can be done now, and collect what the parts have for the outside."""
        if self._uplink is not None and self._uplink.lost is not None:
            self._lost(self._uplink.lost, now)
        if self._uplink is None and not self._halted and now >= self._connect_at:
            self._connect(now)
        if self._uplink is not None:
            if self._uplink.usable:
                self._ask(self._uplink, now)
            self._effects += self._uplink.transmit()
        self._effects += self._pings.take_effects()
        self._facts += [*self._session.take_facts(), *self._pings.take_facts()]

    def _ask(self, uplink: Uplink, now: float) -> None:
        if self._may_register() and now >= self._register_at:
            self._register(uplink, now)
        if self._may_poll() and now >= self._poll_at:
            self._begin_poll(uplink, now)
        if self._may_publish() and now >= self._publisher.at:
            self._publish(uplink, now)
        for post in self._pings.take_posts():
            uplink.request("ping", post.method, post.path, post.body)

    def _dispatch(self, found: Exchange | Piece, now: float) -> None:
        if isinstance(found, Piece):
            self._poll_bytes(found, now)
        elif found.purpose == "register":
            self._register_answer(found, now)
        elif found.purpose == "logout":
            self._left(found, now)
        elif found.purpose == "poll":
            self._poll_ended(found, now)
        elif found.purpose == "publish":
            self._published(found, now)

    def _may_register(self) -> bool:
        return (self._login.wanted or self._leaving) and self._register_stream is None

    def _may_poll(self) -> bool:
        return self._registered and self._poll is None and not self._leaving

    def _may_publish(self) -> bool:
        return self._registered and self._publisher.stream is None and not self._leaving

    # --- connecting ---------------------------------------------------------------------------------------------

    def _new_link(self, what: str) -> Link:
        self._generation += 1
        return Link("control", what, self._generation)

    def _connect(self, now: float) -> None:
        known = self._control_key if self._connect_backoff.failures < KEY_AFTER_FAILURES else None
        self._uplink = Uplink(
            self._address,
            self._machine_private,
            control_key=known,
            pinned=self._pinned,
            new_link=self._new_link,
            entropy=self._entropy,
            now=now,
        )

    def _lose(self, reason: str, now: float) -> None:
        """We give the connection up."""
        self._lost(Lost(reason, remedies.unreachable(self._address, reason)), now)

    def _lost(self, lost: Lost, now: float) -> None:
        """Clear away what is left of the connection; connect again after a backoff, or stop for good."""
        self._drop_uplink()
        if self._publisher.stream is not None:
            self._publisher.failed(now)
        self._poll_ends.clear()
        self._poll_at = now
        self._connect_at = now + self._connect_backoff.failed()
        self._halted = fatal = lost.hopeless and not self._met
        if self._connected:
            self._connected = False
            self._facts.append(facts.Disconnected(lost.reason))
        else:
            self._facts.append(facts.Problem(lost.error, fatal))

    def _drop_uplink(self) -> None:
        if self._uplink is not None:
            self._effects += self._uplink.close()
        self._uplink = self._poll = self._register_stream = None
        self._register_by = math.inf
        self._pings.take_posts()

    # --- registration -------------------------------------------------------------------------------------------

    def _register(self, uplink: Uplink, now: float) -> None:
        hostinfo = self._publisher.hostinfo
        request = self._login.logout_request(hostinfo) if self._leaving else self._login.request(hostinfo)
        purpose: Literal["logout", "register"] = "logout" if self._leaving else "register"
        self._register_stream = uplink.request(purpose, "POST", REGISTER_PATH, request.encode())
        self._register_by = now + (FOLLOWUP_TIMEOUT if request.followup else REGISTER_TIMEOUT)

    def _abandon_registration(self) -> None:
        if self._register_stream is not None and self._uplink is not None:
            self._uplink.cancel(self._register_stream)
        self._register_stream, self._register_by = None, math.inf

    def _register_answer(self, exchange: Exchange, now: float) -> None:
        self._register_stream, self._register_by = None, math.inf
        if exchange.status != 200:
            self._register_failed(exchange, now)
            return
        try:
            response = RegisterResponse.decode(bytes(exchange.body))
        except MalformedError as error:
            self._register_at = now + self._register_backoff.failed()
            detail = f"its answer to the registration is not one ({error})"
            self._facts.append(facts.Problem(remedies.not_control(self._address, detail), fatal=False))
            return
        self._outcome(self._login.accept(response), now)

    def _outcome(self, outcome: Outcome, now: float) -> None:
        if isinstance(outcome, Accepted):
            self._accepted(outcome, now)
        elif isinstance(outcome, Waiting):
            self._register_at = now + (self._register_backoff.failed() if outcome.repeated else 0.0)
            if not outcome.repeated:
                self._facts.append(facts.LoginUrl(outcome.url))
        elif isinstance(outcome, Again):
            self._register_at = now
        elif isinstance(outcome, Denied):
            error = KeyExpired(outcome.reason) if outcome.key_expired else None
            self._stop(facts.Problem(error or AuthKeyRejected(self._address.url, outcome.reason), fatal=True))

    def _accepted(self, outcome: Accepted, now: float) -> None:
        if outcome.rotated:
            self._facts.append(facts.NodeKeyRotated(self._login.private, outcome.old))
            self._end_poll()
            self._end_update(now)
        self._facts.append(facts.LoggedIn(outcome.user))
        self._register_backoff.succeeded()
        self._registered, self._poll_at = True, now
        self._publisher.change(now)

    def _register_failed(self, exchange: Exchange, now: float) -> None:
        error, fatal = remedies.registration_error(self._address, exchange.status, _refusal(exchange))
        if fatal and not self._met:
            self._stop(facts.Problem(error, fatal=True))
            return
        limited, wait = exchange.status == 429, self._register_backoff.failed()
        self._register_at = now + (retry_after(exchange.headers, self._register_backoff) if limited else wait)
        self._facts.append(facts.Problem(error, fatal=False))

    def _left(self, exchange: Exchange, now: float) -> None:
        """The logout was answered; a node that control no longer knows is as good as logged out."""
        self._register_stream, self._register_by = None, math.inf
        if exchange.status == 0 or exchange.status >= 500:
            self._register_at = now + self._register_backoff.failed()
            return
        self._leaving = False
        self._login.start_over()
        self._stop(facts.LoggedOut())

    def _stop(self, fact: Fact) -> None:
        """Leave control alone until `login`."""
        self._halted, self._registered, self._connected = True, False, False
        if self._uplink is not None:
            self._drop_uplink()
        self._connect_at = -math.inf
        self._facts.append(fact)

    # --- the map ------------------------------------------------------------------------------------------------

    def _begin_poll(self, uplink: Uplink, now: float) -> None:
        request = self._publisher.request(node_public(self._login.private), stream=True)
        stream = uplink.request("poll", "POST", MAP_PATH, request.encode())
        self._poll = MapPoll(stream, self._new_link("map"), now)

    def _end_poll(self) -> None:
        """By our own will."""
        if self._poll is not None and self._uplink is not None:
            self._uplink.cancel(self._poll.stream)
        self._poll = None

    def _poll_bytes(self, piece: Piece, now: float) -> None:
        poll = self._poll
        if poll is None or poll.stream != piece.exchange.stream:
            return
        try:
            self._map_responses(poll, poll.receive(piece.data, now), now)
        except MalformedError as error:
            self._refuse_map(error, now)

    def _computed(self, event: Computed, now: float) -> None:
        poll = self._poll
        if poll is None or event.link != poll.link:
            self.dropped["late"] += 1
            return
        try:
            self._map_responses(poll, poll.computed(event.value, now), now)
        except MalformedError as error:
            self._refuse_map(error, now)

    def _map_responses(self, poll: MapPoll, responses: list[MapResponse], now: float) -> None:
        self._effects += poll.effects
        poll.effects.clear()
        for response in responses:
            self._map_response(poll, response, now)
            if self._poll is not poll:
                break

    def _map_response(self, poll: MapPoll, response: MapResponse, now: float) -> None:
        if response.ping is not None:
            self._pings.requested(response.ping, now)
        if response.pop_browser_url:
            self._facts.append(facts.BrowserRequested(response.pop_browser_url))
        if response.keep_alive:
            return
        if not poll.got_map:
            self._session.begin()
        if response.is_empty and poll.got_map:
            self._publisher.doubt(now)
            return
        self._session.apply(response.update, now)
        if not poll.got_map:
            poll.got_map = True
            self._reached()
        if response.sleep:
            self._end_poll()
            self._poll_at = now + min(response.sleep, MAX_SLEEP)

    def _reached(self) -> None:
        """The first message with state: the server is what we think it is, and all is well."""
        assert self._uplink is not None
        self._met, self._control_key = True, self._uplink.control_key
        self._connect_backoff.succeeded()
        self._poll_backoff.succeeded()
        if not self._connected:
            self._connected = True
            self._facts.append(facts.Connected())

    def _refuse_map(self, error: MalformedError, now: float) -> None:
        """A message that cannot be used leaves the netmap behind: a new stream begins with a whole one."""
        self.dropped["map-refused"] += 1
        problem = remedies.not_control(self._address, f"a map message is refused ({error})")
        self._facts.append(facts.Problem(problem, fatal=False))
        self._end_poll()
        self._poll_at = now + self._poll_backoff.failed()

    def _poll_ended(self, exchange: Exchange, now: float) -> None:
        poll, self._poll = self._poll, None
        self._poll_at = now + self._poll_backoff.failed()
        if exchange.status == 404:
            self._node_removed(exchange.text, now)
        elif exchange.status == 200 and poll is not None and poll.got_map:
            self._look_for_a_duplicate(now)
        elif exchange.status not in (0, 200):
            detail = f"the map request failed (HTTP status {exchange.status} {exchange.text})"
            self._facts.append(facts.Problem(remedies.unreachable(self._address, detail), fatal=False))

    def _look_for_a_duplicate(self, now: float) -> None:
        self._poll_ends.append(now)
        if len(self._poll_ends) == DUPLICATE_ENDS and now - self._poll_ends[0] <= DUPLICATE_SPAN:
            self._poll_ends.clear()
            self._poll_at = now + DUPLICATE_PAUSE * self._poll_backoff.between(1.0, 2.0)
            reason = "control has ended the map stream of this node three times in a minute, as for another poll"
            self._facts.append(facts.DuplicateNode(reason))

    def _node_removed(self, text: str, now: float) -> None:
        """Control does not know our key: the node was deleted, unless a login is just replacing that key.

        When we are leaving it is as it should be, and the answer to the logout says so.
        """
        if not self._registered or self._login.wanted or self._leaving:
            return
        self._registered = False
        self._end_poll()
        self._end_update(now)
        self._login.start_over()
        if self._login.ephemeral and self._login.auth_key:
            self._register_at = now + self._poll_backoff.failed()  # a control that forgets each new one is not besieged
            return
        self._stop(facts.NodeRemoved(remedies.node_removed(self._address, text), fatal=True))

    # --- publishing ---------------------------------------------------------------------------------------------

    def _publish(self, uplink: Uplink, now: float) -> None:
        request = self._publisher.request(node_public(self._login.private), stream=False)
        self._publisher.sent(uplink.request("publish", "POST", MAP_PATH, request.encode()), now)

    def _end_update(self, now: float) -> None:
        """It was about a key that is no more: its answer must not be taken for one about the next."""
        if self._publisher.stream is not None and self._uplink is not None:
            self._uplink.cancel(self._publisher.stream)
            self._publisher.failed(now)

    def _published(self, exchange: Exchange, now: float) -> None:
        if exchange.status == 200:
            self._facts.append(facts.Published(self._publisher.succeeded(now)))
            return
        self._publisher.failed(now)
        if exchange.status == 404:
            self._node_removed(exchange.text, now)


def _refusal(exchange: Exchange) -> str:
    """Headscale 0.23 refuses by a whole RegisterResponse, whose Error is mostly empty; others by a line of text."""
    if exchange.text.startswith("{"):
        with contextlib.suppress(MalformedError):
            return RegisterResponse.decode(bytes(exchange.body)).error
    return exchange.text
