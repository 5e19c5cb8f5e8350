"""Peer relays, of all peers: who may relay, which sessions are asked for, which handshakes are under way.

| what comes                       | from           | what follows                                                     |
|----------------------------------|----------------|------------------------------------------------------------------|
| a peer needs a way (`RelayPath`) | ourselves      | every peer relay is asked for a session (`Allocations`)          |
| AllocateUDPRelayEndpointResponse | a relay        | the peer is told (CallMeMaybeVia), and a handshake begins        |
| CallMeMaybeVia                   | the peer       | a handshake begins (`Bindings`)                                  |
| a challenge, in a handshake      | its relay      | the answer, and a ping to the peer                               |
| a pong by the session            | the peer       | the session works, and is taken if it is the better one          |

A session is a relay's address and a VNI. The one that was used last is kept, to be bound anew when it is doubted.

Source: Go wgengine/magicsock/relaymanager.go.
Not here: who is granted to us (`engine.relaygrants`), handshakes (`bindings`), what is sent through DERP (`paths`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

from tsnet.base.addresses import PeerRelayAddress, UdpAddress
from tsnet.base.bucket import TokenBucket
from tsnet.base.keys import DiscoKey
from tsnet.base.timetable import Timetable
from tsnet.disco.allocations import Allocations, ClientKeys
from tsnet.disco.binding import Binding
from tsnet.disco.bindings import Bindings
from tsnet.disco.constants import (
    CALLED_VIA_INTERVAL,
    DATA_PADDING,
    MAX_BINDINGS,
    MAX_DIRECT,
    MAX_RELAYS,
    ROOM_AGAIN,
)
from tsnet.disco.directpaths import DirectPaths
from tsnet.disco.equipment import Equipment
from tsnet.disco.messages import (
    TX_ID_SIZE,
    AllocateUDPRelayEndpointResponse,
    CallMeMaybeVia,
    Message,
    Ping,
    UDPRelayEndpoint,
)
from tsnet.disco.relaypath import RELAY_TIMERS, RelayPath
from tsnet.netmap.model import Node

RELAY_CAPABLE = 121
"""The capability version from which on a node can be reached through peer relays."""


class PeerRelays:
    """changed: the peers whose session may be another one since the last look. letters: (peer, message) to be sent
    through DERP. Whoever calls a method takes both afterwards.
    """

    def __init__(self, directs: DirectPaths, equipment: Equipment) -> None:
        self.changed: dict[bytes, None] = {}
        self.letters: list[tuple[bytes, Message]] = []
        self._directs, self._senders, self._outgoing = directs, equipment.senders, equipment.outgoing
        self._entropy, self._dropped = equipment.entropy, equipment.dropped
        self._servers: tuple[bytes, ...] = ()
        self._all: dict[bytes, RelayPath] = {}
        self._timetable: Timetable[bytes] = Timetable(self._outgoing.earliest)
        self._allocations = Allocations(self._outgoing.earliest)
        self._bindings = Bindings(directs, equipment)
        self._sessions: dict[bytes, UDPRelayEndpoint] = {}
        """Of each peer, the one that was used last."""
        self._called_via: dict[bytes, TokenBucket] = {}
        self._full_until = -math.inf

    def __len__(self) -> int:
        return len(self._all)

    # --- who relays, and for whom -----------------------------------------------------------------------------------

    @property
    def servers(self) -> tuple[bytes, ...]:
        """The nodes that are asked for sessions."""
        return self._servers

    def set_servers(self, servers: Iterable[bytes], now: float) -> None:
        """The nodes that control grants us as relays: all of them, of which the first MAX_RELAYS count."""
        found = tuple(dict.fromkeys(servers))[:MAX_RELAYS]
        if found == self._servers:
            return
        self._servers = found
        self._each(lambda path: path.set_may_discover(bool(found), now))

    def get(self, key: bytes) -> RelayPath | None:
        return self._all.get(key)

    def update(self, key: bytes, node: Node) -> None:
        """Control says something new of this peer."""
        if key in self._all and not self._may_have(key, node):
            self.forget(key)

    def _begin(self, key: bytes, node: Node, now: float) -> RelayPath | None:
        path = self._all.get(key)
        if path is None and self._may_have(key, node) and self._make_room(now):
            direct = self._directs.get(key)
            is_needed = direct is None or not direct.is_trusted
            silent, may_discover = self._directs.modes.silent, bool(self._servers)
            path = self._all[key] = RelayPath(is_silent=silent, is_needed=is_needed, may_discover=may_discover)
        return path

    def _may_have(self, key: bytes, node: Node) -> bool:
        modes = self._directs.modes
        is_capable = node.capability_version >= RELAY_CAPABLE and not node.is_wireguard_only
        return modes.udp and modes.relays and is_capable and self._senders.get(key) is not None

    def _make_room(self, now: float) -> bool:
        if len(self._all) < MAX_DIRECT:
            return True
        if now < self._full_until:
            return False
        idle = next((key for key, path in self._all.items() if not path.is_active(now)), None)
        if idle is None:
            self._full_until = now + ROOM_AGAIN
            return False
        self.forget(idle)
        return True

    def forget(self, key: bytes) -> None:
        self._called_via.pop(key, None)
        self._sessions.pop(key, None)
        self._stop(key)
        if self._all.pop(key, None) is not None:
            self._timetable.drop(key)
            self.changed[key] = None

    def _stop(self, key: bytes) -> None:
        """Sessions with this peer are not wanted any more."""
        self._allocations.forget(key)
        self._bindings.forget(key)

    def restarted(self, key: bytes, now: float) -> None:
        """The peer has another disco key: another process runs there, and knows of no session."""
        self._stop(key)
        self._sessions.pop(key, None)
        path = self._all.get(key)
        if path is not None:
            path.anew("the peer has a new disco key", now)
            self._after(key, path, now)

    def modes_changed(self) -> None:
        """`DirectPaths.modes` are others."""
        for key in [*self._all, *{binding.peer for binding in self._bindings}]:
            self.forget(key)
        self._allocations.forget()

    def network_changed(self, now: float) -> None:
        """The relays know us by an address that is ours no more: what was used is bound anew."""
        for key in list(self._all):
            self._stop(key)
        self._each(lambda path: path.anew("the network changed", now))
        for key, path in self._all.items():
            self._after(key, path, now)

    def _each(self, tell: Callable[[RelayPath], None]) -> None:
        for key, path in self._all.items():
            tell(path)
            self._timetable.set(key, path.deadline())

    # --- what happens -----------------------------------------------------------------------------------------------

    def sent(self, key: bytes, node: Node, now: float) -> None:
        """Datagrams of WireGuard have left for this peer."""
        path = self._all.get(key)
        if path is None:
            path = self._begin(key, node, now) if self._servers else None
        if path is not None and path.sent(now):
            self._timetable.set(key, path.deadline())

    def ask(self, key: bytes, node: Node, now: float) -> tuple[bytes, PeerRelayAddress] | None:
        """Ping the session in use, because somebody wants to know: its TxID and address. Others are looked for."""
        path = self._begin(key, node, now) if self._servers else self._all.get(key)
        if path is None:
            return None
        path.asked(now)
        asks, path.asks = path.asks, []
        sent = [(self._ping(key, path, address, padding, now), address) for address, padding in asks]
        self._after(key, path, now)
        return sent[-1] if sent else None

    def called(self, key: bytes, now: float) -> None:
        """The peer says CallMeMaybe."""
        path = self._all.get(key)
        if path is not None:
            path.called(now)
            self._timetable.set(key, path.deadline())

    def direct_changed(self, key: bytes, now: float) -> None:
        """The direct path of this peer may be trusted now, or no more."""
        path, direct = self._all.get(key), self._directs.get(key)
        if path is not None:
            path.set_needed(direct is None or not direct.is_trusted, now)
            self._after(key, path, now)

    def arrived(self, key: bytes, source: PeerRelayAddress, now: float) -> None:
        """An authentic datagram of WireGuard has come by that session."""
        path = self._all.get(key)
        if path is not None and path.arrived(source, now):
            self._timetable.set(key, path.deadline())

    def arrived_by_derp(self, key: bytes, now: float) -> None:
        """The same, through DERP."""
        path = self._all.get(key)
        if path is not None and path.arrived_by_derp(now):
            self._after(key, path, now)

    def handshake_unanswered(self, key: bytes, now: float) -> None:
        """A message of WireGuard's handshake with this peer went unanswered."""
        path = self._all.get(key)
        if path is not None:
            path.handshake_unanswered(now)
            self._after(key, path, now)

    def handshake_answered(self, key: bytes) -> None:
        """There is a new session of WireGuard with this peer."""
        path = self._all.get(key)
        if path is not None:
            path.handshake_answered()

    def unsent(self, refused: Mapping[UdpAddress, int], now: float) -> None:
        """The system cannot send datagrams of these sizes there, or none if that is 0."""
        for key, path in self._all.items():
            if path.best is not None and (size := refused.get(path.best.relay)) is not None:
                path.unsent(size, now)
                self._after(key, path, now)

    # --- sessions ---------------------------------------------------------------------------------------------------

    def _clients(self, key: bytes) -> ClientKeys | None:
        """Our disco key and this peer's, as requests name them."""
        theirs, ours = self._senders.get(key), self._senders.box.public_key
        if theirs is None:
            return None
        return (min(ours, DiscoKey(theirs)), max(ours, DiscoKey(theirs)))

    def _discover(self, key: bytes, path: RelayPath, now: float) -> None:
        clients = self._clients(key)
        if clients is None:
            return
        if self._allocations.is_full:
            self._dropped["requests"] += 1
            path.postponed(now)
            return
        for server in self._servers:
            begun = self._allocations.begin(server, key, clients, now)
            if begun is not None:
                self.letters.append((server, begun.request))

    def allocated(
        self,
        server: bytes,
        response: AllocateUDPRelayEndpointResponse,
        node_of: Callable[[bytes], Node | None],
        now: float,
    ) -> str | None:
        """That node has answered; it is proven. Why that is dropped, if it is. node_of: the peer of a key."""
        key = self._allocations.answered(server, response)
        node = None if key is None else node_of(key)
        if key is None or node is None:
            return "unknown allocation"
        self._bindings.trust(response.relay)
        refusal = self._offer(key, node, response.relay, now)
        if refusal is None:
            self.letters.append((key, CallMeMaybeVia(response.relay)))
        return refusal

    def called_via(self, key: bytes, node: Node, relay: UDPRelayEndpoint, now: float) -> str | None:
        """The peer names a session; it is proven. Why that is dropped, if it is."""
        if tuple(sorted(relay.client_keys)) != self._clients(key):
            return "wrong clients"
        bucket = self._called_via.get(key)
        if bucket is None:
            bucket = self._called_via[key] = TokenBucket(1 / CALLED_VIA_INTERVAL, MAX_BINDINGS, now)
        if not bucket.take(1, now):
            return "called too often"
        return self._offer(key, node, relay, now)

    def _offer(self, key: bytes, node: Node, relay: UDPRelayEndpoint, now: float) -> str | None:
        """A session with this peer exists: begin its handshake, unless it is in use."""
        path = self._begin(key, node, now)
        if path is None:
            return "no relay client"
        in_use = (path.server_key, path.best.vni) if path.is_trusted and path.best is not None else None
        if in_use == (relay.server_key, relay.vni):
            return None
        return self._bind(key, path, relay, now)

    def _bind(self, key: bytes, path: RelayPath, relay: UDPRelayEndpoint, now: float) -> str | None:
        return self._bindings.begin(key, relay, now, padding=DATA_PADDING if path.only_large else 0)

    def receive_control(self, source: UdpAddress, datagram: bytes, vni: int, now: float) -> str | None:
        """A disco datagram of that session, from a relay itself. Why it was dropped, if it was."""
        return self._bindings.receive(source, datagram, vni, now)

    def pinged(self, peers: Iterable[bytes], source: PeerRelayAddress, now: float) -> None:
        """A ping of one of these peers has come by that session."""
        self._bindings.pinged(peers, source, now)

    def ponged(self, tx_id: bytes, peers: Iterable[bytes], source: PeerRelayAddress, now: float) -> bool:
        """A pong of one of these peers has come by that session. Whether it answers a ping of ours."""
        for key in peers:
            path = self._all.get(key)
            if path is None:
                continue
            if path.ponged(tx_id, source.vni, now):
                self._after(key, path, now)
                return True
            bound = self._bindings.ponged(tx_id, key, source.vni, now)
            if bound is not None:
                self._bound(path, *bound, now)
                return True
        return False

    def _bound(self, path: RelayPath, binding: Binding, latency: float, now: float) -> None:
        """The session works in both directions."""
        relay, lifetime = binding.relay, binding.relay.steady_state_lifetime_ns / 1e9
        if binding.address is not None and path.ready(binding.address, relay.server_key, latency, lifetime, now):
            self._sessions[binding.peer] = relay
        self._after(binding.peer, path, now)

    # --- time -------------------------------------------------------------------------------------------------------

    def run(self, now: float) -> None:
        """Do what is due."""
        for allocation in self._allocations.run(now):
            self.letters.append((allocation.server, allocation.request))
        self._bindings.run(now)
        for key in self._timetable.take(now):
            path = self._all[key]
            path.run(now)
            self._after(key, path, now)

    def deadline(self) -> float:
        if not self._all:
            return math.inf
        return min(self._timetable.deadline(), self._bindings.deadline(), self._allocations.deadline())

    def timers(self) -> Iterator[tuple[bytes, str, float]]:
        """Every timer of every path, with the name of its slot, and those of what is under way; inf if unarmed."""
        yield b"", "a request to a peer relay", self._allocations.deadline()
        yield b"", "a handshake with a peer relay", self._bindings.deadline()
        for key, path in self._all.items():
            for slot in RELAY_TIMERS:
                yield key, f"peer relay {slot}", getattr(path, slot)

    def _after(self, key: bytes, path: RelayPath, now: float) -> None:
        """Take what a path wants done, and note when it is due next."""
        self.changed[key] = None
        if path.asks:
            asks, path.asks = path.asks, []
            for address, padding in asks:
                self._ping(key, path, address, padding, now)
        if path.wants_sessions:
            path.wants_sessions = False
            self._discover(key, path, now)
        if path.wants_binding:
            path.wants_binding = False
            session = self._sessions.get(key)
            if session is not None:
                self._bind(key, path, session, now)
        self._timetable.set(key, path.deadline())

    def _ping(self, key: bytes, path: RelayPath, address: PeerRelayAddress, padding: int, now: float) -> bytes:
        recipient, tx_id = self._senders.get(key), self._entropy(TX_ID_SIZE)
        path.pinged(tx_id, address, padding, now)
        if recipient is not None:
            self._outgoing.send(recipient, address, Ping(tx_id, self._directs.own_key, padding))
        return tx_id
