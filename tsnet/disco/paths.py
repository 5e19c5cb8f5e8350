"""Which destinations reach each peer now: all rooms of disco behind one object, which the engine owns.

| peer                                | its routes                                                                   |
|-------------------------------------|------------------------------------------------------------------------------|
| IsWireGuardOnly                     | fixed UDP endpoints, until it speaks from somewhere (`fixedpaths`)            |
| its direct path is trusted          | that address, alone                                                          |
| its direct path is not trusted      | that address and its relay: each datagram goes to both                       |
| a peer relay's session is trusted   | that session, alone; without trust, that session and its relay               |
| no direct path is known             | its relay (`derproutes`)                                                     |

`routes` is one dictionary look-up, and the same tuple until something changes: the table is rewritten by news, not by
what is sent. A peer is in it once it was asked for, so idle peers of a large tailnet cost an entry in three tables.

Source: Go wgengine/magicsock/magicsock.go (enqueueCallMeMaybe), endpoint.go (addrForSendLocked).
Not here: how a direct path is found and judged (`directpath`), and one through peer relays (`peerrelays`); what is
made of each disco message (`incoming`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from tsnet.base.addresses import DerpAddress, Destination, PeerRelayAddress, UdpAddress
from tsnet.base.keys import DiscoKey, DiscoPrivateKey, NodeKey
from tsnet.base.trace import Trace
from tsnet.base.unsent import Unsent
from tsnet.disco.box import Box
from tsnet.disco.changes import RoutesChanged
from tsnet.disco.constants import ENDPOINTS_FRESH, MAX_CANDIDATES, SESSION_ACTIVE_TIMEOUT
from tsnet.disco.derproutes import DerpRoutes
from tsnet.disco.diagnostic import DiagnosticPings, PathAnswered
from tsnet.disco.directpath import DirectPath
from tsnet.disco.directpaths import DirectPaths
from tsnet.disco.equipment import Equipment
from tsnet.disco.fixedpaths import FixedPaths
from tsnet.disco.incoming import Incoming
from tsnet.disco.messages import CallMeMaybe, Message
from tsnet.disco.modes import DiscoModes
from tsnet.disco.pathmtu import PacketSizes
from tsnet.disco.peerrelays import PeerRelays
from tsnet.disco.pinganswers import PingAnswers
from tsnet.disco.relaypath import RelayPath
from tsnet.netmap.model import Node

DUE_NOW = -math.inf

Routes = tuple[Destination, ...]


class Paths:
    """The paths of all peers.

    dropped: disco datagrams, by the reasons of `incoming`, "repeated" and "answers" (too many at once: `pinganswers`);
        of our own "pace" and "pings" (`directpaths`), "key" (`outgoing`). Of peer relays "requests" (too many of ours
        are under way), "unknown allocation", "wrong clients", "called too often", "no relay client" (`peerrelays`),
        "unusable relay", "too many handshakes", "unknown relay", "relay box", "unknown handshake", "unwanted challenge"
        (`bindings`).
    """

    def __init__(
        self,
        private_key: DiscoPrivateKey,
        *,
        entropy: Callable[[int], bytes],
        node_key: NodeKey | None = None,
        trace: Trace | None = None,
    ) -> None:
        """node_key: ours, which pings name."""
        self._trace = trace
        equipment = Equipment.of(private_key, entropy)
        self.dropped: Counter[str] = equipment.dropped
        self.box: Box = equipment.senders.box
        self._senders, self._outgoing = equipment.senders, equipment.outgoing
        self._earliest = self._outgoing.earliest
        self._derp_routes = DerpRoutes(self._earliest)
        self._directs = DirectPaths(node_key, equipment)
        self._relays = PeerRelays(self._directs, equipment)
        self._diagnostic = DiagnosticPings()
        self._nodes: dict[bytes, Node] = {}
        self._routes: dict[bytes, Routes] = {}
        """Of the peers that were asked for."""
        self._fixed = FixedPaths()
        self._answers = PingAnswers(self._outgoing)
        self._incoming = Incoming(
            self._nodes, self._senders, self._directs, self._relays, self._answers, self._diagnostic
        )
        self._sent_at = DUE_NOW
        self._measured_at = DUE_NOW
        self._calls: dict[bytes, None] = {}
        """Peers whose CallMeMaybe waits for endpoints of ours that are fresh."""
        self._changes: dict[bytes, RoutesChanged] = {}
        self._sizes = PacketSizes()

    # --- what control and the relays tell -------------------------------------------------------------------------

    def set_node_key(self, key: NodeKey) -> None:
        """Ours, from now on."""
        self._directs.own_key = key

    def update_peers(self, peers: Iterable[tuple[bytes, Node | None]], now: float) -> list[bytes]:
        """Those peers of the netmap that have changed; None for one that has left. Returns those that were asked for,
        and just gained their first path."""
        gained: list[bytes] = []
        for key, node in peers:
            if node is None:
                self._remove(key)
                continue
            before, disco_key = self._nodes.get(key), self._senders.get(key)
            self._nodes[key] = node
            if self._senders.control_says(key, node.raw_disco_key or None) and disco_key is not None:
                self._restarted(key, disco_key, now)
            self._fixed.update(key, before, node)
            self._directs.update(key, node, now)
            self._relays.update(key, node)
            if self._reroute(key, "control says so"):
                gained.append(key)
        self._follow_up(now)
        return gained

    def _remove(self, key: bytes) -> None:
        self._nodes.pop(key, None)
        self._fixed.forget(key)
        self._calls.pop(key, None)
        self._derp_routes.forget(key)
        self._directs.forget(key)
        self._sizes.forget(key)
        self._relays.forget(key)
        disco_key = self._senders.get(key)
        self._senders.forget(key)
        if disco_key is not None and not self._senders.nodes(disco_key):
            self._answers.forget(disco_key)
        self._reroute(key, "it is no peer any more")
        self._routes.pop(key, None)

    def _restarted(self, key: bytes, before: bytes, now: float) -> None:
        """The peer had that disco key before, and has another one now: another process runs there."""
        if not self._senders.nodes(before):
            self._answers.forget(before)
        self._directs.restarted(key, now)
        self._relays.restarted(key, now)

    @property
    def peer_relays(self) -> tuple[bytes, ...]:
        """The peers that relay for us, as they were set."""
        return self._relays.servers

    def set_peer_relays(self, keys: Iterable[bytes], now: float) -> None:
        """The peers that control grants us as relays to others, all of them."""
        self._relays.set_servers(keys, now)
        self._follow_up(now)

    def set_home(self, region: int, now: float) -> None:
        """Our own home relay."""
        self._derp_routes.set_home(region, now)

    @property
    def home(self) -> int:
        """Where peers that know no better path send to us; 0 for nowhere."""
        return self._derp_routes.home

    def connected(self, region: int, now: float) -> list[bytes]:
        """We are logged in at a relay of that region. Returns the peers that gained their first path."""
        self._derp_routes.connected(region)
        return [key for key in list(self._routes) if self._reroute(key, "a relay is connected")]

    def disconnected(self, region: int, now: float) -> None:
        """That connection has ended; what was learnt through it is void."""
        self._derp_routes.disconnected(region)
        for key in list(self._routes):
            self._reroute(key, "a relay is lost")

    def doubted(self, region: int, doubted: bool) -> None:
        """Whether the relay there has stopped answering: a peer that spoke through another one is sent to there."""
        self._derp_routes.doubted(region, doubted)
        for key in list(self._routes):
            self._reroute(key, "a relay is silent" if doubted else "a relay answers again")

    def peer_gone(self, region: int, key: bytes) -> None:
        """The relay says the peer is not there: only the learnt route goes, never the peer's home."""
        if self._derp_routes.forget(key, region):
            self._reroute(key, "the relay does not know the peer")

    def is_peer(self, key: bytes) -> bool:
        """Whether control has named it."""
        return key in self._nodes

    def is_connected(self, region: int) -> bool:
        """Whether we are logged in at a relay of that region."""
        return self._derp_routes.is_connected(region)

    def wrote(self, region: int, now: float) -> None:
        """Something is sent through that region: it is wanted for a minute from now."""
        self._derp_routes.wrote(region, now)

    def regions_wanted(self, now: float) -> set[int]:
        """The regions to be connected to: the home, and those written to within the last minute."""
        return self._derp_routes.wanted(now)

    # --- what the network around us tells -------------------------------------------------------------------------

    @property
    def endpoints(self) -> tuple[UdpAddress, ...]:
        """Our own, as measured last."""
        return self._directs.endpoints

    @property
    def modes(self) -> DiscoModes:
        return self._directs.modes

    def set_endpoints(self, endpoints: Sequence[UdpAddress], now: float, *, measured_at: float | None = None) -> None:
        """Our own endpoints: a CallMeMaybe may carry them for ENDPOINTS_FRESH after they were measured; None is now."""
        self._measured_at = now if measured_at is None else measured_at
        self._directs.set_endpoints(tuple(dict.fromkeys(endpoints))[:MAX_CANDIDATES], now)
        calls, self._calls = self._calls, {}
        for key in calls:
            self._call(key, now)
        self._follow_up(now)

    @property
    def wants_endpoints(self) -> bool:
        """Whether something waits for `set_endpoints`: a peer is to be told where we are."""
        return bool(self._calls)

    def is_active(self, now: float) -> bool:
        """Whether some peer was sent to lately, so that it is worth while to know our endpoints."""
        return now < self._sent_at + SESSION_ACTIVE_TIMEOUT

    def set_modes(self, modes: DiscoModes, now: float) -> None:
        """What control's attributes, the environment and the network say, all of it."""
        are_new = modes != self._directs.modes
        self._directs.set_modes(modes, now)
        if are_new:
            self._relays.modes_changed()
        self._calls.clear()
        self._follow_up(now)

    def network_changed(self, now: float) -> None:
        """The internet is reached by another way than before: what was measured is void, active peers are asked."""
        self._measured_at = DUE_NOW
        self._directs.network_changed(now)
        self._relays.network_changed(now)
        self._follow_up(now)

    def unsent(self, refused: Iterable[Unsent], now: float) -> None:
        """What the system has refused to send (`base.unsent`)."""
        sizes = {each.address: each.size for each in refused}
        self._directs.unsent(sizes, now)
        self._relays.unsent(sizes, now)
        self._follow_up(now)

    # --- what WireGuard tells -------------------------------------------------------------------------------------

    def sent(self, key: bytes, now: float) -> None:
        """Datagrams of WireGuard have left for that peer."""
        self._sent_at = now
        node = self._nodes.get(key)
        if node is not None:
            self._directs.sent(key, node, now)
            self._relays.sent(key, node, now)

    def sent_large(self, key: bytes) -> None:
        """Some of them were larger than LARGE."""
        self._directs.sent_large(key)

    def handshake_unanswered(self, key: bytes, now: float) -> None:
        """A message of WireGuard's handshake with this peer went unanswered."""
        node = self._nodes.get(key)
        if node is not None and node.is_wireguard_only and self._fixed.unanswered(key, node):
            self._reroute(key, "it does not answer there any more")
        self._directs.handshake_unanswered(key, now)
        self._relays.handshake_unanswered(key, now)
        self._follow_up(now)

    def handshake_answered(self, key: bytes) -> None:
        """There is a new session with this peer."""
        self._directs.handshake_answered(key)
        self._relays.handshake_answered(key)

    def authenticated(self, key: bytes, source: Destination, now: float) -> bool:
        """A datagram of this peer came from there and was proven genuine. True if that is its first path."""
        if type(source) is UdpAddress and self._directs.get(key) is not None:
            self._directs.arrived(key, source, now)
            return False
        if isinstance(source, PeerRelayAddress):
            self._relays.arrived(key, source, now)
            return False
        node = self._nodes.get(key)
        if node is None:
            return False
        if isinstance(source, DerpAddress):
            self._relays.arrived_by_derp(key, now)
            is_news = not node.is_wireguard_only and self._derp_routes.learn(key, source.region)
        else:
            is_news = node.is_wireguard_only and self._fixed.heard(key, source)
        return is_news and self._reroute(key, "the peer spoke from there")

    def learn_disco_key(self, key: bytes, disco_key: DiscoKey, now: float) -> None:
        """The peer has told us its disco key inside the tunnel."""
        before = self._senders.get(key)
        if key in self._nodes and self._senders.peer_says(key, disco_key) and before is not None:
            self._restarted(key, before, now)
            self._follow_up(now)

    # --- the way out ----------------------------------------------------------------------------------------------

    def routes(self, key: bytes) -> Routes:
        """The destinations that this peer's datagrams are sent to: all of them, the best first; () if nothing leads
        there. It is the same tuple until something changes."""
        routes = self._routes.get(key)
        if routes is None and key in self._nodes:
            routes = self._routes[key] = self._routes_of(key)
        return routes or ()

    def route(self, key: bytes) -> Destination | None:
        """The best of them."""
        routes = self.routes(key)
        return routes[0] if routes else None

    @property
    def is_rerouted(self) -> bool:
        """Whether `take_changes` or `take_mtu_changes` has something to tell."""
        return bool(self._changes or self._sizes.changes)

    def take_mtu_changes(self) -> dict[bytes, int]:
        """How long packets to these peers may be from now on, where that has changed since the last call."""
        return self._sizes.take()

    def take_changes(self) -> list[RoutesChanged]:
        """How the routes of the peers that were asked for have changed since the last call: one change for each."""
        changes = self._changes
        if not changes:
            return []
        self._changes = {}
        return [change for change in changes.values() if change.before != change.after]

    def tell_routes(self, key: bytes, why: str = "it is sent to") -> None:
        """Trace how a peer is reached now; for peers that are sent to, when that has changed."""
        if self._trace is not None:
            self._trace("path chosen", peer=NodeKey(key), by=self.routes(key) or "none", why=why)

    # --- what an application asks -----------------------------------------------------------------------------------

    def ask(self, key: bytes, data: bytes, now: float) -> None:
        """Ping this peer by its relay, and by its direct path if that is trusted, or else by every candidate and by the
        session of a peer relay.

        `take_answers` tells of each pong. A peer without disco is not pinged.
        """
        node, recipient = self._nodes.get(key), self._senders.get(key)
        if node is None or recipient is None or node.is_wireguard_only:
            return
        self._sent_at = now
        for tx_id, address in self._directs.ask(key, node, now):
            self._diagnostic.sent(tx_id, PathAnswered(key, address, data), now)
        if (by_peer := self._relays.ask(key, node, now)) is not None:
            self._diagnostic.sent(by_peer[0], PathAnswered(key, by_peer[1], data), now)
        relay = self._derp_routes.address(key, node.home_region)
        if relay is not None:
            ping = self._directs.new_ping()
            self._diagnostic.sent(ping.tx_id, PathAnswered(key, relay, data), now)
            self._outgoing.send(recipient, relay, ping)
        self._follow_up(now)

    def candidates(self, key: bytes) -> tuple[UdpAddress, ...]:
        """Where this peer may be reached directly, as far as is known; () of one that was never sent to."""
        direct = self._directs.get(key)
        return () if direct is None else tuple(direct.candidates)

    def speaks_disco(self, key: bytes) -> bool:
        """Whether this peer can take part in finding a direct path."""
        node = self._nodes.get(key)
        return node is not None and not node.is_wireguard_only and self._senders.get(key) is not None

    def take_answers(self) -> list[PathAnswered]:
        """Which paths have answered `ask` since the last call, the first one first."""
        return self._diagnostic.take()

    # --- disco ----------------------------------------------------------------------------------------------------

    def receive(self, runs: Iterable[tuple[Destination, Sequence[bytes]]], now: float) -> None:
        """Datagrams that look like disco."""
        self._directs.run(now)
        self._relays.run(now)
        receive = self._incoming.receive
        for source, datagrams in runs:
            for datagram in datagrams:
                reason = receive(source, datagram, now)
                if reason is not None:
                    self.dropped[reason] += 1
        self._follow_up(now)

    def _call(self, key: bytes, now: float) -> None:
        """Tell this peer our endpoints, or wait until they are fresh."""
        recipient, direct, node = self._senders.get(key), self._directs.get(key), self._nodes.get(key)
        if recipient is None or direct is None or node is None:
            return
        relay = self._derp_routes.address(key, node.home_region)
        if relay is None:
            return
        if now > self._measured_at + ENDPOINTS_FRESH:
            self._calls[key] = None
        elif self.endpoints:
            self._outgoing.send(recipient, relay, CallMeMaybe(self.endpoints))

    def settle(self, now: float) -> None:
        """Do what is due. Routes are up to date afterwards."""
        if now < self._earliest.at:
            return
        if min(self._directs.deadline(), self._relays.deadline()) <= now:
            self._directs.run(now)
            self._relays.run(now)
            self._follow_up(now)
        if self._derp_routes.deadline() <= now:
            self._derp_routes.expire(now)
        self._look_ahead()

    def transmit(self, now: float, budget: int) -> list[tuple[Destination, list[bytes]]]:
        """Disco datagrams that must go out, at most `budget` bytes; idle regions are let go."""
        self.settle(now)
        if not self._outgoing:
            return []
        taken = self._outgoing.take(budget)
        self._look_ahead()
        return taken

    def deadline(self) -> float:
        return self._earliest.at

    def _look_ahead(self) -> None:
        timers = min(self._derp_routes.deadline(), self._directs.deadline(), self._relays.deadline())
        self._earliest.at = DUE_NOW if self._outgoing else timers

    # --- for somebody who looks -----------------------------------------------------------------------------------

    def peers_with_state(self) -> list[bytes]:
        """The keys of the peers that were asked for, or that ask."""
        return list(dict.fromkeys((*self._routes, *self._directs)))

    def direct(self, key: bytes) -> DirectPath | None:
        """What is known of the direct path to that peer. It is this object's: only look."""
        return self._directs.get(key)

    def by_peer_relay(self, key: bytes) -> RelayPath | None:
        """As `direct`, of the path through a peer that relays."""
        return self._relays.get(key)

    def timers(self) -> Iterator[tuple[bytes, str, float]]:
        """Every timer, with whose it is (b"" of nobody), what it is for, and when; inf if it is not armed."""
        yield b"", "an idle relay is let go", self._derp_routes.deadline()
        yield from self._directs.timers()
        yield from self._relays.timers()

    # --- the table ------------------------------------------------------------------------------------------------

    def _follow_up(self, now: float) -> None:
        """Take what the direct paths and the peer relays have done."""
        directs, relays = self._directs, self._relays
        if directs.changed:
            changed, directs.changed = directs.changed, {}
            for key in changed:
                direct = directs.get(key)
                relays.direct_changed(key, now)
                self._reroute(key, "direct paths are off" if direct is None else direct.why)
                self._sizes.note(key, None if direct is None else direct.mtu)
        if directs.calls:
            calls, directs.calls = directs.calls, {}
            for key in calls:
                self._call(key, now)
        if relays.changed:
            changed, relays.changed = relays.changed, {}
            for key in changed:
                path = relays.get(key)
                self._reroute(key, "peer relays are off" if path is None else path.why)
        if relays.letters:
            letters, relays.letters = relays.letters, []
            for key, message in letters:
                self._post(key, message)

    def _post(self, key: bytes, message: Message) -> None:
        """Send this peer a message through DERP."""
        recipient, node = self._senders.get(key), self._nodes.get(key)
        relay = None if node is None else self._derp_routes.address(key, node.home_region)
        if recipient is not None and relay is not None:
            self._outgoing.send(recipient, relay, message)

    def _reroute(self, key: bytes, why: str) -> bool:
        """Bring one peer's entry up to date, if it was asked for. Whether it has gained its first path."""
        before = self._routes.get(key)
        if before is None:
            return False
        routes = self._routes_of(key)
        if routes == before:
            return False
        self._routes[key] = routes
        earlier = self._changes.get(key)
        self._changes[key] = RoutesChanged(key, before if earlier is None else earlier.before, routes, why)
        return not before

    def _routes_of(self, key: bytes) -> Routes:
        node = self._nodes.get(key)
        if node is None:
            return ()
        if node.is_wireguard_only:
            return self._fixed.routes(key, node)
        relay, direct = self._derp_routes.address(key, node.home_region), self._directs.get(key)
        session = self._relays.get(key)
        best: Destination | None = None if direct is None else direct.best
        is_trusted = direct is not None and direct.is_trusted
        if not is_trusted and session is not None and session.best is not None and (best is None or session.is_trusted):
            best, is_trusted = session.best, session.is_trusted
        if best is None:
            return () if relay is None else (relay,)
        return (best,) if is_trusted or relay is None else (best, relay)
