"""The whole node as one synchronous object: control's netmaps go down, and what the node learns comes up as facts.

    receive   link events ─► control, relays          datagrams, relayed or not ─► Engine
    transmit  control's facts ─► Engine.apply, home   Engine ─► UDP runs, relays ─► effects
    facts     one ordered list for the owner, the edge

Joining: register ─► first netmap: Running ─► a relay answers: it is home, control is told at once ─► Reachable.
A dial may begin with the first netmap; it does not wait for Reachable.

Its rooms share that list, so that facts keep their order whoever adds them: `controlword` (what control tells),
`admittance` (whether control lets it run), `reachability` (home and relays), `surroundings` (the network around it),
`preferences` (what may change), `remembered` (what is saved), `leaving` (its end), `healthmessages` (health).

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
from tsnet.base.keys import DiscoPrivateKey, MachineKey, NodeKey
from tsnet.base.links import Computed, Effect, Event
from tsnet.base.network import Network
from tsnet.base.trace import Trace, Tracer, trace_of
from tsnet.base.unsent import Unsent
from tsnet.config import Config
from tsnet.control.client.client import Client
from tsnet.engine import facts, tsmp
from tsnet.engine.admittance import Admittance
from tsnet.engine.askedpings import AskedPings
from tsnet.engine.assembly import Assembly
from tsnet.engine.attributes import NodeAttributes
from tsnet.engine.cachednetmap import CachedNetmap
from tsnet.engine.controlword import ControlWord
from tsnet.engine.derprelays import Relays
from tsnet.engine.engine import UDP, Engine, udp_runs
from tsnet.engine.factqueue import FactQueue
from tsnet.engine.healthmessages import HealthMessages
from tsnet.engine.homerelay import HomeRelay
from tsnet.engine.identity import Identity
from tsnet.engine.leaving import Leaving
from tsnet.engine.netmapadoption import Adoption
from tsnet.engine.peerpath import PeerPath, path_by
from tsnet.engine.portmapping import PortMapping
from tsnet.engine.preferences import Preferences
from tsnet.engine.reachability import Reachability
from tsnet.engine.remembered import Remembered
from tsnet.engine.sleep import Sleep
from tsnet.engine.socketcalls import SocketCalls
from tsnet.engine.surroundings import Surroundings
from tsnet.engine.view import NodeView
from tsnet.engine.when_due import WhenDue
from tsnet.errors import Error, NotUp
from tsnet.netcheck.home import Home
from tsnet.netmap.model import NetMap
from tsnet.prefs import Prefs
from tsnet.wireguard.keylog import KeyLog


class Node:
    def __init__(
        self,
        config: Config,
        prefs: Prefs,
        identity: Identity,
        *,
        entropy: Callable[[int], bytes],
        now: float,
        wall: float,
        hostinfo: Mapping[str, Any],
        control_key: MachineKey | None = None,
        last_port: int = 0,
        kept_netmap: bytes = b"",
        kept_home: bytes = b"",
        verifies_tls: bool = True,
        tracer: Tracer | None = None,
        key_log: KeyLog | None = None,
    ) -> None:
        """prefs: in force until `set_prefs`. identity: the store has it already.

        hostinfo: what this machine is. control_key: the key that was remembered of this control server. last_port: the
        UDP port that is saved, or 0. kept_netmap, kept_home: what is saved of a netmap (`cachednetmap`), of our relay
        (`homerelay`). verifies_tls: whether a certificate that the edge accepts proves who the server is. tracer: gives
        each room its trace. key_log: is given the secrets of handshakes.
        """
        self.config = config
        self.view: NodeView | None = None
        self.udp_room: bool = True
        self.udp_port: int = 0
        self._now, self._entropy = now, entropy
        self._upkeep_at, self._known_port, self._due = -math.inf, 0, math.inf
        self._facts: FactQueue = FactQueue()
        self.trace: Trace | None = trace_of(tracer, "node")
        self.preferences: Preferences = Preferences(prefs, hostinfo, config.tags, told=self._facts)
        self.health: HealthMessages = HealthMessages(self._facts)
        self.remembered: Remembered = Remembered(identity, config, last_port, health=self.health, told=self._facts)
        self.admittance: Admittance = Admittance(self._facts, trace=self.trace)
        made = Assembly(config, identity, DiscoPrivateKey(entropy(32)), entropy, now=now, wall=wall, tracer=tracer)
        self.cached: CachedNetmap = made.cached(kept_netmap)
        self.engine: Engine = made.engine(key_log)
        self.engine.set_shields_up(prefs.shields_up)
        self.adoption: Adoption = Adoption(self.engine)
        self.relays: Relays = made.relays()
        self.home: Home = Home(entropy, trace=trace_of(tracer, "netcheck"))
        self.calls: SocketCalls = SocketCalls(self.engine, entropy, trace=self.trace)
        self.asked_pings: AskedPings = AskedPings(self.engine, entropy)
        self.control: Client = made.control(self.preferences.hostinfo, control_key, verifies_tls=verifies_tls)
        self._control: WhenDue[Client] = WhenDue(self.control)
        self.leaving: Leaving = Leaving(self.engine, ephemeral=config.ephemeral)
        self.reachability: Reachability = Reachability(
            self.engine, self.relays, self.home, self._control, health=self.health, told=self._facts, trace=self.trace
        )
        self.surroundings: Surroundings = Surroundings(
            self.engine, self.relays, self.home, self._control, entropy, config, told=self._facts, trace=self.trace
        )
        self.port_mapping: PortMapping = made.port_mapping()
        self.word: ControlWord = ControlWord(self, self._control, entropy, queue=self._facts)
        self.sleep: Sleep = Sleep(self.surroundings, self.port_mapping, trace=self.trace)
        self.home_relay: HomeRelay = made.home_relay(kept_home, self.reachability)
        self._say("begun", known_to_control=identity.registered, ephemeral=config.ephemeral)

    # --- what applications ask for --------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        return self.remembered.identity

    @property
    def netmap(self) -> NetMap | None:
        return None if self.view is None else self.view.netmap

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        return () if self.netmap is None else self.netmap.self_node.ips

    @property
    def wants_whole_datagrams(self) -> bool:
        """Whether what is too large for its way is to be refused or lost, and not cut up."""
        return self.engine.paths.modes.mtu

    @property
    def attributes(self) -> NodeAttributes:
        """What control asks of this node."""
        return self.surroundings.attributes

    @property
    def wants_any_port(self) -> bool:
        """Whether control wants the UDP port to be any that is free, whatever was configured or saved."""
        return self.surroundings.attributes.randomize_client_port

    @property
    def wants_offload(self) -> tuple[bool, bool]:
        """Whether control lets the kernel cut up what is sent (GSO), and join what arrives (GRO)."""
        attributes = self.attributes
        return not (attributes.disable_udp_gso or attributes.never_gso_equal_tail), not attributes.disable_udp_gro

    @property
    def waiting_for(self) -> str:
        """What a node that is not up yet waits for, as words for an error."""
        if self.netmap is not None:
            return "waiting for its peers"
        if self.identity.registered:
            return "waiting for control's first netmap"
        return self.control.waiting_for_key or "waiting for control to accept it"

    @property
    def is_reachable(self) -> bool:
        """Whether peers can reach this node now."""
        return self.reachability.is_reachable

    @property
    def unreachable_because(self) -> str:
        """What keeps peers from reaching this node, as words for an error."""
        return self.relay_trouble() or "control does not know its relay yet"

    def relay_trouble(self, address: IPAddress | None = None) -> str:
        """What is wrong with the relays towards that address, or with our home's (`Reachability.trouble`)."""
        return self.reachability.trouble(address, self._now)

    def ping_tsmp(self, address: IPAddress, data: bytes, now: float) -> None:
        """Send a TSMP ping with these 8 bytes (`SocketCalls.ping_data`). PingAnswered follows if the peer answers."""
        self.engine.ping_tsmp(address.packed, data, now)

    def netcheck(self, now: float) -> None:
        """Look at the network around this node, all of it. NetcheckDone follows within some seconds."""
        self._touch()
        self.surroundings.ask_report(now)

    def netcheck_so_far(self, now: float) -> facts.NetcheckDone:
        """For somebody who asked and cannot wait any longer."""
        return self.surroundings.report_so_far(now)

    def ping_disco(self, address: IPAddress, data: bytes, now: float) -> None:
        """Ask by which paths the node with that address can be reached. PingAnswered follows for each that answers."""
        self._touch()
        key = self.engine.egress.routes.lookup(address.packed)
        if key is not None:
            self.engine.paths.ask(key, data, now)

    def set_prefs(self, prefs: Prefs, now: float, *, kept: Mapping[str, Any] | None = None) -> None:
        """From now on these preferences are in force: the packet filter, control and the store are told in one step.

        kept: what the next start is to have (`Choices.kept`); None leaves what is saved.
        """
        self._touch()
        if self.preferences.change(prefs):
            self._say("preferences set", hostname=prefs.hostname, shields_up=prefs.shields_up)
            self.engine.set_shields_up(prefs.shields_up)
            if self.view is not None and not self.adoption.is_under_way:  # what the filter grants, whois tells
                self.word.show(self.view.with_rules(self.engine.packet_filter.rules))
            self._control.wake().set_hostinfo(self.preferences.hostinfo, now)
        if kept is not None:
            self.remembered.prefs(kept)

    def request(
        self, path: str, body: bytes, now: float, *, method: str, timeout: float, repeatable: bool = False
    ) -> int:
        """Ask control for anything (`control.client.requests`). ControlAnswered follows, with the returned ticket."""
        self._touch()
        return self._control.wake().request(path, body, now, method=method, timeout=timeout, repeatable=repeatable)

    def cancel_request(self, ticket: int, now: float) -> None:
        """Nobody waits for that answer any more."""
        self._touch()
        self._control.wake().cancel(ticket, now)

    # --- its life -------------------------------------------------------------------------------------------

    def retry(self, now: float) -> None:
        """Ask control again, as a new process would: somebody wants the node up after control had refused it."""
        self._touch()
        self._control.wake().retry(now)

    def login(self, auth_key: str, now: float) -> int:
        """Log in anew, as the same user or another one; "" takes the configured auth key. LoginEnded follows with the
        returned number, unless another login begins before that.

        Until control has accepted the new key, the present one stays in use.
        """
        self._touch()
        self.word.login_begun()
        return self._control.wake().login(now, auth_key)

    def logout(self, now: float, by: float) -> None:
        """Have control forget this node; LoggedOut follows, once. by: how long to wait for a registration under way."""
        self._touch()
        if not self.control.has_logged_out:  # else it is told in a moment, or was
            self._control.wake().logout(now, by=by)

    def set_wall_offset(self, wall_offset: float, now: float, *, slept: float = 0.0) -> None:
        """The wall clock was set. Unix time is now + wall_offset, in seconds.

        slept: by how much it is ahead, where the clock of `now` stands still while the machine sleeps.
        """
        self._touch()
        self.sleep.ahead(slept, now)
        self._say("wall clock set")
        self.engine.set_wall_offset(wall_offset, now)
        self.cached.wall_offset = wall_offset
        self._control.wake().set_wall_offset(wall_offset, now)

    def unsent(self, refused: Sequence[Unsent], now: float) -> None:
        """The system has refused to send these (`UdpPort.take_unsent`)."""
        self._touch()
        self.engine.paths.unsent(refused, self._clamp(now))

    def network_changed(self, network: Network, now: float) -> None:
        """This machine's addresses and default routes are these now; the first time, that is no change."""
        self._touch()
        self.surroundings.changed(network, self._clamp(now))

    def saved(self, ticket: int, error: Error | None, now: float) -> None:
        """The answer to a Save. If error is None, what depends on the value may leave; else it waits for the retry."""
        self._touch()
        identity = self.remembered.saved(ticket, error, now)
        if identity is None:
            return
        self.word.saved(identity)
        key = self.remembered.key_to_use(identity)
        if key is not None:
            self.word.use_key(key, now)
        if identity.timestamp_mark is not None:
            self.engine.mark_saved(identity.timestamp_mark)

    def begin_close(self, now: float, patience: float) -> None:
        """Open no new streams. An ephemeral node logs out when its streams have ended, at the latest after `patience`.

        patience: seconds, half of the time that closing may take.
        """
        self._touch()
        self._say("closing", streams_end_within=patience)
        self.calls.refusal = NotUp("the node is closing")
        self.leaving.begin(now, patience)
        self.remembered.begin_close()

    @property
    def is_closed(self) -> bool:
        """Whether nothing is left to wait for."""
        return self.leaving.is_closed and self.remembered.may_end and self.port_mapping.may_end(self._now)

    def shut(self, now: float) -> None:
        """Reset what is still open: the time for closing is up."""
        self._touch()
        self.port_mapping.release(now)
        self.engine.stack.close(now)

    # --- the verbs ------------------------------------------------------------------------------------------

    def receive(self, runs: Iterable[tuple[UdpAddress, Sequence[bytes]]], events: Sequence[Event], now: float) -> None:
        now = self._clamp(now)
        arrived: list[tuple[Destination, Sequence[bytes]]] = [*runs]
        if events or now >= self._upkeep_at:
            self._hear(events, arrived, now)
        if arrived and (self.engine.receive(arrived, now) or self.asked_pings.awaits_echo):
            self._touch()
            self.surroundings.take_answers(now)
            self._take_messages(now)

    def _hear(self, events: Sequence[Event], arrived: list[tuple[Destination, Sequence[bytes]]], now: float) -> None:
        """Take what links say; packets that came by a relay are added to those that have arrived."""
        self._touch()
        arrived += self.engine.of_peers(self.relays.read(now))
        for event in events:
            if event.link.room == "derp":
                arrived += self.engine.of_peers(self.relays.receive(event, now))
            elif event.link.room == "netcheck":
                self.surroundings.receive(event, now)
            elif event.link.room == PortMapping.ROOM:
                self.port_mapping.receive(event, now)
            elif isinstance(event, Computed) and event.link.room == CachedNetmap.ROOM:
                self._read_cache(event, now)
            else:
                self.control.rejected = self.engine.rejected_flows.shown
                self._control.wake().receive(event, now)
        self._take_relay_facts(now)
        self.word.adopt(now)
        self.word.take(now)

    def _read_cache(self, event: Computed, now: float) -> None:
        kept = self.cached.receive(event, now)
        if kept is not None and self.view is None and not self.adoption.is_under_way:
            self.word.go_by(kept, now)

    def transmit(self, now: float, budget: int) -> tuple[list[tuple[UdpAddress, list[bytes]]], list[Effect]]:
        """What must go out now: datagrams by destination, and effects on links."""
        now = self._clamp(now)
        if now >= self._upkeep_at:
            self.word.take(now)
        self._hold_what_is_full()
        udp, relayed = udp_runs(self.engine.transmit(now, budget))
        if not relayed and not self._is_upkeep_due(now):
            return udp, []
        for destination, packets in relayed:
            self.engine.paths.wrote(destination.region, now)
            self.relays.send(destination, packets, now)
        requests, effects = self._upkeep(now, budget)
        return udp + requests, effects

    # --- upkeep: the rooms beside the data path ---------------------------------------------------------------

    def _touch(self) -> None:
        """Something was said to one of them: all are looked at in this turn, or the next. Else at `_upkeep_at`."""
        self._upkeep_at = -math.inf

    def _is_upkeep_due(self, now: float) -> bool:
        """Most turns of a stream carry datagrams of WireGuard and no more: they leave out the rooms beside its path."""
        return (
            now >= self._upkeep_at
            or self._control.is_due(now)
            or self.udp_port != self._known_port
            or self.leaving.has_begun
            or self.engine.has_news
            or self.surroundings.is_wanted(now)
        )

    def _upkeep(self, now: float, budget: int) -> tuple[list[tuple[UdpAddress, list[bytes]]], list[Effect]]:
        """Requests by UDP, and effects on links."""
        self._known_port = self.udp_port
        self._keep_port()
        self._keep_home()
        requests, asked = self.surroundings.transmit(now, self.udp_port)
        self.home.transmit(now)
        self.remembered.tick(now)
        self.engine.rejected_flows.tick(now)
        self.reachability.settle(now)
        if (by := self.leaving.logout_by(now)) is not None:
            self._control.wake().logout(now, by=by)
        effects = asked + self._from_control(now, budget)
        effects += self.relays.transmit(now, budget)
        effects += self._map_port(now)
        effects += self.cached.transmit(now, self.home.region)
        if (value := self.cached.take_value()) is not None:
            self.remembered.netmap(value)
        self._take_relay_facts(now)
        if (mark := self.engine.take_mark()) is not None:
            self.remembered.change(timestamp_mark=mark)
        self._tell_paths()
        self._upkeep_at = self._upkeep_deadline()
        return requests, effects

    def _upkeep_deadline(self) -> float:
        if self.word.has_more or self.reachability.is_unsettled:
            return -math.inf
        return min(
            self.engine.paths.deadline(),  # when a region's minute is over, it is not wanted any more
            self.relays.deadline(),
            self.home.deadline(),
            self.surroundings.deadline(),
            self.port_mapping.deadline(),
            self.leaving.deadline(),
            self.remembered.deadline(),
            self.cached.deadline(),
            self.engine.rejected_flows.deadline(),
        )

    def is_touched(self, now: float) -> bool:
        """Whether `transmit` has something to do that `deadline` does not tell of."""
        return self.udp_room is (UDP in self.engine.full) or self._is_upkeep_due(now)

    def deadline(self) -> float:
        due = self.engine.deadline()
        if self._upkeep_at < due:
            due = self._upkeep_at
        if self._control.at < due:
            due = self._control.at
        self._due = -math.inf if self._facts.has_more else due
        return self._due

    def take_facts(self) -> list[facts.Fact]:
        """The facts since the last call, in order. Of very many, those that one turn has time for."""
        if not self._facts and not self._facts.has_more:
            return []
        self._show_health()
        return self._facts.take()

    def take_ready(self) -> list[Endpoint]:
        return self.engine.stack.take_ready()

    def _clamp(self, now: float) -> float:
        """`now`, but never earlier than before. A long gap with the told deadline in it is a sleep."""
        if now == self._now:
            return now
        if self.sleep.late(self._due, self._now, now):
            self._touch()
        self._now = max(self._now, now)
        return self._now

    def _say(self, event: str, **fields: object) -> None:
        if self.trace is not None:
            self.trace(event, **fields)

    def _map_port(self, now: float) -> list[Effect]:
        """Once control has let the node in, its router is asked for a port; at the end it gets the port back."""
        if self.leaving.is_closed:
            self.port_mapping.release(now)
        elif self.view is not None:
            self.port_mapping.set_place(self.surroundings.network, self.udp_port, now)
        effects = self.port_mapping.transmit(now)
        if self.port_mapping.take_changes():
            self.surroundings.router_speaks(self.port_mapping.services, now)
            self.surroundings.port_mapped(self.port_mapping.external, now)
        return effects

    def _keep_port(self) -> None:
        """Have our UDP port saved for the next start, once control has let the node in."""
        if self.view is not None and not self.config.port:
            self.remembered.port(0 if self.wants_any_port else self.udp_port)

    def _keep_home(self) -> None:
        """Have our home's relay saved for the next start, once peers reach us there."""
        if self.view is not None and self.reachability.is_reachable:
            value = self.home_relay.settled(self.view.netmap.derp_map.regions[self.home.region])
            if value is not None:
                self.remembered.home_relay(value)

    def _hold_what_is_full(self) -> None:
        full = {region for region, client in self.relays.clients.items() if not client.has_room}
        if not self.udp_room:
            full.add(UDP)
        if full != self.engine.full:
            self.engine.set_full(full)

    def _take_relay_facts(self, now: float) -> None:
        if self.reachability.take_relay_facts(now):
            self.surroundings.relay_lost(now)

    def _take_messages(self, now: float) -> None:
        for _key, address, message in self.engine.take_messages(now):
            if isinstance(message, tsmp.TsmpPong):
                answers = self.asked_pings.answered(message.data, now, peer_api_port=message.peer_api_port)
                self.word.answer(answers, now)
                self._facts.append(facts.PingAnswered(message.data, ip_address(address)))
        for answer in self.engine.paths.take_answers():
            peer, netmap = self.engine.peers.get(answer.peer), self.netmap
            if peer is not None and peer.ips and netmap is not None:
                path = path_by((answer.by,), netmap.derp_map)
                self.word.answer(self.asked_pings.answered(answer.data, now, path=path), now)
                self._facts.append(facts.PingAnswered(answer.data, peer.ips[0], path))
        self.word.answer(self.asked_pings.take_echoes(now), now)

    # --- control --------------------------------------------------------------------------------------------

    def _from_control(self, now: float, budget: int) -> list[Effect]:
        """What control's client has to send."""
        if not self._control.is_due(now):
            return []
        effects = self.control.transmit(now, budget)
        self.word.take(now)
        self._control.rest()
        return effects

    def peer_name(self, key: NodeKey) -> str:
        """What a person calls that peer: the first label of its name. Empty if there is no such peer."""
        peer = self.engine.peers.get(key)
        return "" if peer is None else peer.name.partition(".")[0]

    def _tell_paths(self) -> None:
        netmap = self.netmap
        if netmap is None:
            return
        for change in self.engine.take_path_changes():
            peer = self.engine.peers.get(change.key)
            if peer is not None:
                path, before = path_by(change.after, netmap.derp_map), path_by(change.before, netmap.derp_map)
                self._facts.append(facts.PathChanged(peer, path, before, change.why))

    # --- what other threads see -----------------------------------------------------------------------------

    def path_towards(self, address: IPAddress) -> PeerPath:
        """How what is sent to that address now would be sent."""
        key = self.engine.egress.routes.lookup(address.packed)
        routes, netmap = () if key is None else self.engine.paths.routes(key), self.netmap
        return path_by(routes, None if netmap is None else netmap.derp_map)

    def path_to(self, key: bytes) -> PeerPath:
        """How that peer is reached now, or was when it was last sent to. A look-up: any thread may ask."""
        routes, view = self.engine.routes_in_use(key), self.view
        return path_by(routes, None if view is None else view.netmap.derp_map)

    def _show_health(self) -> None:
        """Facts have told of whatever is new."""
        view, health, home = self.view, self.health.messages, self.home.region
        if view is not None and (view.health, view.home_region) != (health, home):
            self.view = attrs.evolve(view, health=health, home_region=home)
        self.control.health = health
