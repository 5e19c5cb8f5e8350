"""Clients and a relay joined by a list: effects of one side become events of the other, on a hand clock."""

from __future__ import annotations

import functools
import heapq
import itertools
import math
import random
from collections.abc import Callable

from tsnet.base.addresses import DerpAddress
from tsnet.base.crypto import node_public
from tsnet.base.keys import NodeKey, NodePrivateKey
from tsnet.base.links import Accepted, Close, Closed, Data, Effect, Event, Full, Link, Open, Opened, Received, Room
from tsnet.derp.client import Client
from tsnet.derp.facts import Fact
from tsnet.derp.server import Relay
from tsnet.netmap.model import DerpNode, DerpRegion

BUDGET = 1 << 20
MAX_STEPS = 200

REGION = DerpRegion(7, nodes=(DerpNode("7a", 7, "relay.example", ipv4="192.0.2.7", ipv6="none"),))
SERVER_PRIVATE = NodePrivateKey(b"\x22" * 32)


def entropy(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def private_key(number: int) -> NodePrivateKey:
    return NodePrivateKey(bytes([number]) * 32)


class Peer:
    """A client, what it received and what it learnt. `is_deaf`: its link takes no more (the relay sees Full)."""

    def __init__(self, client: Client, private: NodePrivateKey) -> None:
        self.client = client
        self.key = node_public(private)
        self.inbox: list[tuple[NodeKey, bytes]] = []
        self.facts: list[Fact] = []

    def take(self, runs: list[tuple[DerpAddress, list[bytes]]]) -> None:
        self.inbox += [(source.key, packet) for source, packets in runs for packet in packets]
        self.facts += self.client.take_facts()

    def packets(self) -> list[bytes]:
        return [packet for _source, packet in self.inbox]


class Joined:
    """One relay and the clients that dial it. `chunk`: the wire hands over pieces of at most that many bytes.

    round_trip: seconds that two ways over the wire take. open_trips: round trips until a link is open (TCP, TLS).
    has_meta: the relay's certificate names its key. is_mute: the relay takes everything, and nothing comes of it.
    """

    def __init__(
        self,
        *,
        chunk: int = 1 << 18,
        relay: Relay | None = None,
        round_trip: float = 0.0,
        open_trips: float = 2.0,
        has_meta: bool = False,
    ) -> None:
        self.now = 1000.0
        self.chunk = chunk
        self.round_trip, self.open_trips, self.has_meta = round_trip, open_trips, has_meta
        self.is_mute = False
        self._under_way: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.relay = relay or Relay(SERVER_PRIVATE, entropy=entropy(1), now=self.now)
        self.peers: list[Peer] = []
        self.links: dict[Link, Peer] = {}
        self.is_up = True

    def add(self, number: int, *, preferred: bool = False) -> Peer:
        private = private_key(number)
        client = Client(REGION, private, entropy=entropy(number), preferred=preferred, now=self.now)
        peer = Peer(client, private)
        self.peers.append(peer)
        return peer

    def run(self, until: float | None = None) -> None:
        """Exchange everything due; then, up to `until`, wind the clock from deadline to deadline."""
        while True:
            self._settle()
            under_way = self._under_way[0][0] if self._under_way else math.inf
            at = min([under_way, self.relay.deadline(), *(peer.client.deadline() for peer in self.peers)])
            if until is None or at > until:
                break
            self.now = max(self.now, at)
        if until is not None:
            self.now = until

    def _settle(self) -> None:
        for _step in range(MAX_STEPS):
            busy = False
            while self._under_way and self._under_way[0][0] <= self.now:
                heapq.heappop(self._under_way)[2]()
            for peer in self.peers:
                for effect in peer.client.transmit(self.now, BUDGET):
                    busy = True
                    self._from_client(peer, effect)
                peer.facts += peer.client.take_facts()
            for effect in self.relay.transmit(self.now, BUDGET):
                busy = True
                self._from_relay(effect)
            if not busy:
                assert self.relay.deadline() > self.now
                assert all(peer.client.deadline() > self.now for peer in self.peers)
                return
        raise AssertionError("the machines never rest")

    def _later(self, trips: float, function: Callable[[], None]) -> None:
        """After that many round trips; without a round-trip time at once."""
        if not self.round_trip:
            function()
            return
        heapq.heappush(self._under_way, (self.now + trips * self.round_trip, next(self._numbers), function))

    def _tell_relay(self, event: Event) -> None:
        if not self.is_mute:
            self.relay.receive(event, self.now)

    def _tell(self, peer: Peer, event: Event) -> None:
        if not self.is_mute:
            peer.take(peer.client.receive(event, self.now))

    def _from_client(self, peer: Peer, effect: Effect) -> None:
        match effect:
            case Open(link=link):
                if not self.is_up:
                    peer.take(peer.client.receive(Closed(link, "refused"), self.now))
                    return
                name = self._served(peer, link)
                self.links[name] = peer
                accepted, opened = Accepted(name, ("198.51.100.1", 40_000)), self._opened(link)
                self._later(self.open_trips - 0.5, lambda: self._tell_relay(accepted))
                self._later(self.open_trips, lambda: self._tell(peer, opened))
            case Data(link=link, data=data):
                for piece in self._pieces(data):
                    received = Received(self._served(peer, link), piece)
                    self._later(0.5, functools.partial(self._tell_relay, received))
            case Close(link=link):
                self.links.pop(self._served(peer, link), None)
                closed = Closed(self._served(peer, link), "eof")
                self._later(0.5, lambda: self.relay.receive(closed, self.now))

    def _opened(self, link: Link) -> Opened:
        return Opened(link, self.relay.public_key if self.has_meta else b"")

    def _from_relay(self, effect: Effect) -> None:
        assert isinstance(effect, Data | Close)
        peer = self.links.get(effect.link)
        if peer is None:
            return
        link = _own(effect.link)
        if isinstance(effect, Close):
            del self.links[effect.link]
            self._later(0.5, lambda: self._tell(peer, Closed(link, "eof")))
            return
        for piece in self._pieces(effect.data):
            self._later(0.5, functools.partial(self._tell, peer, Received(link, piece)))

    def _pieces(self, data: bytes) -> list[bytes]:
        return [data[start : start + self.chunk] for start in range(0, len(data), self.chunk)]

    def _served(self, peer: Peer, link: Link) -> Link:
        """The relay's name for that link."""
        return Link(f"{link.room} of {self.peers.index(peer)}", link.name, link.generation)

    def link_of(self, peer: Peer) -> Link:
        return next(link for link, owner in self.links.items() if owner is peer)

    def deafen(self, peer: Peer, deaf: bool = True) -> None:
        """The relay's link to this peer is full, or has room again."""
        event: Event = Full(self.link_of(peer)) if deaf else Room(self.link_of(peer))
        self.relay.receive(event, self.now)

    def break_link(self, peer: Peer, *, tell_client: bool = True) -> None:
        link = self.link_of(peer)
        del self.links[link]
        self.relay.receive(Closed(link, "reset"), self.now)
        if tell_client:
            peer.take(peer.client.receive(Closed(_own(link), "reset"), self.now))


def _own(link: Link) -> Link:
    """The client's name for what the relay calls `_served`."""
    return link._replace(room="derp")
