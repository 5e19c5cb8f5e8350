"""Two nodes behind hard NATs, as in `two`, and peers that relay between them: by UDP, and asked through DERP.

scene = Relayed()
scene.talk(2.0)
scene.sessions        {"a": PeerRelayAddress(…), "b": …}
"""

from __future__ import annotations

from typing import Any

import attrs

from tests.disco.relayserver import RelayServer
from tests.disco.two import REGION, Nat, Party, Two
from tests.wire import Wire
from tsnet.base.addresses import DerpAddress, Destination, PeerRelayAddress, UdpAddress
from tsnet.disco import geneve
from tsnet.disco.peerrelays import RELAY_CAPABLE
from tsnet.netmap.model import Node


class Relayed(Two):
    """granted: the parties that control grants the relays to, by name. delays: of each relay's wire, one way."""

    def __init__(
        self,
        *servers: RelayServer,
        nats: tuple[Nat | None, Nat | None] | None = None,
        granted: str = "ab",
        delays: tuple[float, ...] = (),
        **more: Any,
    ) -> None:
        self.servers = servers or (RelayServer("r"),)
        self.overheard: list[tuple[UdpAddress, bytes]] = []
        """Disco that the relays have sent, and to where."""
        hard = Nat(by_destination=True), Nat(by_destination=True)
        super().__init__(*(nats or hard), **more)
        delays = delays or (0.02,) * len(self.servers)
        self.to_server = {
            server.key: Wire[tuple[Party, UdpAddress, bytes]](7, delay=delay)
            for server, delay in zip(self.servers, delays, strict=True)
        }
        self.asked = {server.key: Wire[tuple[Party, bytes]](8, delay=0.04) for server in self.servers}
        for name, party in zip("ab", self.parties, strict=True):
            nodes = [(server.key, self.server_node(number, server)) for number, server in enumerate(self.servers)]
            party.paths.update_peers(nodes, self.now)
            if name in granted:
                party.paths.set_peer_relays([server.key for server in self.servers], self.now)

    def node(self, party: Party, *, named: bool = True) -> Node:
        return attrs.evolve(super().node(party, named=named), capability_version=RELAY_CAPABLE)

    def server_node(self, number: int, server: RelayServer) -> Node:
        return Node(
            10 + number,
            f"n{10 + number}",
            "relay",
            server.key,
            disco_key=server.disco_key,
            home_region=REGION,
            capability_version=RELAY_CAPABLE,
        )

    # --- carrying ---------------------------------------------------------------------------------------------------

    def _carry(self, party: Party, to: Destination, datagram: bytes) -> None:
        if isinstance(to, PeerRelayAddress):
            datagram = geneve.header(geneve.WIREGUARD, to.vni) + datagram
            to = to.relay
        for server in self.servers:
            if isinstance(to, DerpAddress) and to.key == server.key:
                self.asked[server.key].send((party, datagram), self.now)
                return
            if to in server.endpoints:
                if not self.blocks(to, datagram):
                    self.to_server[server.key].send((party, party.outer(to, self.now), datagram), self.now)
                return
        super()._carry(party, to, datagram)

    def _arrive(self, party: Party) -> None:
        for server in self.servers:
            for sender, datagram in self.asked[server.key].receive(self.now):
                response = server.answer(datagram)
                if response is not None:
                    self.relay[sender.key].send((DerpAddress(REGION, server.key), response), self.now)
            for _sender, source, datagram in self.to_server[server.key].receive(self.now):
                for to, forwarded in server.receive(source, datagram):
                    self._forward(server, to, forwarded)
        super()._arrive(party)

    def _forward(self, server: RelayServer, to: UdpAddress, datagram: bytes) -> None:
        if datagram[2:4] == b"\x7a\x11":
            self.overheard.append((to, datagram))
        for party in self.parties:
            if party.owns(to) and (party.nat is None or party.nat.admits(to.port, server.address, self.now)):
                self.udp[party.key].send((server.address, datagram), self.now)

    def wires(self) -> list[Wire[Any]]:
        return [*super().wires(), *self.to_server.values(), *self.asked.values()]

    def taken(self, party: Party, source: Destination, datagram: bytes) -> None:
        header = geneve.decode(datagram)
        if header is not None and header.protocol == geneve.WIREGUARD and isinstance(source, UdpAddress):
            source, datagram = PeerRelayAddress(*source, header.vni), datagram[geneve.HEADER_SIZE :]
            party.got["relayed"] += 1
        super().taken(party, source, datagram)

    # --- what is seen -----------------------------------------------------------------------------------------------

    @property
    def sessions(self) -> dict[str, PeerRelayAddress]:
        """Of those who send by a peer relay alone."""
        routes = {name: self.route(party) for name, party in zip("ab", self.parties, strict=True)}
        return {
            name: found[0] for name, found in routes.items() if len(found) == 1 and type(found[0]) is PeerRelayAddress
        }

    @property
    def are_relayed(self) -> bool:
        return len(self.sessions) == 2
