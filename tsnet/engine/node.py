"""The whole node as one synchronous object: control's netmaps go down, and what the node learns comes up as facts.

    receive   link events ─► control, relays          datagrams, relayed or not ─► Engine
    transmit  control's facts ─► Engine.apply, home   Engine ─► UDP runs, relays ─► effects
    facts     one ordered list for the owner, the edge

Joining: register ─► first netmap: Running ─► a relay answers: it is home, control is told at once ─► Reachable.
A dial may begin with the first netmap; it does not wait for Reachable.

Source: Go ipn/ipnlocal/local.go, wgengine/userspace.go.
Not here: the data path (`engine`), sockets and threads (`edge`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

import attrs

from netstack.stack import Endpoint
from tsnet.base.addresses import Destination, IPAddress, UdpAddress
from tsnet.base.crypto import disco_public, lock_public
from tsnet.base.keys import DiscoPrivateKey, MachineKey, NodePrivateKey
from tsnet.base.links import Effect, Event
from tsnet.base.wording import Wording, api
from tsnet.config import Config
from tsnet.control import facts as told
from tsnet.control.client import Client
from tsnet.derp import facts as relay
from tsnet.engine import facts, tsmp
from tsnet.engine.complaints import Complaints
from tsnet.engine.endpoints import Endpoints
from tsnet.engine.engine import UDP, Engine, udp_runs
from tsnet.engine.identity import Identity
from tsnet.engine.relays import Relays
from tsnet.engine.saved import CONTROL_KEY, IDENTITY, KnownControl, encode_control, encode_identity
from tsnet.engine.saves import Saves
from tsnet.errors import Error, KeyExpired, NotUp
from tsnet.netcheck.home import Home
from tsnet.netmap.model import NetMap
from tsnet.netmap.names import Names
from tsnet.netmap.whois import Whois

SUSPENDED_AFTER = 30.0
"""Seconds. If a turn comes this much later than it was due, the machine slept or was copied."""


class Node:
    def __init__(
        self,
        config: Config,
        identity: Identity,
        *,
        entropy: Callable[[int], bytes],
        now: float,
        wall: float,
        hostinfo: Mapping[str, Any],
        control_key: MachineKey | None = None,
        verifies_tls: bool = True,
    ) -> None:
        """identity: the store has it already. control_key: the key that was remembered of this control server.

        verifies_tls: whether a certificate that the edge accepts proves who the server is.
        """
        self.config = config
        self.identity: Identity = identity
        self.netmap: NetMap | None = None
        self.whois: Whois | None = None
        self.udp_room = True
        self.health: Complaints = Complaints()
        self._now = now
        self._facts: list[facts.Fact] = []
        self._saves = Saves()
        self._closing = self._left = self._expired = self._logging_out = False
        self._has_run = self._runs = self._is_refused = False
        self._leave_at = self._answer_by = math.inf  # until when streams may end, and a registration be answered
        self._published_home = -1
        self._known_home = 0  # what control was told last of where peers find us
        self._was_reachable = False
        self._control_at = -math.inf  # when control must be asked again: after every call, and when its time comes
        self._next_key: NodePrivateKey | None = None  # control knows it, or will: it is used once it is saved
        self._entropy = entropy
        disco_key, wall_offset, mark = DiscoPrivateKey(entropy(32)), wall - now, identity.timestamp_mark
        self.engine: Engine = Engine(
            identity.node_key, disco_key, entropy=entropy, now=now, wall_offset=wall_offset, timestamp_mark=mark
        )
        self.relays: Relays = Relays(identity.node_key, entropy=entropy, over_http=config.derp_over_http)
        self.home: Home = Home(entropy)
        self.endpoints: Endpoints = Endpoints(self.engine, entropy)
        self.control: Client = Client(
            config.control_url,
            machine_private=identity.machine_key,
            node_private=identity.node_key,
            disco_key=disco_public(disco_key),
            entropy=entropy,
            wall_offset=wall_offset,
            hostinfo={**hostinfo, "Hostname": config.hostname, "RequestTags": list(config.tags) or None},
            auth_key=config.auth_key or "",
            enrolled=identity.registered and not config.force_login,
            ephemeral=config.ephemeral,
            lock_key=lock_public(identity.lock_key),
            control_key=config.control_key,
            known_control_key=control_key,
            tls_verified=verifies_tls,
        )

    # --- what applications ask for --------------------------------------------------------------------------

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        return () if self.netmap is None else self.netmap.self_node.ips

    @property
    def waiting_for(self) -> str:
        """What a node that is not up yet waits for, as words for an error."""
        if self.netmap is not None:
            return "waiting for its peers"
        return "waiting for control's first netmap" if self.identity.registered else "waiting for control to accept it"

    @property
    def is_reachable(self) -> bool:
        """Whether peers can reach this node now: its home relay is connected, and control knows which that is."""
        home = self.home.region
        return home != 0 and home == self._known_home and self.relays.is_connected(home)

    @property
    def unreachable_because(self) -> str:
        """What keeps peers from reaching this node, as words for an error."""
        return self.relay_trouble() or "control does not know its relay yet"

    def relay_trouble(self, address: IPAddress | None = None) -> str:
        """What is wrong with the relays between this node and the peer that owns the address, or with our home's if
        there is no address: "relay region 1 (derp.example.com) cannot be reached: certificate: self-signed".

        Empty if all is well.
        """
        if address is not None:
            key = self.engine.egress.routes.lookup(address.packed)
            destination = None if key is None else self.engine.paths.route(key)
            if isinstance(destination, UdpAddress):
                return ""
            if destination is not None and (trouble := self.relays.trouble(destination.region, self._now)):
                return trouble
        home = self.home.region
        if home:
            return self.relays.trouble(home, self._now)
        return self.relays.troubles.worst or "no relay has answered yet"

    def ping_tsmp(self, address: IPAddress, data: bytes, now: float) -> None:
        """Send a TSMP ping with these 8 bytes (`Endpoints.ping_data`). PingAnswered follows if the peer answers."""
        self.engine.ping_tsmp(address.packed, data, now)

    # --- its life -------------------------------------------------------------------------------------------

    def retry(self, now: float) -> None:
        """Ask control again, as a new process would: somebody wants the node up after control had refused it."""
        self._to_control().retry(now)

    def set_wall_offset(self, wall_offset: float, now: float) -> None:
        """The wall clock was set. Unix time is now + wall_offset, in seconds."""
        self.engine.set_wall_offset(wall_offset, now)
        self._to_control().set_wall_offset(wall_offset, now)

    def saved(self, ticket: int, error: Error | None, now: float) -> None:
        """The answer to a Save. If error is None, what depends on the value may leave; else it waits for the retry."""
        thing = self._saves.answered(ticket, error, now)
        if error is not None:
            self._facts.append(facts.Problem(error, fatal=False))
            self._complain("state", [str(error)])
        elif self._saves.is_idle:
            self._complain("state", ())
        if isinstance(thing, Identity):
            self._identity_saved(thing, now)

    def _identity_saved(self, identity: Identity, now: float) -> None:
        if identity.node_key == self._next_key:
            self._use_key(identity.node_key, now)
        if identity.timestamp_mark is not None:
            self.engine.mark_saved(identity.timestamp_mark)

    # --- the end --------------------------------------------------------------------------------------------

    def begin_close(self, now: float, patience: float) -> None:
        """Open no new streams. An ephemeral node logs out when its streams have ended, at the latest after `patience`.

        patience: seconds, half of the time that closing may take.
        """
        self._closing = True
        self.endpoints.refusal = NotUp("the node is closing")
        self._leave_at = now + patience
        self._answer_by = now + 1.5 * patience
        self._left = not self.config.ephemeral

    def _leave(self, now: float) -> None:
        """Log out once it is time. Logging out makes the peers forget us, so streams must end before it."""
        if self._closing and not self._left and (now >= self._leave_at or self.engine.is_quiet):
            self._leave_at = math.inf
            if not self._logging_out:
                self._logging_out = True
                self._to_control().logout(now, by=self._answer_by)

    @property
    def is_closed(self) -> bool:
        """Whether nothing is left to wait for: every stream has ended, and an ephemeral node's logout is over."""
        return self._closing and self._left and self.engine.is_quiet

    def shut(self, now: float) -> None:
        """Reset what is still open: the time for closing is up."""
        self.engine.stack.close(now)

    # --- the verbs ------------------------------------------------------------------------------------------

    def receive(self, runs: Iterable[tuple[UdpAddress, Sequence[bytes]]], events: Iterable[Event], now: float) -> None:
        now = self._clamp(now)
        arrived: list[tuple[Destination, Sequence[bytes]]] = [*runs, *self.relays.read(now)]
        for event in events:
            if event.link.room == "derp":
                arrived += self.relays.receive(event, now)
            else:
                self._to_control().receive(event, now)
        self._take_relay_facts(now)
        self._take_control_facts(now)
        if arrived:
            self.engine.receive(arrived, now)
            self._take_messages()

    def transmit(self, now: float, budget: int) -> tuple[list[tuple[UdpAddress, list[bytes]]], list[Effect]]:
        """What must go out now: datagrams by destination, and effects on links."""
        now = self._clamp(now)
        self._take_control_facts(now)
        self._hold_what_is_full()
        udp, relayed = udp_runs(self.engine.transmit(now, budget))
        for destination, packets in relayed:
            self.engine.paths.wrote(destination.region, now)
            self.relays.send(destination, packets, now)
        self.home.transmit(now)
        self._facts += self._saves.tick(now)
        self._settle(now)
        self._leave(now)
        effects = self._from_control(now, budget)
        effects += self.relays.transmit(now, budget)
        self._take_relay_facts(now)
        mark = self.engine.take_mark()
        if mark is not None:
            self._remember(timestamp_mark=mark)
        return udp, effects

    def deadline(self) -> float:
        return min(
            self._control_at,
            self.engine.deadline(),
            self.relays.deadline(),
            self.home.deadline(),
            math.inf if self._left else self._leave_at,
            self._saves.retry_at,
        )

    def take_facts(self) -> list[facts.Fact]:
        """The facts since the last call, in order."""
        found, self._facts = self._facts, []
        return found

    def take_ready(self) -> list[Endpoint]:
        return self.engine.stack.take_ready()

    def _clamp(self, now: float) -> float:
        """`now`, but never earlier than before. A gap of SUSPENDED_AFTER is taken for a suspension of the machine."""
        if now - self._now > SUSPENDED_AFTER and self.deadline() < now - SUSPENDED_AFTER:
            self.engine.suspended(now)
            self.home.measure_all(now)
        self._now = max(self._now, now)
        return self._now

    def _hold_what_is_full(self) -> None:
        full = {region for region, client in self.relays.clients.items() if not client.has_room}
        if not self.udp_room:
            full.add(UDP)
        self.engine.set_full(full)

    # --- home -----------------------------------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        """Connect to the regions that somebody wants, and tell control of a new home at once."""
        self.relays.want(self._regions_wanted(now), now)
        if self.relays.troubles:
            self._tell_troubles(now)
        home = self.home.region
        if home == self._published_home or (not home and self._published_home < 0):
            return
        self._published_home = home
        self.relays.set_home(home, now)
        self.engine.paths.set_home(home, now)
        self._to_control().set_net_info(self.home.net_info(), now)
        self._facts.append(facts.HomeChanged(home))
        self._tell_if_reachable()

    def _regions_wanted(self, now: float) -> set[int]:
        return self.home.regions_wanted() | self.engine.paths.regions_wanted(now)

    def _take_relay_facts(self, now: float) -> None:
        found = self.relays.take_facts()
        for fact in found:
            match fact:
                case relay.Connected(region, latency):
                    self.relays.troubles.mended(region)
                    self.home.answered(region, latency, now)
                    self._settle(now)
                    self.engine.relay_connected(region, now)
                    self._facts.append(facts.RelayChanged(region, True))
                case relay.Disconnected(region, reason):
                    is_news = self.relays.troubles.failed(fact, now)
                    self.home.failed(region, now, hopeless=fact.is_hopeless)
                    self._relay_lost(region, now)
                    if is_news:
                        self._facts.append(facts.RelayChanged(region, False, reason))
                case relay.Left(region):
                    self._relay_lost(region, now)
                    self._facts.append(facts.RelayChanged(region, False, "not needed"))
                case relay.PeerGone(region, key, _reason):
                    self.engine.paths.peer_gone(region, key)
                case relay.RelayHealth(region, text):
                    self._complain(f"relay {region}", [f"relay region {region} says: {text}"] if text else [])
                case relay.Measured() | relay.Restarting():
                    pass  # a Ping that queued behind packets measures no distance; a relay that restarts is redialled
        if found:
            self._tell_troubles(now)
            self._tell_if_reachable()

    def _relay_lost(self, region: int, now: float) -> None:
        self.engine.paths.disconnected(region, now)
        self.engine.release(region)
        self._complain(f"relay {region}", [])

    def _tell_troubles(self, now: float) -> None:
        """Report the troubles of relays that are needed. Without a home all are needed, also between two attempts."""
        troubles = self.relays.troubles
        if self.home.region:
            troubles.keep(self._regions_wanted(now))
        self._complain("relays", troubles.messages)

    def _complain(self, source: str, messages: Iterable[str]) -> None:
        if self.health.set(source, messages):
            self._facts.append(facts.Health(self.health.messages))

    def _tell_if_reachable(self) -> None:
        """Tell Reachable each time that `is_reachable` becomes true."""
        before, self._was_reachable = self._was_reachable, self.is_reachable
        if self._was_reachable and not before:
            self._facts.append(facts.Reachable(self.home.region))

    # --- control --------------------------------------------------------------------------------------------

    def _to_control(self) -> Client:
        """Control's client, for a call after which it may have something to send."""
        self._control_at = -math.inf
        return self.control

    def _from_control(self, now: float, budget: int) -> list[Effect]:
        """What control's client has to send. It is asked only when it is due: in most turns it is not."""
        if now < self._control_at:
            return []
        effects = self.control.transmit(now, budget)
        self._take_control_facts(now)
        self._control_at = self.control.deadline()
        return effects

    def _take_control_facts(self, now: float) -> None:
        for fact in self.control.take_facts():
            self._told(fact, now)

    def _told(self, fact: told.Fact, now: float) -> None:
        match fact:
            case told.NetMapChanged(netmap):
                self._apply(netmap, now)
            case told.LoginUrl(url):
                self._facts.append(facts.LoginUrl(url))
            case told.Connected():
                self.home.control_listens(True, now)
            case told.Disconnected():
                self.home.control_listens(False, now)
            case told.Published(region):
                self._known_home = region
                self._tell_if_reachable()
            case told.DuplicateNode(reason):
                self._facts.append(facts.DuplicateNode(reason))
            case told.ControlHealth(messages):
                self._complain("control", messages)
            case told.MapHealth(message):
                self._complain("map", (message,) if message else ())
            case told.Problem(error, fatal):
                self._left = self._left or fatal
                if fatal:
                    self._runs, self._is_refused = False, True
                self._facts.append(facts.Problem(error, fatal))
            case _:
                self._told_of_keys(fact, now)

    def _told_of_keys(self, fact: told.Fact, now: float) -> None:
        match fact:
            case told.LoggedIn(user):
                self._is_refused = False
                self._remember(registered=True, login_name=user.login_name)
                self._facts.append(facts.LoggedIn(user))
            case told.LoggedOut():
                self._left = True
                fresh = NodePrivateKey(self._entropy(32))  # for whoever logs in next, which is another node
                self._remember(node_key=fresh, registered=False, old_node_key=None, stable_id="", login_name="")
            case told.NodeKeyRotated(private, old):
                self._next_key = private
                self._remember(node_key=private, old_node_key=old, registered=False)  # `saved` puts the key to use
            case told.KeyExpired():
                self._expired, self._runs = True, False
                self.endpoints.refusal = error = _expired(self.config)
                self._facts += [facts.Problem(error, fatal=False), facts.Expired(error)]
            case told.KeyExtended():
                self.engine.sessions_lost(now)
                self._is_valid_again()
            case told.ControlKey(key):
                self._remember_control(key)
            case told.NewControlKey(key, before):
                self._remember_control(key)
                self._facts.append(facts.Notice(_new_control_key(self.config, key, before)))

    def _apply(self, netmap: NetMap, now: float) -> None:
        """Give all rooms the new netmap. Nothing in here raises, so none of them is left with the old one."""
        before, self.netmap = self.netmap, netmap
        self.endpoints.names, self.whois = Names(netmap), None
        self.engine.apply(netmap, now)
        self.whois = Whois(netmap, self.engine.packet_filter.rules)
        self.relays.apply(netmap.derp_map)
        self.home.set_map(netmap.derp_map, now)
        self._settle(now)
        stable_id = netmap.self_node.stable_id
        if stable_id != self.identity.stable_id:
            self._remember(stable_id=stable_id)
        if before is not None and self._has_run:
            self._facts += _differences(before, netmap)
        self._tell_if_running()

    def _is_valid_again(self) -> None:
        """The key is no longer expired, or another one has taken its place."""
        self._expired = self._is_refused = False
        if not self._closing:
            self.endpoints.refusal = None
        if self._has_run:  # else the netmap that follows tells it
            self._tell_if_running()

    def _tell_if_running(self) -> None:
        """Tell Running once, and again after an expiry or a refusal."""
        if self.netmap is not None and not (self._runs or self._expired or self._is_refused):
            self._runs = self._has_run = True
            self._facts.append(facts.Running(self.netmap))

    def _remember_control(self, key: MachineKey) -> None:
        known = KnownControl(self.config.control_url, key)
        self._facts.append(self._saves.want(CONTROL_KEY, encode_control(known), known))

    def _use_key(self, private: NodePrivateKey, now: float) -> None:
        self._next_key = None
        self.engine.set_node_key(private, now)
        self.relays.set_private_key(private)
        self._is_valid_again()
        self._to_control().key_saved(now)

    def _remember(self, **changes: Any) -> None:
        identity = attrs.evolve(self.identity, **changes)
        if identity != self.identity:
            self.identity = identity
            self._facts.append(self._saves.want(IDENTITY, encode_identity(identity), identity))

    def _take_messages(self) -> None:
        for _key, address, message in self.engine.take_messages():
            if isinstance(message, tsmp.TsmpPong):
                self._facts.append(facts.PingAnswered(message.data, ip_address(address)))


def _expired(config: Config) -> KeyExpired:
    return KeyExpired(
        Wording(
            f"the key of {config.hostname} has expired at {config.control_url}: start it again with a new ",
            api("auth_key="),
            ", or extend the key at control",
        )
    )


def _new_control_key(config: Config, key: MachineKey, before: MachineKey) -> str:
    by_certificate = "its certificate says that it is the same server"
    why = (by_certificate,) if config.control_key is None else (api("control_key="), " names it")
    return Wording(
        f"control at {config.control_url} has another key than before, and ",
        *why,
        f": {key} is remembered in place of {before}",
    )


def _differences(before: NetMap, after: NetMap) -> list[facts.Fact]:
    """The facts that tell the two netmaps apart. Peers that left come first."""
    found: list[facts.Fact] = []
    found += [facts.PeerLeft(peer) for number, peer in before.peers.items() if number not in after.peers]
    for number, peer in after.peers.items():
        known = before.peers.get(number)
        if known is None:
            found.append(facts.PeerAppeared(peer))
        elif known != peer:
            found.append(facts.PeerChanged(peer, known))
    found.append(facts.NetMapChanged(after))
    return found
