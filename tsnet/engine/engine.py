"""The data path, from datagrams to the TCP/IP stack and back. `Engine` is the one object that knows all its rooms.

    in    classify -> Device.receive -> Ingress.admit -> Stack.receive
                   -> Paths.receive (disco)
    out   Stack.transmit -> Egress.route -> Device.send … Device.transmit -> Paths.routes -> (Destination, datagrams)

What goes by a peer relay gets its Geneve header on the way out, so that below the engine there are only UDP and DERP.

A netmap comes down through `apply`: peers, routes, filter and addresses change in one call, which costs what changed.

Source: Go wgengine/magicsock/magicsock.go, net/tstun/wrap.go; tailscale-rs ts_dataplane.
Not here: control, relay connections, choosing a home (`node`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import assert_never

from netstack import Stack, stack
from netstack.tcp import states
from tsnet.base.addresses import (
    MAX_RUN_PACKETS,
    MAX_RUN_PAYLOAD,
    DerpAddress,
    Destination,
    IPAddress,
    PeerRelayAddress,
    UdpAddress,
)
from tsnet.base.crypto import disco_public
from tsnet.base.keys import DiscoKey, DiscoPrivateKey, NodeKey, NodePrivateKey
from tsnet.base.trace import Tracer, trace_of
from tsnet.disco import geneve
from tsnet.disco.changes import RoutesChanged
from tsnet.disco.constants import LARGE
from tsnet.disco.modes import DiscoModes
from tsnet.disco.pathmtu import INNER_MOST
from tsnet.disco.paths import Paths
from tsnet.engine import rejectedflows, tsmp
from tsnet.engine.classify import Batch, classify
from tsnet.engine.egress import Egress
from tsnet.engine.ingress import Ingress
from tsnet.engine.peers import KeyChange, Peers
from tsnet.engine.rejectedflows import RejectedFlows
from tsnet.engine.relaygrants import RelayGrants
from tsnet.engine.streamlinks import StreamLinks
from tsnet.netmap.changes import Changes
from tsnet.netmap.model import Node
from tsnet.netmap.packed import NO_KEY
from tsnet.netmap.packetfilter import PacketFilter
from tsnet.wireguard import facts
from tsnet.wireguard.constants import PADDING
from tsnet.wireguard.device import Device
from tsnet.wireguard.keylog import KeyLog
from tsnet.wireguard.messages import TRANSPORT_OVERHEAD
from tsnet.wireguard.outbox import Recipient

MTU = 1280
SEALING_OVERHEAD = TRANSPORT_OVERHEAD + PADDING
"""The most bytes that WireGuard adds to a packet."""

ENDED = frozenset(
    {
        *(states.NAMES[state] for state in (states.TIME_WAIT, states.FIN_WAIT_2, states.CLOSED)),
        stack.FRAGMENTS,
        stack.UDP,
        stack.ICMP,
    }
)
"""What a closing node does not wait for: connections whose peer has acknowledged everything, UDP, ICMP, fragments."""

ANSWER_WAIT = 0.003
"""Seconds that the acknowledgements of a handshake and of a first request wait for what carries them. An application of
this machine answers sooner, or else later by much. A peer that neither speaks nor is spoken to waits as long."""

MAX_STUN = 256
"""How many STUN datagrams may wait to be taken."""

UDP = 0
"""The number of the path that all UDP shares. A relay region's path has the region's number, which is at least 1."""


class Engine:
    """dropped: "stun" (through a relay, or more at once than MAX_STUN), "stranger" (a relay says that it comes from
    whoever is no peer), "rejected" (a peer's word about a flow that is not TCP, or that is not final).

    Each room beneath counts its own drops.
    """

    def __init__(
        self,
        node_key: NodePrivateKey,
        disco_key: DiscoPrivateKey,
        *,
        entropy: Callable[[int], bytes],
        now: float,
        wall_offset: float,
        timestamp_mark: float | None,
        tracer: Tracer | None = None,
        key_log: KeyLog | None = None,
    ) -> None:
        self.peers: Peers = Peers()
        self.packet_filter: PacketFilter = PacketFilter(self.peers.capabilities_of)
        self.device: Device = Device(
            node_key,
            entropy=entropy,
            wall_offset=wall_offset,
            timestamp_mark=timestamp_mark,
            mtu=MTU,
            trace=trace_of(tracer, "wireguard"),
            key_log=key_log,
        )
        self.paths: Paths = Paths(
            disco_key,
            entropy=entropy,
            node_key=self.device.public_key,
            trace=trace_of(tracer, "disco"),
        )
        self.disco_key: DiscoKey = disco_public(disco_key)
        self.stack: Stack = Stack(
            entropy=entropy,
            mtu=MTU,
            now=now,
            nodelay=True,  # as Go does
            max_run_packets=MAX_RUN_PACKETS,
            max_run_bytes=MAX_RUN_PAYLOAD,
            run_overhead=SEALING_OVERHEAD,
        )
        self.stack.options.answer_wait = ANSWER_WAIT
        self.stream_links: StreamLinks = StreamLinks(self.stack)
        self.ingress: Ingress = Ingress(self.peers.routes, self.packet_filter, self.peers.jailed)
        self.egress: Egress = Egress(self.peers.routes, self.packet_filter)
        self.timestamp_mark = timestamp_mark
        """The mark to be saved. `take_mark` gives it out when it must be; `mark_saved` tells that it was."""
        self._mark_moved = False
        self._relay_grants = RelayGrants()
        self.rejected_flows: RejectedFlows = RejectedFlows(self._why_silent, wall_offset)
        self._now = now
        self.dropped: Counter[str] = Counter()
        self._stun: list[tuple[UdpAddress, bytes]] = []
        self.full: set[int] = set()
        """The paths that take no more."""
        self._talking: dict[bytes, tuple[Destination, ...]] = {}  # the peers that were sent to, and all their routes
        self._to_greet: set[bytes] = set()
        """Peers to say something to as soon as their path is another one: they have moved."""
        self._advertised: dict[bytes, DiscoKey] = {}
        self._path_changes: dict[bytes, RoutesChanged] = {}

    # --- control's word -------------------------------------------------------------------------------------

    def apply(self, changes: Changes, now: float) -> None:
        """Bring every room to this netmap: the peers, then paths and routes, then the filter, then our addresses."""
        moved = self.peers.apply(changes)
        self.stream_links.changed(changes.peers)
        for change in moved:
            self._move(change, changes.after.peers, now)
        gained = self.paths.update_peers([(change.key, change.after) for change in moved], now)
        self.packet_filter.apply(changes)
        if self._relay_grants.apply(changes, self.packet_filter):
            self.paths.set_peer_relays(self._relay_grants.relays, now)
        if changes.of("self_node"):
            self.stack.set_addresses(changes.after.self_node.ips, now)
        for key in gained:
            self.device.path_gained(key, now)
        for change in moved:
            self._follow_home(change, now)

    def _follow_home(self, change: KeyChange, now: float) -> None:
        """A peer that we talk to through relays has another home: go there, and say something to it.

        It may not reach the relay that we are at home at; then it has no way to us until we speak to it at its own. We
        may have nothing to say, as who waits for a question.
        """
        key, before, after = change
        if before is None or after is None or after.home_region in (0, before.home_region):
            return
        status = self.device.status(key)
        relayed = any(type(one) is DerpAddress for one in self.routes_in_use(key))
        if relayed and status is not None and status.has_session:
            self._to_greet.add(key)
            self.paths.wrote(after.home_region, now)

    def _move(self, change: KeyChange, peers: Mapping[int, Node], now: float) -> None:
        key, before, after = change
        if after is None:
            assert before is not None
            self.device.remove_peer(key)
            self.stream_links.left(key, before, peers.get(before.id))
            self._talking.pop(key, None)
            self._to_greet.discard(key)
            self._advertised.pop(key, None)
        elif before is None:
            self.device.add_peer(key)
            self.stream_links.came(key, after, now)
        else:
            self.stream_links.stayed(key, before, after)
            if _has_restarted(before, after) and self._advertised.get(key) != after.raw_disco_key:
                self.device.reset_peer(key, now)  # its sessions are gone

    def set_modes(self, modes: DiscoModes, now: float) -> None:
        """How paths are selected from now on."""
        self.paths.set_modes(modes, now)
        self.stack.set_receive_mtu(INNER_MOST if modes.mtu else MTU)

    def set_shields_up(self, shields_up: bool) -> None:
        """Let peers open nothing from the next packet on, or what the netmap's filter says. What is open stays open."""
        self.packet_filter.set_shields_up(shields_up)

    def set_node_key(self, node_key: NodePrivateKey, now: float) -> None:
        self.device.set_private_key(node_key, now)
        self.paths.set_node_key(self.device.public_key)

    def sessions_lost(self, now: float) -> None:
        """Give up all sessions: the peers dropped theirs while our key was expired. The next packet makes a new one."""
        self.device.suspended(now)

    def take_mark(self) -> float | None:
        """The time stamps' mark if it has moved since the last call and must be saved. Ask after `transmit`."""
        moved, self._mark_moved = self._mark_moved, False
        return self.timestamp_mark if moved else None

    def mark_saved(self, mark: float) -> None:
        """The store has this mark: handshakes that waited for it may leave."""
        self.device.mark_saved(mark)

    def set_wall_offset(self, wall_offset: float, now: float) -> None:
        """The wall clock was set. Unix time is now + wall_offset, in seconds."""
        self.device.set_wall_offset(wall_offset, now)
        self.rejected_flows.wall_offset = wall_offset

    def relay_connected(self, region: int, latency: float, now: float) -> None:
        """The relay of that region can be used: send what waits for peers behind it now, not when its timer comes.

        latency: of its login. A peer is hardly nearer to our home relay than we are.
        """
        if region == self.paths.home:
            self.device.set_round_trip(2 * latency)
        for key in self.paths.connected(region, now):
            self.device.path_gained(key, now)
            self.stream_links.path_restored(key, now)
        for key, routes in self._talking.items():
            if any(path_of(destination) == region for destination in routes):
                self.device.path_restored(key, now)
                self.stream_links.path_restored(key, now)
            elif self.paths.home == region:  # we call by another path, and the answer may come by this one alone
                self.device.path_restored(key, now)

    # --- room -----------------------------------------------------------------------------------------------

    def set_full(self, paths: set[int]) -> None:
        """These paths take no more (`UDP`, regions), and no others: also one that is gone is not full."""
        for path in self.full - paths:
            self.release(path)
        for path in paths - self.full:
            self.hold(path)

    def hold(self, path: int) -> None:
        """A path (`UDP` or a region) takes no more: what goes to peers that have no other stays in the stack until
        `release`. What goes to the others takes theirs."""
        self.full.add(path)
        self.stack.hold(path)

    def release(self, path: int) -> None:
        self.full.discard(path)
        self.stack.release(path)

    @property
    def has_news(self) -> bool:
        """Whether `take_path_changes` or `take_mark` has something, or a peer is to be told of our endpoints."""
        return bool(self._path_changes) or self._mark_moved or self.paths.wants_endpoints

    def _note_changes(self, now: float) -> None:
        """Peers that were sent to are reached by other paths now, which may be full, or have room, or carry more."""
        for key, mtu in self.paths.take_mtu_changes().items():
            if self.peers.get(key) is not None:
                self.stream_links.set_mtu(key, mtu, now)
        for change in self.paths.take_changes():
            key = change.key
            if not change.before:
                self.device.path_gained(key, now)
            if key not in self._talking:
                continue
            self._note_routes(key, change.after, change.why)
            self._path_changes[key] = change
            if self._is_restored(change):
                self.device.path_restored(key, now)
                self.stream_links.path_restored(key, now)
            if key in self._to_greet:
                self._to_greet.discard(key)
                self.device.send_keepalive(key, now)

    def _is_restored(self, change: RoutesChanged) -> bool:
        """Whether the peer can be reached again, after what was sent to it has probably been lost."""
        before, after = change.before, change.after
        if len(after) == 1 and type(after[0]) is PeerRelayAddress:
            return True  # what took down the way before may have taken down DERP's connections, too
        if len(before) == 1 and type(before[0]) is not DerpAddress:
            return any(type(one) is DerpAddress for one in after)
        if _are_relays(before) and _are_relays(after):
            return True
        relays = [one.region for one in before if type(one) is DerpAddress]
        is_direct = len(relays) == len(before) and any(type(one) is not DerpAddress for one in after)
        return is_direct and not any(map(self.paths.is_connected, relays))

    def _note_routes(self, key: bytes, routes: tuple[Destination, ...], why: str) -> None:
        self._talking[key] = routes
        self.paths.tell_routes(key, why)
        self.stream_links.set_ways(key, map(path_of, routes))

    def routes_in_use(self, key: bytes) -> tuple[Destination, ...]:
        """All routes of a peer that was sent to; () of another. Any thread may ask: it is one look-up."""
        return self._talking.get(key, ())

    def take_path_changes(self) -> list[RoutesChanged]:
        """How the paths to peers that are sent to have changed since the last call: the last change of each."""
        changes, self._path_changes = self._path_changes, {}
        return list(changes.values())

    def _with_room(self, routes: tuple[Destination, ...]) -> tuple[Destination, ...]:
        """Those that have room. If none has, the best: what is sealed already, and handshakes, wait below."""
        return tuple(one for one in routes if path_of(one) not in self.full) or routes[:1]

    # --- the verbs ------------------------------------------------------------------------------------------

    def receive(self, runs: Iterable[tuple[Destination, Sequence[bytes]]], now: float) -> bool:
        """Whether anything is to be taken or looked at (`take_stun`, `take_messages`, `paths`): most often, nothing."""
        wireguard, disco, stun = classify(runs)
        if stun:
            self._keep_stun(stun)
        if disco:
            self.paths.receive(disco, now)
        if wireguard:
            self._receive_wireguard(wireguard, now)
        return bool(disco or stun or self.ingress.messages)

    def of_peers(self, runs: list[tuple[DerpAddress, list[bytes]]]) -> list[tuple[DerpAddress, list[bytes]]]:
        """Those runs of a relay that it says are of peers. Anybody may send to us through a relay, and whoever is no
        peer costs no cryptography."""
        is_peer = self.paths.is_peer
        for source, packets in runs:
            if not is_peer(source.key):
                self.dropped["stranger"] += len(packets)
        return [run for run in runs if is_peer(run[0].key)]

    def _receive_wireguard(self, runs: Batch, now: float) -> None:
        admit, authenticated = self.ingress.admit, self.paths.authenticated
        entering: list[tuple[NodeKey, list[bytes]]] = []
        for key, source, packets in self.device.receive(runs, now):
            if authenticated(key, source, now):
                self.device.path_gained(key, now)
            if packets and (admitted := admit(key, packets)):
                entering.append((key, admitted))
        if self.ingress.rejected:
            for syn, reason in self.ingress.rejected:
                self.rejected_flows.sent(syn, reason, now)
            self.ingress.rejected.clear()
        if entering:
            self.stack.receive(entering, now, verified=True)

    def _keep_stun(self, batch: Batch) -> None:
        for source, datagrams in batch:
            if isinstance(source, UdpAddress) and len(self._stun) < MAX_STUN:
                self._stun += [(source, datagram) for datagram in datagrams]
            else:
                self.dropped["stun"] += len(datagrams)

    def take_stun(self) -> list[tuple[UdpAddress, bytes]]:
        """The STUN datagrams that have come since the last call, each with its source."""
        taken, self._stun = self._stun, []
        return taken

    def transmit(self, now: float, budget: int) -> list[tuple[Destination, list[bytes]]]:
        """About `budget` bytes of datagrams at most, each run for one destination."""
        self._now = now
        self.paths.settle(now)
        if self.paths.is_rerouted:
            self._note_changes(now)
        device = self.device
        if self.ingress.replies:
            device.send(self.ingress.take_replies(), now)
        if runs := self.stack.transmit(now, budget):
            device.send(self.egress.route(runs), now)
        down: list[tuple[Destination, list[bytes]]] = []
        if device.is_due(now):
            sealed = device.transmit(now, budget)
            self._take_device_facts(now)  # before routing: an answer goes back the way the question came
            down = self._routed(sealed, now)
        if self.paths.deadline() <= now:
            down += self.paths.transmit(now, budget)
        return down

    def _routed(
        self, sealed: Iterable[tuple[Recipient, list[bytes]]], now: float
    ) -> list[tuple[Destination, list[bytes]]]:
        """Each run for all the destinations of its peer."""
        down: list[tuple[Destination, list[bytes]]] = []
        paths, talking, last = self.paths, self._talking, None
        for target, datagrams in sealed:
            if type(target) is not NodeKey:
                down.append(_enveloped(target, datagrams))  # type: ignore[arg-type]  # no NodeKey: a Destination
                continue
            if target is not last:
                last, routes = target, paths.routes(target)
                if routes and talking.get(target) is not routes:
                    if target not in talking:
                        self._path_changes[target] = RoutesChanged(target, (), routes, "it is sent to")
                    self._note_routes(target, routes, "it is sent to")
                if routes and self.full:
                    routes = self._with_room(routes)
                paths.sent(target, now)
            if len(datagrams[0]) > LARGE:
                paths.sent_large(target)
            if not routes:
                paths.dropped["no-path"] += len(datagrams)
            down += [_enveloped(destination, datagrams) for destination in routes]
        return down

    def _take_device_facts(self, now: float) -> None:
        for fact in self.device.take_facts():
            match fact:
                case facts.Heard(key, source):
                    self.paths.authenticated(key, source, now)
                case facts.Established(key):
                    self._advertise(key, now)
                    self.paths.handshake_answered(key)
                    self.stream_links.path_restored(key, now)  # until now it may have been away, or without a path
                case facts.Unanswered(key):
                    self.paths.handshake_unanswered(key, now)
                case facts.MarkMoved(mark):
                    self.timestamp_mark, self._mark_moved = mark, True
                case facts.GaveUp():
                    pass  # the device has counted what it dropped, and new traffic begins a new attempt
                case _:
                    assert_never(fact)

    def deadline(self) -> float:
        if self.ingress.replies or self.paths.is_rerouted:
            return -math.inf
        due, other = self.stack.deadline(), self.device.deadline()
        if other < due:
            due = other
        other = self.paths.deadline()
        return other if other < due else due

    def suspended(self, now: float) -> None:
        """The clock jumped (the machine slept or was cloned): no session key from before may seal anything."""
        self.device.suspended(now)

    @property
    def is_quiet(self) -> bool:
        """Whether every connection has ended (see ENDED) and nothing was due at the last `transmit`."""
        return not self.stack.connections.keys() - ENDED and self.deadline() > self._now

    # --- TSMP -----------------------------------------------------------------------------------------------

    def ping_tsmp(self, address: bytes, data: bytes, now: float) -> bool:
        """Ask the node that owns the address for a TSMP pong with these 8 bytes; False if nobody owns it."""
        key = self.egress.routes.lookup(address)
        source = self.own_address(len(address))
        if key is None or source is None:
            return False
        self.device.send([(key, [tsmp.packet(source, address, tsmp.TsmpPing(data))])], now)
        return True

    def _advertise(self, key: NodeKey, now: float) -> None:
        """Send our disco key first in a new session, as Go does from 1.102 on.

        A peer that learns a new disco key of ours from control concludes that we restarted, and drops its sessions with
        us. It would also drop the one made since the restart, if we reached it before control's word did. It keeps a
        session in which we told it that key ourselves.
        """
        peer = self.peers.get(key)
        for address in () if peer is None else peer.ips:
            source = self.own_address(len(address.packed))
            if source is not None:
                advertisement = tsmp.DiscoAdvertisement(self.disco_key)
                self.device.send([(key, [tsmp.packet(source, address.packed, advertisement)])], now)
                return

    def own_address(self, size: int) -> bytes | None:
        """Our address that is `size` bytes long (4 or 16), or None."""
        return next((packed for address in self.stack.addresses if len(packed := address.packed) == size), None)

    def take_messages(self, now: float) -> list[tuple[NodeKey, bytes, tsmp.Message]]:
        """(peer, its address, message) of each pong and rejection since the last call. A rejection ends its dial.

        A disco key opens the peer's disco from now on, and is noted: when control reports the same key later, the
        peer's session is kept.
        """
        messages: list[tuple[NodeKey, bytes, tsmp.Message]] = []
        for key, address, message in self.ingress.take_messages():
            match message:
                case tsmp.DiscoAdvertisement(disco_key):
                    self._advertised[key] = disco_key
                    self.paths.learn_disco_key(key, disco_key, now)
                    continue
                case tsmp.Rejected():
                    self._rejected(address, message, now)
                case tsmp.TsmpPong() | tsmp.TsmpPing():
                    pass  # a pong is for whoever asked, and pings are answered on their way in
                case _:
                    assert_never(message)
            messages.append((key, address, message))
        return messages

    def _rejected(self, address: bytes, message: tsmp.Rejected, now: float) -> None:
        own = self.own_address(len(address))
        if own is not None:
            self.rejected_flows.told(ip_address(own), ip_address(address), message, now)
        if message.protocol != 6 or own is None or message.maybe_broken:
            self.dropped["rejected"] += 1
            return
        source, target = ip_address(own), ip_address(address)
        error = tsmp.DENIED + message.reason
        self.stack.refuse(source, message.source_port, target, message.destination_port, error=error)

    def _why_silent(self, address: IPAddress) -> str:
        """Why nobody may answer at that address, as control knows it."""
        key = self.egress.routes.lookup(address.packed)
        peer = None if key is None else self.peers.get(key)
        if peer is None:
            return rejectedflows.NO_PEER
        has_way = peer.is_wireguard_only or (peer.raw_disco_key and peer.home_region)
        return rejectedflows.TIMED_OUT if has_way else rejectedflows.UNREACHABLE


def _has_restarted(before: Node, after: Node) -> bool:
    """Whether the peer has another disco key than the one we knew: it is another process."""
    return before.raw_disco_key not in (NO_KEY, after.raw_disco_key)


def _are_relays(routes: tuple[Destination, ...]) -> bool:
    return bool(routes) and all(type(destination) is DerpAddress for destination in routes)


def path_of(destination: Destination) -> int:
    """The number of the path that leads there: its relay region, or `UDP`."""
    return destination.region if type(destination) is DerpAddress else UDP


def _enveloped(destination: Destination, datagrams: list[bytes]) -> tuple[Destination, list[bytes]]:
    """The run as it leaves: what goes by a peer relay is for the relay, and says for which session."""
    if type(destination) is not PeerRelayAddress:
        return destination, datagrams
    header = geneve.header(geneve.WIREGUARD, destination.vni)
    return destination.relay, [header + datagram for datagram in datagrams]


def udp_runs(
    down: Iterable[tuple[Destination, list[bytes]]],
) -> tuple[list[tuple[UdpAddress, list[bytes]]], list[tuple[DerpAddress, list[bytes]]]]:
    """Split the runs by the kind of their path: (UDP, relayed)."""
    udp: list[tuple[UdpAddress, list[bytes]]] = []
    relayed: list[tuple[DerpAddress, list[bytes]]] = []
    for destination, datagrams in down:
        if type(destination) is DerpAddress:
            relayed.append((destination, datagrams))
        else:
            udp.append((destination, datagrams))  # type: ignore[arg-type]  # the other of the two
    return udp, relayed
