"""The disco datagrams that come: which are believed, and whom each message is for.

| message     | by UDP                                            | by DERP, from the node with that disco key       |
|-------------|---------------------------------------------------|--------------------------------------------------|
| Ping        | answered once a source, which becomes a candidate | answered the same way                            |
| Pong        | promotes the address that its ping went to        | answers a ping of an application                 |
| CallMeMaybe | -                                                 | its addresses are candidates, and pinged at once |

By a peer relay, in Geneve, come pings and pongs of peers, which count for that session alone, and the relay's own
challenges. Through DERP come what relays answer (AllocateUDPRelayEndpointResponse) and the sessions that peers name
(CallMeMaybeVia).

Everything else is dropped, and the reason returned: "short", "unknown sender", "box", "malformed", "wrong node" (the
relay names another node than the one with that disco key), "source" (no address to answer), "small" (a ping shorter
than its pong), "unknown pong", the name of a message that is not wanted there, or what the room says that it is for.

Source: Go wgengine/magicsock/magicsock.go (handleDiscoMessage).
Not here: what follows from a message (`directpaths`, `peerrelays`), and which routes are others then (`paths`).
"""

from __future__ import annotations

from collections.abc import Mapping

from tsnet.base.addresses import DerpAddress, Destination, PeerRelayAddress, UdpAddress
from tsnet.base.keys import DiscoKey
from tsnet.disco import geneve
from tsnet.disco.diagnostic import DiagnosticPings
from tsnet.disco.directpaths import DirectPaths
from tsnet.disco.messages import (
    AllocateUDPRelayEndpointResponse,
    CallMeMaybe,
    CallMeMaybeVia,
    Message,
    Ping,
    Pong,
)
from tsnet.disco.peerrelays import PeerRelays
from tsnet.disco.pingable import DERP_MAGIC_ADDRESS
from tsnet.disco.pinganswers import PingAnswers
from tsnet.disco.senders import Senders
from tsnet.netmap.model import Node

PONG_SIZE = 110


class Incoming:
    def __init__(
        self,
        nodes: Mapping[bytes, Node],
        senders: Senders,
        directs: DirectPaths,
        relays: PeerRelays,
        answers: PingAnswers,
        diagnostic: DiagnosticPings,
    ) -> None:
        """nodes: the peers of the netmap, by their keys."""
        self._nodes, self._senders = nodes, senders
        self._directs, self._relays = directs, relays
        self._answers, self._diagnostic = answers, diagnostic

    def receive(self, source: Destination, datagram: bytes, now: float) -> str | None:
        """Act on one datagram; why it was dropped, if it was."""
        if type(source) is UdpAddress and (header := geneve.decode(datagram)) is not None:
            if header.is_control:
                return self._relays.receive_control(source, datagram[geneve.HEADER_SIZE :], header.vni, now)
            source, datagram = PeerRelayAddress(*source, header.vni), datagram[geneve.HEADER_SIZE :]
        opened = self._senders.open(datagram)
        if isinstance(opened, str):
            return opened
        sender, message = opened
        if isinstance(source, DerpAddress):
            return self._by_derp(message, sender, source, now)
        return self._straight(message, sender, source, len(datagram), now)

    def _by_derp(self, message: Message, sender: DiscoKey, source: DerpAddress, now: float) -> str | None:
        """A message that is proven to come from whoever has that disco key. The relay says which node that is."""
        node = self._nodes.get(source.key)
        if node is None or self._senders.get(source.key) != sender:
            return "wrong node"
        if isinstance(message, CallMeMaybe):
            self._directs.called(source.key, node, message.endpoints, now)
            self._relays.called(source.key, now)
            return None
        if isinstance(message, CallMeMaybeVia):
            return self._relays.called_via(source.key, node, message.relay, now)
        if isinstance(message, AllocateUDPRelayEndpointResponse):
            return self._relays.allocated(source.key, message, self._nodes.get, now)
        if isinstance(message, Pong) and self._diagnostic.ponged(message.tx_id, source.key, source.region):
            return None
        if not isinstance(message, Ping):
            return type(message).__name__
        seen = UdpAddress(DERP_MAGIC_ADDRESS, source.region & 0xFFFF)
        return self._answers.answer(message, sender, source, seen)

    def _straight(
        self, message: Message, sender: DiscoKey, source: UdpAddress | PeerRelayAddress, size: int, now: float
    ) -> str | None:
        """The same, from an address or by a session of a peer relay."""
        if isinstance(message, Pong):
            return self._pong(message, sender, source, now)
        if not isinstance(message, Ping):
            return type(message).__name__
        if not self._may_answer(source):
            return "source"
        if size < PONG_SIZE:
            return "small"
        if isinstance(source, PeerRelayAddress):
            return self._ping_by_relay(message, sender, source, now)
        return self._ping(message, sender, source, now)

    def _pong(self, message: Pong, sender: DiscoKey, source: UdpAddress | PeerRelayAddress, now: float) -> str | None:
        nodes = self._senders.nodes(sender)
        if isinstance(source, PeerRelayAddress):
            known = self._relays.ponged(message.tx_id, nodes, source, now)
        else:
            known = self._directs.ponged(message.tx_id, nodes, now)
        self._diagnostic.answered(message.tx_id if known else b"")
        return None if known else "unknown pong"

    def _may_answer(self, source: UdpAddress | PeerRelayAddress) -> bool:
        if isinstance(source, PeerRelayAddress):
            return self._directs.modes.relays and self._directs.may_reach(source.relay)
        return self._directs.may_answer(source)

    def _ping(self, message: Ping, sender: DiscoKey, source: UdpAddress, now: float) -> str | None:
        is_fresh = self._answers.is_fresh(message, sender)
        refusal = self._answers.answer(message, sender, source, source)
        key = self._senders.resolve(sender, message.node_key)
        if key is not None:
            self._directs.heard(key, self._nodes[key], source, now, is_fresh=is_fresh)
        return refusal

    def _ping_by_relay(self, message: Ping, sender: DiscoKey, source: PeerRelayAddress, now: float) -> str | None:
        refusal = self._answers.answer(message, sender, source, source.relay)
        if refusal is None:
            self._relays.pinged(self._senders.nodes(sender), source, now)
        return refusal
