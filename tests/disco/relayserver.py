"""A peer that relays, as its clients see it: Tailscale's relay server by its own rules, on the caller's clock.

    server = RelayServer("r")
    server.answer(sender_disco_key, datagram)            through DERP: a request, and the sealed response
    server.receive(source, datagram) -> [(to, bytes)]    by UDP: a handshake, or what is forwarded

It stands in for the real one, which judges in tests/lab.

Source: Go net/udprelay/server.go.
"""

from __future__ import annotations

import random
from collections import Counter

import attrs

from tsnet.base.addresses import UdpAddress
from tsnet.base.crypto import disco_public, keyed_blake2s, node_public
from tsnet.base.keys import DiscoKey, DiscoPrivateKey, NodePrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.disco import geneve
from tsnet.disco.box import Box, sender_of
from tsnet.disco.messages import (
    AllocateUDPRelayEndpointRequest,
    AllocateUDPRelayEndpointResponse,
    BindUDPRelayEndpoint,
    BindUDPRelayEndpointAnswer,
    BindUDPRelayEndpointChallenge,
    UDPRelayEndpoint,
    decode,
)

SECOND = 1_000_000_000


@attrs.define
class Session:
    clients: tuple[DiscoKey, DiscoKey]
    vni: int
    lamport_id: int
    bound: list[UdpAddress | None] = attrs.field(factory=lambda: [None, None])
    generations: list[int] = attrs.field(factory=lambda: [0, 0])


class RelayServer:
    """got: datagrams by what became of them. is_up: it answers at all."""

    def __init__(self, name: str, address: UdpAddress | None = None) -> None:
        self.name = name
        random_bytes = random.Random(f"relay {name}").randbytes
        self.key = node_public(NodePrivateKey(random_bytes(32)))
        node_disco = DiscoPrivateKey(random_bytes(32))
        self.node_box = Box(node_disco, random_bytes)
        self.disco_key = disco_public(node_disco)
        self.address = address or UdpAddress("198.51.100.7", 7777)
        self.endpoints = (self.address,)
        self.bind_lifetime, self.steady_lifetime = 30, 300
        self.is_up = True
        self.got: Counter[str] = Counter()
        self._random_bytes = random_bytes
        self._lamport = 0
        self.restart()

    def restart(self) -> None:
        """The process is another one: it has a new key, and knows of no session."""
        self.box = Box(DiscoPrivateKey(self._random_bytes(32)), self._random_bytes)
        self.sessions: dict[int, Session] = {}
        self._secret = self._random_bytes(32)

    # --- through DERP -----------------------------------------------------------------------------------------------

    def answer(self, datagram: bytes) -> bytes | None:
        """The response to a request that a client has sealed for the node."""
        sender = sender_of(datagram)
        request = decode(self.node_box.open(datagram))
        if not self.is_up or not isinstance(request, AllocateUDPRelayEndpointRequest):
            return None
        self.got["requests"] += 1
        response = AllocateUDPRelayEndpointResponse(request.generation, self.allocate(*request.client_keys))
        return self.node_box.seal(sender, response.encode())

    def allocate(self, one: DiscoKey, other: DiscoKey) -> UDPRelayEndpoint:
        clients = min(one, other), max(one, other)
        found = next((each for each in self.sessions.values() if each.clients == clients), None)
        if found is None:
            self._lamport += 1
            found = Session(clients, self._lamport, self._lamport)
            self.sessions[found.vni] = found
        return UDPRelayEndpoint(
            self.box.public_key,
            clients,
            found.lamport_id,
            found.vni,
            self.bind_lifetime * SECOND,
            self.steady_lifetime * SECOND,
            self.endpoints,
        )

    # --- by UDP -----------------------------------------------------------------------------------------------------

    def receive(self, source: UdpAddress, datagram: bytes) -> list[tuple[UdpAddress, bytes]]:
        header = geneve.decode(datagram)
        session = None if header is None else self.sessions.get(header.vni)
        if not self.is_up or header is None or session is None:
            self.got["dropped"] += 1
            return []
        if header.is_control:
            return self._control(session, source, datagram[geneve.HEADER_SIZE :])
        if None in session.bound or source not in session.bound:
            self.got["not bound"] += 1
            return []
        to = session.bound[1 - session.bound.index(source)]
        assert to is not None
        self.got["forwarded"] += 1
        self.got["data"] += header.protocol == geneve.WIREGUARD
        return [(to, datagram)]

    def _control(self, session: Session, source: UdpAddress, datagram: bytes) -> list[tuple[UdpAddress, bytes]]:
        sender = sender_of(datagram)
        if sender not in session.clients:
            return []
        number = session.clients.index(sender)
        try:
            message = decode(self.box.open(datagram))
        except MalformedError:
            return []
        if not isinstance(message, BindUDPRelayEndpoint) or not message.generation:
            return []
        if message.vni != session.vni or message.remote_key != session.clients[1 - number]:
            return []
        challenge = keyed_blake2s(self._secret, repr((source, message.generation, sender)).encode())
        challenge = challenge.ljust(32, b"\0")
        if isinstance(message, BindUDPRelayEndpointAnswer):
            if message.generation == session.generations[number] and message.challenge == challenge:
                session.bound[number], session.generations[number] = source, 0
                self.got["bound"] += 1
            return []
        session.generations[number] = message.generation
        self.got["challenged"] += 1
        reply = BindUDPRelayEndpointChallenge(session.vni, message.generation, message.remote_key, challenge)
        header = geneve.header(geneve.DISCO, session.vni, is_control=True)
        return [(source, header + self.box.seal(sender, reply.encode()))]
