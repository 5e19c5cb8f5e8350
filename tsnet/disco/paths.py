"""Which destination reaches each peer now, and the disco messages that belong to finding out.

A peer with IsWireGuardOnly has a fixed UDP endpoint, and roams: it is where its last authenticated datagram came
from. Every other peer is reached through a relay, by the first of these that fits:

    1. its home region, if we are connected there
    2. the region it last spoke to us through, while that connection lasts
    3. its home region, to be dialled

The second rule is how an answer goes back through our own home without dialling the peer's. `routes` names all that
lead to a peer, the best first: today that is one; the owner sends by the first that has room. They are made when they
are first asked for, and from then on found by one dictionary look-up until something changes. Of a large tailnet's
peers most are never sent to nor heard: what is kept of these is their home and their disco key, and no object.

A disco Ping that comes by DERP from a peer in the netmap is answered by a Pong the same way. Everything else is
counted by why it was not believed, or not wanted.

Source: Go wgengine/magicsock/magicsock.go (handleDiscoMessage), derp.go (derpWriteChanForRegion, derpRoute).
Not here: whether a home is well chosen (`netcheck.home`), who dials (`derp.client`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from tsnet.base.addresses import DerpAddress, Destination, UdpAddress
from tsnet.base.keys import DiscoKey, DiscoPrivateKey, NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.base.trace import Trace
from tsnet.disco.box import Box, looks_like_disco, sender_of
from tsnet.disco.changes import PathChanged
from tsnet.disco.messages import Message, Ping, Pong, decode
from tsnet.disco.modes import DiscoModes
from tsnet.netmap.model import Node

DERP_MAGIC_ADDRESS = "127.3.3.40"
"""Stands for "through DERP region <port>" wherever an IP address is asked for; never on a wire but in a Pong."""

DERP_IDLE_CLOSE = 60.0
MAX_ANSWERS = 64
SESSION_ACTIVE_TIMEOUT = 45.0
MAX_CHANGES = 1024
DUE_NOW = -math.inf


class Path:
    """What is known of the way to a peer that has been heard, or is WireGuard-only, beside its home.

    learnt: the region it last spoke to us through, 0 for none. endpoint: where control says a peer with
    IsWireGuardOnly is; udp: where it is. last_ping: TxID of the disco Ping answered last.
    """

    __slots__ = ("endpoint", "is_wireguard_only", "last_ping", "learnt", "udp")

    def __init__(self) -> None:
        self.endpoint: UdpAddress | None = None
        self.is_wireguard_only: bool = False
        self.last_ping: bytes = b""
        self.learnt: int = 0
        self.udp: UdpAddress | None = None


Way = UdpAddress | int
"""Where a peer is reached: an address, or through the relays of a region. 0 is nowhere."""


class Paths:
    """The paths of all peers.

    dropped: disco datagrams, by "short", "unknown sender", "box", "malformed", "udp" (no direct paths here),
        "wrong node" (the relay names another node than the one with that disco key), "repeated", "answers" (too many
        at once), or the name of a message that is not wanted.
    """

    def __init__(
        self, private_key: DiscoPrivateKey, *, entropy: Callable[[int], bytes], trace: Trace | None = None
    ) -> None:
        self._trace = trace
        self.dropped: Counter[str] = Counter()
        self.box: Box = Box(private_key, entropy)
        self._homes: dict[bytes, int] = {}
        """The home region of every peer, by node key."""
        self._disco_keys: dict[bytes, bytes] = {}
        """Of every peer that has one, by node key."""
        self._senders: dict[bytes, int] = {}
        """Whose disco we open, and how many peers have that key: one, unless control errs."""
        self._paths: dict[bytes, Path] = {}
        self._routes: dict[bytes, tuple[Destination, ...]] = {}
        """Those that have been asked for since they changed."""
        self._rerouted: dict[bytes, None] = {}
        self._home = 0
        self._connected: set[int] = set()
        self._wrote_at: dict[int, float] = {}
        self._answers: list[tuple[Destination, list[bytes]]] = []
        self._sent_at = -math.inf
        self._sent_to: dict[bytes, None] = {}
        self._changes: list[PathChanged] = []
        self.endpoints: tuple[UdpAddress, ...] = ()
        """Our own, as measured last."""
        self.modes: DiscoModes = DiscoModes()

    # --- what control and the relays tell -------------------------------------------------------------------------

    def update_peers(self, peers: Iterable[tuple[bytes, Node | None]], now: float) -> list[bytes]:
        """Those peers of the netmap that have changed, by node key; None for one that has left. Returns those that just
        gained their first path."""
        gained: list[bytes] = []
        for key, node in peers:
            before = self._way(key)
            if node is None:
                self._remove(key)
            else:
                self._set_peer(key, node)
            if self._note(key, before):
                gained.append(key)
        return gained

    def _remove(self, key: bytes) -> None:
        self._set_sender(key, b"")
        self._homes.pop(key, None)
        self._paths.pop(key, None)
        self._sent_to.pop(key, None)

    def _set_peer(self, key: bytes, node: Node) -> None:
        self._set_sender(key, node.raw_disco_key)
        self._homes[key] = node.home_region
        if not node.is_wireguard_only and key not in self._paths:
            return
        path = self._path(key)
        path.is_wireguard_only = node.is_wireguard_only
        endpoint = node.endpoints[0] if node.is_wireguard_only and node.raw_endpoints else None
        if endpoint != path.endpoint:
            path.endpoint = path.udp = endpoint

    def _set_sender(self, key: bytes, disco_key: bytes) -> None:
        """The peer has this disco key now, and no other; an empty one is none."""
        before = self._disco_keys.get(key, b"")
        if before == disco_key:
            return
        if before:
            del self._disco_keys[key]
            self._senders[before] -= 1
            if not self._senders[before]:
                del self._senders[before]
                self.box.forget(DiscoKey(before))
        if disco_key:
            self._disco_keys[key] = disco_key
            self._senders[disco_key] = self._senders.get(disco_key, 0) + 1

    def set_home(self, region: int, now: float) -> None:
        """Our own home: held open for good. The old one stays for a minute, peers have yet to learn of the new."""
        if self._home and self._home != region:
            self._wrote_at[self._home] = now
        self._home = region

    def connected(self, region: int, now: float) -> list[bytes]:
        """We are logged in at a relay of that region. Returns the peers that gained their first path."""
        before = self._ways()
        self._connected.add(region)
        return [key for key, way in before.items() if self._note(key, way)]

    def disconnected(self, region: int, now: float) -> None:
        """That connection has ended; what was learnt through it is void."""
        before = self._ways()
        self._connected.discard(region)
        for path in self._paths.values():
            if path.learnt == region:
                path.learnt = 0
        for key, way in before.items():
            self._note(key, way)

    def peer_gone(self, region: int, key: bytes) -> None:
        """The relay says the peer is not there: only the learnt route goes, never the peer's home."""
        path = self._paths.get(key)
        if path is not None and path.learnt == region:
            before = self._way(key)
            path.learnt = 0
            self._note(key, before)

    # --- what the network around us tells -------------------------------------------------------------------------

    def set_endpoints(self, endpoints: Sequence[UdpAddress], now: float) -> None:
        """Our own endpoints, measured just now."""
        self.endpoints = tuple(endpoints)

    @property
    def wants_endpoints(self) -> bool:
        """Whether something waits for `set_endpoints`: a peer is to be told where we are."""
        return False

    def is_active(self, now: float) -> bool:
        """Whether some peer was sent to lately, so that it is worth while to know our endpoints."""
        return now < self._sent_at + SESSION_ACTIVE_TIMEOUT

    def set_modes(self, modes: DiscoModes, now: float) -> None:
        self.modes = modes

    def network_changed(self, now: float) -> None:
        """The internet is reached by another way than before."""

    # --- what WireGuard tells -------------------------------------------------------------------------------------

    def authenticated(self, key: NodeKey, source: Destination, now: float) -> bool:
        """A datagram of this peer came from there and was proven genuine. True if that is its first path."""
        if key not in self._homes:
            return False
        path, before = self._path(key), self._way(key)
        if isinstance(source, DerpAddress):
            if path.is_wireguard_only or path.learnt == source.region:
                return False
            path.learnt = source.region
        else:
            if not path.is_wireguard_only or path.udp == source:
                return False
            path.udp = source
        return self._note(key, before)

    def sent(self, key: NodeKey, now: float) -> None:
        """Datagrams of WireGuard have left for that peer."""
        self._sent_at = now
        self._sent_to[key] = None

    def learn_disco_key(self, key: NodeKey, disco_key: DiscoKey, now: float) -> None:
        """The peer has told us its disco key inside the tunnel."""
        if key in self._homes:
            self._set_sender(key, bytes(disco_key))

    # --- the way out ----------------------------------------------------------------------------------------------

    def routes(self, key: bytes) -> tuple[Destination, ...]:
        """All that leads to this peer, the best first; nothing while nothing reaches it.

        It is the same tuple until something changes.
        """
        return self._routes.get(key) or self._find_routes(key)

    def route(self, key: bytes) -> Destination | None:
        """The best of them."""
        routes = self.routes(key)
        return routes[0] if routes else None

    @property
    def is_rerouted(self) -> bool:
        """Whether `take_rerouted` has something to tell."""
        return bool(self._rerouted)

    def take_rerouted(self) -> Iterable[bytes]:
        """The peers whose routes have changed since the last call."""
        rerouted = self._rerouted
        if rerouted:
            self._rerouted = {}
        return rerouted

    def take_changes(self) -> list[PathChanged]:
        """How the paths to peers that are sent to have changed since the last call, in order."""
        changes = self._changes
        if changes:
            self._changes = []
        return changes

    def tell_routes(self, key: bytes) -> None:
        """Trace how a peer is reached now; for peers that are sent to, when that has changed."""
        if self._trace is not None:
            self._trace("path chosen", peer=NodeKey(key), by=self.routes(key) or "none")

    def wrote(self, region: int, now: float) -> None:
        """Something is sent through that region: it is wanted for a minute from now."""
        self._wrote_at[region] = now

    def regions_wanted(self, now: float) -> set[int]:
        """The regions to be connected to: the home, and those written to within the last minute."""
        wanted = {region for region, at in self._wrote_at.items() if now < at + DERP_IDLE_CLOSE}
        if self._home:
            wanted.add(self._home)
        return wanted

    # --- disco ----------------------------------------------------------------------------------------------------

    def receive(self, runs: Iterable[tuple[Destination, Sequence[bytes]]], now: float) -> None:
        """Datagrams that look like disco."""
        for source, datagrams in runs:
            for datagram in datagrams:
                reason = self._receive(source, datagram)
                if reason is not None:
                    self.dropped[reason] += 1

    def _receive(self, source: Destination, datagram: bytes) -> str | None:
        """Act on one datagram; why it was dropped, if it was."""
        if not looks_like_disco(datagram):
            return "short"
        sender = sender_of(datagram)
        if sender not in self._senders:
            return "unknown sender"
        try:
            plaintext = self.box.open(datagram)
        except MalformedError:
            return "box"
        try:
            message = decode(plaintext)
        except MalformedError:
            return "malformed"
        if not isinstance(source, DerpAddress):
            return "udp"
        if self._disco_keys.get(source.key) != sender:
            return "wrong node"
        return self._message(message, source, sender)

    def _message(self, message: Message, source: DerpAddress, sender: DiscoKey) -> str | None:
        """A message that is proven to come from the peer that the relay names."""
        if not isinstance(message, Ping):
            return type(message).__name__
        path = self._path(source.key)
        if message.tx_id == path.last_ping:
            return "repeated"
        if len(self._answers) >= MAX_ANSWERS:
            return "answers"
        path.last_ping = message.tx_id
        pong = Pong(message.tx_id, UdpAddress(DERP_MAGIC_ADDRESS, source.region & 0xFFFF))
        self._answers.append((source, [self.box.seal(sender, pong.encode())]))
        return None

    def transmit(self, now: float, budget: int) -> list[tuple[Destination, list[bytes]]]:
        """Disco datagrams that must go out, at most `budget` bytes; idle regions are let go."""
        for region, at in list(self._wrote_at.items()):
            if now >= at + DERP_IDLE_CLOSE:
                del self._wrote_at[region]
        count = 0
        for _destination, datagrams in self._answers:
            budget -= sum(map(len, datagrams))
            if budget < 0:
                break
            count += 1
        runs, self._answers = self._answers[:count], self._answers[count:]
        return runs

    def deadline(self) -> float:
        if self._answers:
            return DUE_NOW
        return min(self._wrote_at.values(), default=math.inf) + DERP_IDLE_CLOSE

    # --- the table ------------------------------------------------------------------------------------------------

    def _path(self, key: bytes) -> Path:
        """What is known of a peer, which may be nothing yet."""
        path = self._paths.get(key)
        if path is None:
            path = self._paths[key] = Path()
        return path

    def _ways(self) -> dict[bytes, Way]:
        """Of the peers whose way depends on more than their home."""
        return {key: self._way(key) for key in self._paths}

    def _way(self, key: bytes) -> Way:
        path, region = self._paths.get(key), self._homes.get(key, 0)
        if path is None:
            return region
        if path.is_wireguard_only:
            return path.udp or 0
        return path.learnt if path.learnt and region not in self._connected else region

    def _note(self, key: bytes, before: Way) -> bool:
        """Note it if a peer is not reached as before. Whether it is, and was not at all."""
        way = self._way(key)
        if way != before:
            self._routes.pop(key, None)
            self._rerouted[key] = None
            if key in self._sent_to and len(self._changes) < MAX_CHANGES:
                self._changes.append(PathChanged(NodeKey(key), _routes(key, before), _routes(key, way), "relays"))
        return bool(way) and not before

    def _find_routes(self, key: bytes) -> tuple[Destination, ...]:
        routes = _routes(key, self._way(key))
        if routes:
            self._routes[key] = routes
        return routes


def _routes(key: bytes, way: Way) -> tuple[Destination, ...]:
    if isinstance(way, int):
        return (DerpAddress(way, NodeKey(key)),) if way else ()
    return (way,)
