"""A control server and its nodes joined by a list, on a hand clock: effects of one side are events of the other.

A paused link still brings what is on its way, and here that is all.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeVar

from tsnet.base.crypto import node_public
from tsnet.base.keys import DiscoKey, MachinePrivateKey, NodePrivateKey
from tsnet.base.links import (
    Accepted,
    Close,
    Closed,
    Compute,
    Computed,
    Data,
    Effect,
    Link,
    Open,
    Opened,
    Pause,
    Received,
    Resume,
)
from tsnet.control.client.client import Client
from tsnet.control.client.facts import Fact, NetMapChanged, NodeKeyRotated
from tsnet.control.server.members import Member
from tsnet.control.server.server import Server
from tsnet.control.server.tailnet import TailnetState
from tsnet.netmap.model import DerpMap, DerpNode, DerpRegion, NetMap

BUDGET = 1 << 20
MAX_STEPS = 400
WALL = 1_790_000_000.0
CONTROL_PRIVATE = MachinePrivateKey(b"\x33" * 32)
BASE_URL = "http://127.0.0.1:8080"
DERP_MAP = DerpMap({900: DerpRegion(900, "test", "Test", nodes=(DerpNode("900a", 900, "127.0.0.1"),))})

_Fact = TypeVar("_Fact")


def entropy(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def new_tailnet(**options: Any) -> TailnetState:
    return TailnetState(entropy=entropy(99), base_domain="tail.example", derp_map=DERP_MAP, **options)


class Peer:
    """A node's control client, and what it was told. Each has its own machine, node and disco keys."""

    def __init__(self, number: int, hostname: str, **options: Any) -> None:
        self.number = number
        self.machine = options.pop("machine", MachinePrivateKey(bytes([number]) * 32))
        self.private = options.pop("node", NodePrivateKey(bytes([100 + number]) * 32))
        self.disco_key = DiscoKey(bytes([200, number]) * 16)
        self.facts: list[Fact] = []
        self.client = Client(
            BASE_URL,
            machine_private=self.machine,
            node_private=self.private,
            disco_key=self.disco_key,
            entropy=entropy(number),
            wall_offset=WALL,
            hostinfo={"Hostname": hostname, "OS": "linux", **options.pop("hostinfo", {})},
            **options,
        )

    @property
    def key(self) -> bytes:
        return node_public(self.private)

    def told(self, kind: type[_Fact]) -> list[_Fact]:
        return [fact for fact in self.facts if isinstance(fact, kind)]

    @property
    def netmap(self) -> NetMap:
        return self.told(NetMapChanged)[-1].netmap

    @property
    def peers(self) -> list[str]:
        """The short names of those it sees."""
        return sorted(peer.name.partition(".")[0] for peer in self.netmap.peers.values())


class Joined:
    """One tailnet with a server over it, and the nodes that dial it. `wire_up` False: nobody answers."""

    def __init__(self, tailnet: TailnetState | None = None, *, budget: int = BUDGET) -> None:
        self.now = 1000.0
        self.budget = budget
        self.tailnet = tailnet or new_tailnet()
        self.server = self.new_server()
        self.nodes: list[Peer] = []
        self.links: dict[Link, tuple[Peer, Link]] = {}
        self.sent: list[tuple[float, Peer, int]] = []  # what the server put on the wire: when, to whom, bytes

    def new_server(self, **options: Any) -> Server:
        return Server(
            self.tailnet,
            CONTROL_PRIVATE,
            entropy=entropy(1),
            base_url=BASE_URL,
            wall_offset=WALL,
            now=self.now,
            **options,
        )

    def add(self, number: int, hostname: str, **options: Any) -> Peer:
        """A node with a fresh reusable key, unless `auth_key` says otherwise."""
        if "auth_key" not in options:
            options["auth_key"] = self.tailnet.create_auth_key(reusable=True).text
        peer = Peer(number, hostname, **options)
        self.nodes.append(peer)
        return peer

    def join(self, *hostnames: str, **options: Any) -> list[Peer]:
        """Nodes 1, 2, … of these names, joined, with a home each."""
        first = len(self.nodes) + 1
        peers = [self.add(number, name, **options) for number, name in enumerate(hostnames, first)]
        for peer in peers:
            peer.client.set_net_info({"PreferredDERP": 900}, self.now)
        self.run()
        return peers

    def member(self, name: str) -> Member:
        found = self.tailnet.named(name)
        assert found is not None, name
        return found

    def run(self, seconds: float = 0.0) -> None:
        """Exchange everything due, winding the clock from deadline to deadline for this long."""
        until = self.now + seconds
        while True:
            self._settle()
            at = min([self.server.deadline(), *(peer.client.deadline() for peer in self.nodes)])
            if at > until:
                break
            assert at > self.now, "a deadline that stays due"
            self.now = at
        self.now = until

    def restart(self) -> None:
        """Another server over the same tailnet; every link breaks."""
        self.server = self.new_server()
        for peer in list(self.nodes):
            self.cut(peer)

    def cut(self, peer: Peer, *, for_good: bool = False) -> None:
        """Its links break; for good: it was killed."""
        if for_good:
            self.nodes.remove(peer)
        for outer, (owner, inner) in list(self.links.items()):
            if owner is peer:
                del self.links[outer]
                self.server.receive(Closed(outer, "reset"), self.now)
                peer.client.receive(Closed(inner, "reset"), self.now)

    def _settle(self) -> None:
        for _step in range(MAX_STEPS):
            busy = False
            for peer in self.nodes:
                for effect in peer.client.transmit(self.now):
                    busy = True
                    self._from_node(peer, effect)
                told = peer.client.take_facts()
                peer.facts += told
                if any(isinstance(fact, NodeKeyRotated) for fact in told):
                    busy = True
                    peer.client.key_saved(self.now)
            for effect in self.server.transmit(self.now, self.budget):
                busy = True
                self._from_server(effect)
            if not busy and self.server.deadline() > self.now:
                return
        raise AssertionError("it never settles")

    def _from_node(self, peer: Peer, effect: Effect) -> None:
        outer = effect.link._replace(room=f"accepted of {id(peer)}")
        if isinstance(effect, Open):
            self.links[outer] = (peer, effect.link)
            self.server.receive(Accepted(outer, ("192.0.2.1", peer.number)), self.now)
            peer.client.receive(Opened(effect.link), self.now)
        elif isinstance(effect, Compute):
            peer.client.receive(Computed(effect.link, effect.run()), self.now)
        elif outer in self.links:
            if isinstance(effect, Data):
                self.server.receive(Received(outer, effect.data), self.now)
            elif isinstance(effect, Close):
                del self.links[outer]
                self.server.receive(Closed(outer, "eof"), self.now)

    def _from_server(self, effect: Effect) -> None:
        assert isinstance(effect, Data | Close | Pause | Resume), "a server opens nothing"
        if effect.link not in self.links:
            return
        peer, inner = self.links[effect.link]
        if isinstance(effect, Data):
            self.sent.append((self.now, peer, len(effect.data)))
            peer.client.receive(Received(inner, effect.data), self.now)
        elif isinstance(effect, Close):
            del self.links[effect.link]
            peer.client.receive(Closed(inner, "eof"), self.now)
