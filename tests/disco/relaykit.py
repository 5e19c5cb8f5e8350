"""PeerRelays beside everything that it needs, and one relay that is granted to us."""

from __future__ import annotations

import random
from typing import Any

import attrs

from tests.disco.relayserver import RelayServer
from tsnet.base.addresses import UdpAddress
from tsnet.base.crypto import disco_public
from tsnet.base.keys import DiscoPrivateKey, NodeKey
from tsnet.disco import geneve
from tsnet.disco.directpaths import DirectPaths
from tsnet.disco.equipment import Equipment
from tsnet.disco.messages import (
    UDPRelayEndpoint,
)
from tsnet.disco.peerrelays import RELAY_CAPABLE, PeerRelays
from tsnet.netmap.model import Node

OURS, OWN = DiscoPrivateKey(b"\1" * 32), NodeKey(b"o" * 32)
SERVER = b"s" * 32


def disco(number: int) -> DiscoPrivateKey:
    return DiscoPrivateKey(number.to_bytes(32, "big"))


def node(number: int, **more: Any) -> Node:
    more = {"disco_key": disco_public(disco(number)), "capability_version": RELAY_CAPABLE, **more}
    return Node(number, f"n{number}", "x", NodeKey(number.to_bytes(32, "big")), **more)


PEER = node(2)


class Kit:
    """PeerRelays beside everything that it needs; `server` is a relay that is granted to us."""

    def __init__(self, *peers: Node) -> None:
        self.random_bytes = random.Random(1).randbytes
        equipment = Equipment.of(OURS, self.random_bytes)
        self.dropped, self.box = equipment.dropped, equipment.senders.box
        self.senders, self.outgoing = equipment.senders, equipment.outgoing
        self.directs = DirectPaths(OWN, equipment)
        self.relays = PeerRelays(self.directs, equipment)
        self.server = RelayServer("r")
        self.nodes = {each.raw_key: each for each in peers or (PEER,)}
        for each in self.nodes.values():
            self.senders.control_says(each.key, each.disco_key)

    def granted(self, *servers: bytes) -> Kit:
        self.relays.set_servers(servers or (SERVER,), 0.0)
        return self

    def endpoint(self, peer: Node = PEER, **more: Any) -> UDPRelayEndpoint:
        assert peer.disco_key is not None
        return attrs.evolve(self.server.allocate(self.box.public_key, peer.disco_key), **more)

    def called(self, peer: Node = PEER, now: float = 0.0, **more: Any) -> str | None:
        return self.relays.called_via(peer.raw_key, peer, self.endpoint(peer, **more), now)

    def sent(self) -> list[tuple[UdpAddress, bytes]]:
        runs = self.outgoing.take(1 << 24)
        return [(to, datagram) for to, datagrams in runs for datagram in datagrams if isinstance(to, UdpAddress)]

    def letters(self) -> list[tuple[bytes, Any]]:
        letters, self.relays.letters = self.relays.letters, []
        return letters

    def exchange(self, now: float) -> list[bytes]:
        """With the relay, until nothing more comes; what was for the peer is returned."""
        theirs: list[bytes] = []
        while found := self.sent():
            for to, datagram in found:
                assert to == self.server.address
                header = geneve.decode(datagram)
                assert header is not None
                if not header.is_control:
                    theirs.append(datagram)
                for _to, answer in self.server.receive(UdpAddress("192.0.2.1", 1), datagram):
                    assert self.relays.receive_control(to, answer[8:], header.vni, now) is None
        return theirs
