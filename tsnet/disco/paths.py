"""Which destination reaches each peer now, and the disco messages that belong to finding out.

A peer with IsWireGuardOnly has a fixed UDP endpoint, and roams: it is where its last authenticated datagram came
from. Every other peer is reached through a relay, by the first of these that fits:

    1. its home region, if we are connected there
    2. the region it last spoke to us through, while that connection lasts
    3. its home region, to be dialled

The second rule is how an answer goes back through our own home without dialling the peer's. `routes` is one
dictionary look-up: the table is rewritten when something changes, not when something is sent. It names all that lead to
a peer, the best first. Today that is one; the owner sends by the first that has room.

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
    """What is known of the way to one peer.

    learnt: the region it last spoke to us through, 0 for none. endpoint: where control says a peer with
    IsWireGuardOnly is; udp: where it is. last_ping: TxID of the disco Ping answered last.
    """

    __slots__ = ("disco_key", "endpoint", "home_region", "is_wireguard_only", "last_ping", "learnt", "udp")

    def __init__(self) -> None:
        self.disco_key: DiscoKey | None = None
        self.endpoint: UdpAddress | None = None
        self.home_region: int = 0
        self.is_wireguard_only: bool = False
        self.last_ping: bytes = b""
        self.learnt: int = 0
        self.udp: UdpAddress | None = None


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
        self._paths: dict[NodeKey, Path] = {}
        self._routes: dict[NodeKey, tuple[Destination, ...]] = {}
        self._rerouted: dict[NodeKey, None] = {}
        self._senders: Counter[DiscoKey] = Counter()
        """Whose disco we open, and how many peers have that key: one, unless control errs."""
        self._home = 0
        self._connected: set[int] = set()
        self._wrote_at: dict[int, float] = {}
        self._answers: list[tuple[Destination, list[bytes]]] = []
        self._sent_at = -math.inf
        self._sent_to: dict[NodeKey, None] = {}
        self._changes: list[PathChanged] = []
        self.endpoints: tuple[UdpAddress, ...] = ()
        """Our own, as measured last."""
        self.modes: DiscoModes = DiscoModes()

    # --- what control and the relays tell -------------------------------------------------------------------------

    def update_peers(self, peers: Iterable[tuple[NodeKey, Node | None]], now: float) -> list[NodeKey]:
        """Those peers of the netmap that have changed; None for one that has left. Returns those that just gained
        their first path."""
        gained: list[NodeKey] = []
        for key, node in peers:
            if node is None:
                self._remove(key)
                continue
            path = self._paths.get(key)
            if path is None:
                path = self._paths[key] = Path()
            had_none = key not in self._routes
            self._set_peer(path, node)
            self._set_routes(key, path)
            if had_none and key in self._routes:
                gained.append(key)
        return gained

    def _remove(self, key: NodeKey) -> None:
        path = self._paths.pop(key, None)
        self._sent_to.pop(key, None)
        if path is not None:
            self._set_sender(path, None)
        if self._routes.pop(key, None) is not None:
            self._rerouted[key] = None

    def _set_peer(self, path: Path, node: Node) -> None:
        self._set_sender(path, node.disco_key)
        path.home_region, path.is_wireguard_only = node.home_region, node.is_wireguard_only
        endpoint = node.endpoints[0] if node.is_wireguard_only and node.endpoints else None
        if endpoint != path.endpoint:
            path.endpoint = path.udp = endpoint

    def _set_sender(self, path: Path, disco_key: DiscoKey | None) -> None:
        """The peer has this disco key now, and no other."""
        before, path.disco_key = path.disco_key, disco_key
        if before == disco_key:
            return
        if before is not None:
            self._senders[before] -= 1
            if not self._senders[before]:
                del self._senders[before]
                self.box.forget(before)
        if disco_key is not None:
            self._senders[disco_key] += 1

    def set_home(self, region: int, now: float) -> None:
        """Our own home: held open for good. The old one stays for a minute, peers have yet to learn of the new."""
        if self._home and self._home != region:
            self._wrote_at[self._home] = now
        self._home = region

    def connected(self, region: int, now: float) -> list[NodeKey]:
        """We are logged in at a relay of that region. Returns the peers that gained their first path."""
        self._connected.add(region)
        return self._reroute()

    def disconnected(self, region: int, now: float) -> None:
        """That connection has ended; what was learnt through it is void."""
        self._connected.discard(region)
        for path in self._paths.values():
            if path.learnt == region:
                path.learnt = 0
        self._reroute()

    def peer_gone(self, region: int, key: NodeKey) -> None:
        """The relay says the peer is not there: only the learnt route goes, never the peer's home."""
        path = self._paths.get(key)
        if path is not None and path.learnt == region:
            path.learnt = 0
            self._set_routes(key, path)

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
        path = self._paths.get(key)
        if path is None:
            return False
        if isinstance(source, DerpAddress):
            if path.is_wireguard_only or path.learnt == source.region:
                return False
            path.learnt = source.region
        else:
            if not path.is_wireguard_only or path.udp == source:
                return False
            path.udp = source
        had_none = key not in self._routes
        self._set_routes(key, path)
        return had_none

    def sent(self, key: NodeKey, now: float) -> None:
        """Datagrams of WireGuard have left for that peer."""
        self._sent_at = now
        self._sent_to[key] = None

    def learn_disco_key(self, key: NodeKey, disco_key: DiscoKey, now: float) -> None:
        """The peer has told us its disco key inside the tunnel."""
        path = self._paths.get(key)
        if path is not None:
            self._set_sender(path, disco_key)

    # --- the way out ----------------------------------------------------------------------------------------------

    def routes(self, key: NodeKey) -> tuple[Destination, ...]:
        """All that leads to this peer, the best first; nothing while nothing reaches it.

        It is the same tuple until something changes.
        """
        return self._routes.get(key, ())

    def route(self, key: NodeKey) -> Destination | None:
        """The best of them."""
        routes = self._routes.get(key)
        return routes[0] if routes else None

    @property
    def is_rerouted(self) -> bool:
        """Whether `take_rerouted` has something to tell."""
        return bool(self._rerouted)

    def take_rerouted(self) -> Iterable[NodeKey]:
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

    def tell_routes(self, key: NodeKey) -> None:
        """Trace how a peer is reached now; for peers that are sent to, when that has changed."""
        if self._trace is not None:
            self._trace("path chosen", peer=key, by=self.routes(key) or "none")

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
        path = self._paths.get(source.key)
        if path is None or path.disco_key != sender:
            return "wrong node"
        return self._message(message, path, source, sender)

    def _message(self, message: Message, path: Path, source: DerpAddress, sender: DiscoKey) -> str | None:
        """A message that is proven to come from the peer that the relay names."""
        if not isinstance(message, Ping):
            return type(message).__name__
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

    def _reroute(self) -> list[NodeKey]:
        """Bring the whole table up to date; the keys that were not in it before."""
        before = self._routes.copy()
        for key, path in self._paths.items():
            self._set_routes(key, path)
        return [key for key in self._routes if key not in before]

    def _set_routes(self, key: NodeKey, path: Path) -> None:
        destination = path.udp if path.is_wireguard_only else self._relayed(key, path)
        routes = () if destination is None else (destination,)
        if routes == self._routes.get(key, ()):
            return
        self._rerouted[key] = None
        if key in self._sent_to and len(self._changes) < MAX_CHANGES:
            self._changes.append(PathChanged(key, self._routes.get(key, ()), routes, "relays"))
        if routes:
            self._routes[key] = routes
        else:
            del self._routes[key]

    def _relayed(self, key: NodeKey, path: Path) -> DerpAddress | None:
        region = path.home_region
        if path.learnt and region not in self._connected:
            region = path.learnt
        return DerpAddress(region, key) if region else None
