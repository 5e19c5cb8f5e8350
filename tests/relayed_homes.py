"""Nodes on the simulated internet, of which one relays for others, as `tests.homes` builds them.

    async with RelayedHomes(seed) as homes:
        relay = await homes.relay()
        await homes.settle_pair(homes.build("hard", "left"), homes.build("hard", "right"))

The relay is a node of ours, with Tailscale's relay server by its rules (`tests.disco.relayserver`) beside it: requests
that come to the node through DERP are answered, and the server has a UDP port of its own on the same host.
"""

from __future__ import annotations

from typing import Any

from tests.disco.relayserver import RelayServer
from tests.homes import Homes
from tsnet.base.addresses import DerpAddress, Destination, PeerRelayAddress, UdpAddress
from tsnet.disco.messages import AllocateUDPRelayEndpointRequest, AllocateUDPRelayEndpointResponse
from tsnet.testing.internethost import InternetHost

RELAY_PORT = 7777
EVERYTHING = {"src": ["*"], "dst": ["*:*"]}
RELAYS = {"src": ["*"], "dst": ["relay:*"], "app": {"tailscale.com/cap/relay": []}}


class VirtualRelay(RelayServer):
    """A relay server at a host of the simulated internet."""

    def __init__(self, host: InternetHost) -> None:
        super().__init__(host.name, UdpAddress(host.v4, RELAY_PORT))
        self._udp = host.open_udp(RELAY_PORT, self._read)

    def _read(self) -> None:
        for source, datagrams in self._udp.receive():
            for datagram in datagrams:
                for to, forwarded in self.receive(source, datagram):
                    self._udp.send(to, [forwarded])

    def answer_for(self, paths: Any) -> None:
        """Answer the requests that come to this node."""
        drop = paths._incoming.receive

        def receive(source: Destination, datagram: bytes, now: float) -> Any:
            opened = paths._senders.open(datagram) if isinstance(source, DerpAddress) else ""
            if isinstance(opened, str) or not isinstance(opened[1], AllocateUDPRelayEndpointRequest):
                return drop(source, datagram, now)
            sender, request = opened
            self.got["requests"] += 1
            if self.is_up:
                endpoint = self.allocate(*request.client_keys)
                paths._outgoing.send(sender, source, AllocateUDPRelayEndpointResponse(request.generation, endpoint))
            return None

        paths._incoming.receive = receive


class RelayedHomes(Homes):
    def __init__(self, seed: int = 0, **options: Any) -> None:
        super().__init__(seed, **{"policy": [EVERYTHING, RELAYS], **options})

    async def relay(self) -> VirtualRelay:
        """A node at a public address that relays for all others."""
        host = self.build("public", "relay")
        node = await self.join_at("relay", host)
        server = VirtualRelay(host)
        server.answer_for(node._handle.node.engine.paths)
        return server

    def is_relayed(self, one: str, other: str) -> bool:
        """Whether both send to each other by a session of a peer relay, and by nothing else."""
        ways = (self.routes(one, other), self.routes(other, one))
        return all(len(way) == 1 and isinstance(way[0], PeerRelayAddress) for way in ways)
