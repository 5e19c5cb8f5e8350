"""The node's side of the control protocol: find the server, log in, publish ourselves, follow the netmap.

    /key (TLS verified) ─┐
    link opened ─────────┴─> channel ready ─> register ─┬─> map poll ........ NetMapChanged, again and again
                                                        ├─> lite update ..... whenever something about us changes
                                                        └─> any request ..... whenever somebody asks

| what ends                    | what follows                                                                      |
|------------------------------|-----------------------------------------------------------------------------------|
| the link, the watchdog       | Disconnected, a new channel after a backoff; after 3 failures we ask /key again   |
| the map stream alone         | a new poll on the same channel after a backoff (`maproutine`)                     |
| the node, deleted: HTTP 404  | an ephemeral one with a key registers anew as a new node; others NodeRemoved      |
| the node key, expired        | the map of the old key is followed while a login waits: once it is extended,      |
|                              | the login is given up and the node goes on                                        |
| registration refused         | fatal Problem; no registration until `retry` or `login`                           |
| a hopeless server, never met | fatal Problem (certificate, no control server, wrong or changed key)              |
| another server key, met      | Problem, once (`serverkey`); the netmap stays; again until the old one answers    |
| HTTP 429 and 503             | again after Retry-After (`backoff`)                                               |

`retry` begins anew after any fatal Problem; after a logout only `login` does.

`transmit` returns everything that leaves, as effects on links of the room "control". Both it and `receive` work off a
bounded part of what control has sent; while more is left, the deadline is due and the link paused.

A node that control knows asks for its map together with its first registration, and need not wait for that answer.
A node that has a `credential` in an auth key's place asks for a key while the channel is made (`keyexchange`), and
registers once it has both.

Every request is made only while the server takes one more stream; the others stay due, and pings wait in a short queue.

dropped: "late" (an event of a link long gone), "map-refused" (a message that is malformed or too large), "ping-…",
"flood of …" (connections that were given up because control sent too much of nothing).

Source: Go control/controlclient/{auto,direct}.go.
Not here: what each part does (`controlconnection`, `authroutine`, `maproutine`, `publisher`, `pings`, `requests`), and
what an answer of control means for the node (`membership`).
"""

from __future__ import annotations

import functools
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, assert_never

from tsnet.base.crypto import node_public
from tsnet.base.keys import DiscoKey, LockKey, MachineKey, MachinePrivateKey, NodePrivateKey
from tsnet.base.links import Computed, Data, Effect, Event, Link
from tsnet.base.trace import Trace
from tsnet.control.client import controlerrors, facts
from tsnet.control.client.address import ControlAddress
from tsnet.control.client.authroutine import AuthRoutine
from tsnet.control.client.backoff import Backoff
from tsnet.control.client.c2n import NO_REJECTS, Shown
from tsnet.control.client.controlconnection import ControlConnection, Exchange, Lost, Piece
from tsnet.control.client.facts import Fact
from tsnet.control.client.login import Login
from tsnet.control.client.mappoll import MESSAGES_A_TURN
from tsnet.control.client.maproutine import Heard, MapRoutine
from tsnet.control.client.membership import Membership
from tsnet.control.client.pings import MAX_POSTS, Pings
from tsnet.control.client.publisher import Endpoint, Publisher
from tsnet.control.client.requests import REQUEST_TIMEOUT, OtherRequests
from tsnet.control.client.serverkey import ServerKey
from tsnet.control.messages import PingRequest

if TYPE_CHECKING:
    from tsnet.base.credentials import Credential
    from tsnet.control.client.keyexchange import KeyExchange


class Client:
    """One node at one control server. It connects with the first `transmit`.

    wall_offset: Unix time = now + wall_offset. enrolled: the node key has been accepted before, so the auth key is
    shown only if control asks for it. credential: gets an auth key each time that one is needed.
    hostinfo: tailcfg.Hostinfo by JSON names; RequestTags are the tags to ask for.

    control_key: the only server key to trust. known_control_key: the key that was told last as ControlKey or
    NewControlKey for this URL, here or in an earlier process. tls_verified: whether certificates of links are checked.
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
        credential: Credential | None = None,
        enrolled: bool = False,
        ephemeral: bool = False,
        lock_key: LockKey | None = None,
        control_key: MachineKey | None = None,
        known_control_key: MachineKey | None = None,
        tls_verified: bool = True,
        trace: Trace | None = None,
    ) -> None:
        self._trace = trace
        self._generation = 0
        self.dropped: Counter[str] = Counter()
        self.health: tuple[str, ...] = ()
        """What the node finds wrong, if control asks; the owner keeps it current."""
        self.rejected: Mapping[str, Any] = NO_REJECTS
        """The flows that were rejected, as Go's DebugRejectsResponse; likewise."""
        self._address = ControlAddress.parse(control_url)
        self._machine_private, self._entropy = machine_private, entropy
        self._server_key = ServerKey(
            pinned=control_key, known=known_control_key, verified=self._address.secure and tls_verified
        )
        told = self._facts = list[Fact]()
        self._effects: list[Effect] = []
        self._login = Login(
            node_private,
            auth_key=auth_key,
            enrolled=enrolled,
            ephemeral=ephemeral,
            lock_key=lock_key,
            entropy=entropy,
            mints=credential is not None,
            rejoins=credential is not None and credential.is_ephemeral,
        )
        self._keys = None if credential is None else self._exchange(credential, wall_offset)
        self._auth = AuthRoutine(self._address, self._login, entropy=entropy, told=told, trace=trace)
        self._map = MapRoutine(
            self._address, disco_key, wall_offset, entropy=entropy, told=told, dropped=self.dropped, trace=trace
        )
        self._publisher = Publisher(disco_key, hostinfo, entropy)
        parts = self._login, self._auth, self._map, self._publisher
        self._membership = Membership(self._address, self._server_key, *parts, told=told, trace=trace)
        self._pings = Pings(self._address, self._new_link, self.dropped, trace)
        self._requests = OtherRequests(self._address)
        self._page = self._told_page = ""  # a page that control would like somebody to see; the last one of those
        self._uplink: ControlConnection | None = None
        self._found: deque[Exchange | Piece] = deque()
        """What the connection brought and what is not worked off yet."""
        self._connect_backoff = Backoff(entropy)
        self._connect_at = -math.inf

    def __repr__(self) -> str:
        return f"<control.Client of {self._address.url}>"

    # --- the application's side ---------------------------------------------------------------------------------

    def set_hostinfo(self, hostinfo: Mapping[str, Any], now: float) -> None:
        self._publisher.set_hostinfo(hostinfo, now)
        self._advance(now)

    @property
    def hostinfo_is_known(self) -> bool:
        """Whether control has stored the latest Hostinfo. Published tells each time that it has stored something."""
        return self._publisher.hostinfo_is_known

    @property
    def is_connected(self) -> bool:
        """Whether a map stream runs, so that control's word is of now."""
        return self._membership.is_connected

    @property
    def has_logged_out(self) -> bool:
        """Whether a logout is over, and no login has begun since."""
        return self._membership.has_logged_out

    @property
    def waiting_for_key(self) -> str:
        """What keeps it from registering, as words for an error; "" if that is not an auth key of its own."""
        return self._keys.waiting_for if self._keys is not None and self._auth.needs_key else ""

    def set_net_info(self, net_info: Mapping[str, Any], now: float) -> None:
        """Publish tailcfg.NetInfo by JSON names, as soon as control may be told. PreferredDERP is our home."""
        self._publisher.set_net_info(net_info, now)
        self._advance(now)

    def set_endpoints(self, endpoints: Iterable[Endpoint], now: float) -> None:
        self._publisher.set_endpoints(endpoints, now)
        self._advance(now)

    def set_wall_offset(self, wall_offset: float, now: float) -> None:
        """The wall clock was set: judge anew what has expired."""
        self._map.session.set_wall_offset(wall_offset, now)
        if self._keys is not None:
            self._keys.wall_offset = wall_offset
        self._advance(now)

    def key_saved(self, now: float) -> None:
        """The key of NodeKeyRotated is saved: use it from now on."""
        self._auth.key_is_saved = True
        self._advance(now)

    def login(self, now: float, auth_key: str = "") -> int:
        """Log in anew: the key has expired, the cause of a fatal Problem is mended, or somebody else is to own the
        node. A key that control knows is replaced by a new one, and stays in use until that is accepted. LoginEnded
        follows with the returned number, unless another login begins before that.
        """
        number = self._membership.login(now, auth_key)
        self._advance(now)
        return number

    def retry(self, now: float) -> None:
        """Somebody wants this node up: after a fatal Problem begin from the beginning, as a new process would.

        It also looks at once whether an expired key has been extended. A wait that control asked for goes on all the
        same. While an attempt is under way, and during and after a logout, it does nothing.
        """
        self._membership.retry(now)
        self._advance(now)

    def network_changed(self, now: float, *, anew: bool) -> None:
        """The connection must show that it lives, or end; the wait for another one is over.

        anew: the internet is reached by another way. A connection that is not ready yet begins anew then. A wait that
        control asked for goes on.
        """
        if self._keys is not None:
            self._keys.hurry(now)
        if self._uplink is None:
            self._connect_at = self._connect_backoff.begin_anew(now)
        elif self._uplink.ready:
            self._uplink.doubt(now)
        elif anew and self._uplink.lost is None:
            self._drop_uplink()
            self._connect_at = self._connect_backoff.begin_anew(now)
        self._advance(now)

    def logout(self, now: float, by: float = math.inf) -> None:
        """Give the node up; LoggedOut follows when control has answered, at once if control never knew the node.

        We wait for a registration under way until `by`; then its key is logged out without its answer.
        """
        self._auth.leave(now, by, connected=self._is_ready)
        self._membership.check_left()
        self._advance(now)

    def answer_ping(self, ping: PingRequest, response: Mapping[str, Any], now: float) -> None:
        """Send the result of a PingRequested, with the fields of tailcfg.PingResponse."""
        self._pings.answer(ping, response, now)
        self._advance(now)

    def request(
        self,
        path: str,
        body: bytes,
        now: float,
        *,
        method: str = "POST",
        timeout: float = REQUEST_TIMEOUT,
        repeatable: bool = False,
    ) -> int:
        """Ask control for anything. Returns a ticket; Answered follows with it, within `timeout` seconds.

        A request that control may have seen when the connection ended is sent again only if it is `repeatable`. Raises
        TooManyRequests, MessageTooLong and ConfigError, see `requests`.
        """
        ticket = self._requests.request(path, body, now, method=method, timeout=timeout, repeatable=repeatable)
        self._advance(now)
        return ticket

    def cancel(self, ticket: int, now: float) -> None:
        """Nobody waits for that request's answer any more. No Answered follows, unless it was told already."""
        self._requests.cancel(ticket, self._uplink)
        self._advance(now)

    # --- the four verbs -----------------------------------------------------------------------------------------

    def receive(self, event: Event, now: float) -> None:
        uplink = self._uplink
        if self._keys is not None and self._keys.owns(event.link):
            self._keys.receive(event, now)
        elif isinstance(event, Computed):
            self._hear(self._map.computed(event, now), now)
        elif uplink is not None and uplink.owns(event.link):
            self._found += uplink.receive(event, now)
            date, uplink.date = uplink.date, None
            if date is not None:
                self._map.session.hear_date(date, now)
            self._work_off(now)
        elif event.link.name == "ping":
            self._pings.receive(event, now)
        else:
            self.dropped["late"] += 1
        self._advance(now)

    def transmit(self, now: float, budget: int = 1 << 20) -> list[Effect]:
        self._tick(now)
        if self._is_busy:
            self._work_off(now)
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
        if self._effects or self._is_busy or (self._uplink is not None and self._uplink.lost is not None):
            return -math.inf
        return min(at for at, _reason in self.timers())

    def why(self) -> str:
        """What the deadline is for, in a word."""
        return min(self.timers())[1]

    def take_facts(self) -> list[Fact]:
        taken = self._facts.copy()
        self._facts.clear()
        if self._page:
            taken.append(facts.BrowserRequested(self._page))
            self._page = ""
        return taken

    def timers(self) -> Iterable[tuple[float, str]]:
        """When something is due without any event, and what it is."""
        yield math.inf, "nothing"
        yield self._pings.deadline(), "ping"
        yield self._requests.deadline(), "request"
        if self._keys is not None:
            yield self._keys.deadline(), "key exchange"
            if self._auth.needs_key and not self._keys.is_asking:
                yield self._keys.ask_at, "ask for a key"
        yield from self._map.timers()
        if not self._membership.wants_connection:
            return
        yield self._auth.by, "register_by"
        yield self._publisher.answer_by, "publish_by"
        if self._uplink is None:
            yield self._connect_at, "connect"
            return
        yield self._uplink.ready_by, "ready_by"
        yield self._uplink.slow_at, "slow_at"
        yield self._uplink.taken_by, "taken_by"
        yield self._uplink.room_by, "room_by"
        yield self._uplink.heard_by, "heard_by"
        if self._uplink.usable:
            yield from self._auth.timers()
            if self._may_poll:
                yield self._map.at, "poll"
            if self._may_publish:
                yield self._publisher.at, "publish"

    # --- what is due --------------------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        """Give up what has taken too long."""
        self._requests.tick(now, self._uplink)
        self._map.session.tick(now)
        if self._uplink is None:
            return
        self._uplink.tick(now)
        if self._uplink.is_slow:
            self._uplink.is_slow = False
            self._membership.waits()
        if now >= self._map.watchdog_at:
            self._lose("no word from control for two minutes", now)
        elif now >= self._auth.by:
            self._lose("no answer to the registration", now, is_news=not self._auth.awaits_a_person)
        elif now >= self._publisher.answer_by:
            self._lose("no answer to an update", now)

    def _advance(self, now: float) -> None:
        """Do everything that can be done now, and collect the effects and facts of the parts."""
        if self._uplink is not None and self._uplink.lost is not None:
            self._lost(self._uplink.lost, now)
        if self._keys is not None:
            self._get_key(self._keys, now)
        if not self._membership.wants_connection:
            self._drop_uplink()
            self._connect_at = -math.inf
        elif self._uplink is None and now >= self._connect_at:
            self._connect(now)
        if self._uplink is not None:
            if self._uplink.ready:
                self._server_key.proven(self._uplink.control_key)
                self._connect_backoff.succeeded(now)
            if self._auth.leaving and not self._uplink.usable:
                self._map.end()  # the logout may need its stream
            self._ask(self._uplink, now)
            self._uplink.look(now)
            self._effects += self._uplink.transmit(busy=bool(self._found) or self._map.has_more)
        self._effects += [*self._map.take_effects(), *self._pings.take_effects(now)]
        found = self._map.session.take_facts()
        if self._auth.leaving:  # it is what we ask for
            found = [fact for fact in found if not isinstance(fact, facts.KeyExpired)]
        self._facts += [*found, *self._membership.take_login_end()]
        self._facts += [*self._pings.take_facts(), *self._requests.take_facts()]

    def _exchange(self, credential: Credential, wall_offset: float) -> KeyExchange:
        from tsnet.control.client.keyexchange import KeyExchange  # most nodes join by a key that they were given

        return KeyExchange(
            credential, new_link=self._new_link, entropy=self._entropy, wall_offset=wall_offset, trace=self._trace
        )

    def _get_key(self, keys: KeyExchange, now: float) -> None:
        """Ask for the auth key that a registration waits for, and hand it over once it is there."""
        self._effects += keys.transmit(now)
        outcome = keys.take_outcome()
        if isinstance(outcome, str):
            self._login.take_key(outcome)
        elif outcome is not None:
            self._membership.no_key(outcome.error, is_final=outcome.is_final)
        if self._auth.needs_key:
            keys.ask(now)
        elif keys.is_asking:
            keys.cancel()
        self._effects += keys.transmit(now)

    def _ask(self, uplink: ControlConnection, now: float) -> None:
        """Make the requests that are due, in this order, as long as the server takes another one."""
        if uplink.usable:
            was_asking = self._auth.is_confirming
            self._auth.ask(uplink, self._publisher.hostinfo, now)
            if self._auth.is_confirming and not was_asking:
                self._publisher.change(now)
        if self._may_poll and now >= self._map.at and uplink.usable:
            request = self._publisher.request(node_public(self._login.private), stream=True)
            self._map.begin(uplink, request, self._new_link("map"), now)
        if self._may_publish and now >= self._publisher.at and uplink.usable:
            self._publisher.ask(uplink, node_public(self._login.private), now)
        while uplink.usable and uplink.asked("ping") < MAX_POSTS and (post := self._pings.take_post()) is not None:
            uplink.request("ping", post.method, post.path, post.body)
        if not self._auth.leaving:
            self._requests.ask(uplink)

    @property
    def _is_ready(self) -> bool:
        """Whether there is a connection to a server that has proved its key."""
        return self._uplink is not None and self._uplink.lost is None and self._uplink.ready

    @property
    def _is_busy(self) -> bool:
        """Whether there is something to work off now."""
        if self._map.has_more:
            return True
        if self._found:
            return not self._map.is_computing
        return self._uplink is not None and self._uplink.has_input

    def _work_off(self, now: float) -> None:
        """A turn's part of what the connection has brought: answers, and about MESSAGES_A_TURN of the map."""
        if not self._found and self._uplink is not None:
            self._found += self._uplink.read(now)
        heard = self._hear(self._map.go_on(now), now)
        while self._found and heard < MESSAGES_A_TURN and not self._map.has_more and not self._map.is_computing:
            heard += self._dispatch(self._found.popleft(), now)

    def _dispatch(self, found: Exchange | Piece, now: float) -> int:
        """Returns how many map messages that brought."""
        if self._uplink is None or not self._membership.wants_connection or not self._uplink.wants(found):
            return 0
        if isinstance(found, Piece):
            return self._hear(self._map.receive(found, now), now)
        match found.purpose:
            case "register":
                self._membership.register_answered(found, now)
            case "recheck":
                self._membership.rechecked(found, now)
            case "logout":
                self._auth.logout_answer(found, now)
                self._membership.check_left()
            case "poll":
                self._membership.poll_ended(found, now)
            case "publish":
                self._membership.published(found, now)
            case "request":
                self._requests.answered(found)
            case "ping":
                pass  # control has what it asked for
            case _:
                assert_never(found.purpose)
        return 0

    @property
    def _may_poll(self) -> bool:
        idle = not self._map.is_polling and not self._auth.leaving
        wanted = self._membership.follows or self._auth.is_confirming
        return wanted and self._auth.key_is_saved and idle

    @property
    def _may_publish(self) -> bool:
        """Not while control is just giving us another key: Headscale loses the new one over an update from the old."""
        if self._publisher.stream is not None or self._auth.leaving or not self._auth.key_is_saved:
            return False
        return self._auth.is_confirming or (self._membership.is_registered and not self._auth.is_asking)

    # --- connecting ---------------------------------------------------------------------------------------------

    def _new_link(self, what: str) -> Link:
        self._generation += 1
        return Link("control", what, self._generation)

    def _connect(self, now: float) -> None:
        if self._trace is not None:
            self._trace("connecting", url=self._address.url)
        key, asks = self._server_key.connecting(met=self._membership.has_met)
        self._uplink = ControlConnection(
            self._address,
            self._machine_private,
            control_key=key,
            asks=asks,
            objection=functools.partial(self._server_key.objection, self._address),
            new_link=self._new_link,
            entropy=self._entropy,
            now=now,
            trace=self._trace,
        )

    def _lose(self, reason: str, now: float, *, is_news: bool = True) -> None:
        """Give the connection up."""
        self._lost(Lost(reason, controlerrors.unreachable(self._address, reason)), now, is_news=is_news)

    def _lost(self, lost: Lost, now: float, *, is_news: bool = True) -> None:
        """Clear away what is left of the connection; connect again after a backoff, or stop.

        is_news: False if nothing is wrong, since control is silent for as long as nobody visits a login URL.
        """
        self._drop_uplink()
        self._publisher.lost(now)
        self._connect_at = now + self._connect_backoff.failed(now, lost.answer)
        if self._trace is not None:
            self._trace("connection lost", why=lost.reason, again_in=self._connect_at - now)
        self._membership.lost(lost, is_news=is_news)

    def _drop_uplink(self) -> None:
        if self._uplink is None:
            return
        self._effects += self._uplink.close()
        if self._uplink.flood:
            self.dropped[self._uplink.flood] += 1
        self._uplink = None
        self._found.clear()
        self._auth.lost()
        self._map.lost()
        self._pings.take_posts()
        self._requests.lost()

    # --- the map ------------------------------------------------------------------------------------------------

    def _hear(self, heard: list[Heard], now: float) -> int:
        """Do what map messages ask for beside the netmap; returns how many there were."""
        for one in heard:
            response = one.response
            if response.ping is not None:
                self._pings.shown = Shown(self._map.session.netmap, self.health, self.rejected)
                self._pings.requested(response.ping, now)
            if response.pop_browser_url not in ("", self._told_page):
                self._page = self._told_page = response.pop_browser_url
            if one.is_first:
                self._membership.reached()
            elif response.is_empty and not response.keep_alive:
                self._publisher.doubt(now)
        if heard:
            self._membership.look_for_an_extension(now)
        return len(heard)
