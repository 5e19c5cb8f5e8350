"""From WireGuard to the stack: the checks that a peer's decrypted packets must pass, in this order.

1. The IP length cuts WireGuard's padding off.
2. The source must be an address of the peer that sealed the packet (cryptokey routing).
3. TSMP is answered or noted here and goes no further.
4. The packet filter. A TCP SYN that it drops is answered with a TSMP rejection, so that the dialler need not wait.

A packet that passes comes from the owner of its source and was not changed on the way, so the stack checks no checksum.

Source: WireGuard §3; Go net/tstun/wrap.go filterPacketInboundFromWireGuard.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set

from tsnet.base.keys import NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.engine import tsmp
from tsnet.netmap.packetfilter import PacketFilter
from tsnet.netmap.routes import Routes


class Ingress:
    """dropped: by reason (empty, version, length, source, tsmp). The packet filter counts its own drops.

    jailed: the keys of peers that may open nothing. rejected: each SYN that is answered with a rejection, and TSMP's
    reason, until somebody takes them.
    """

    __slots__ = ("dropped", "jailed", "messages", "packet_filter", "rejected", "replies", "routes")

    def __init__(self, routes: Routes[bytes], packet_filter: PacketFilter, jailed: Set[bytes] = frozenset()) -> None:
        self.routes: Routes[bytes] = routes
        self.packet_filter: PacketFilter = packet_filter
        self.jailed: Set[bytes] = jailed
        self.dropped: Counter[str] = Counter()
        self.replies: list[tuple[NodeKey, list[bytes]]] = []
        self.rejected: list[tuple[bytes, str]] = []
        self.messages: list[tuple[NodeKey, bytes, tsmp.Message]] = []

    def admit(self, key: NodeKey, packets: Sequence[bytes]) -> list[bytes]:
        """The packets of one peer that may enter the stack, in order, cut to their IP length."""
        owned = self._owned(key, packets)
        if not owned:
            return owned
        jailed = key in self.jailed
        admitted, rejected = self.packet_filter.admit(owned, jailed=jailed)
        for syn in rejected:
            reason = tsmp.SHIELDS_UP if jailed or self.packet_filter.shields_up else tsmp.POLICY
            answer = tsmp.reject_of(syn, reason)
            if answer is not None:
                self.replies.append((key, [answer]))
                self.rejected.append((syn, reason))
        return admitted

    def _owned(self, key: NodeKey, packets: Sequence[bytes]) -> list[bytes]:
        """Steps 1 to 3. The packets of a run have one source, so the last good one is not looked up again."""
        lookup, known = self.routes.lookup, b""
        owned: list[bytes] = []
        for packet in packets:
            size = len(packet)
            version = packet[0] >> 4 if size >= 20 else 0
            if version == 4:
                length, source, protocol = packet[2] << 8 | packet[3], packet[12:16], packet[9]
                if length < 20:
                    length = size + 1  # not even its own header
            elif version == 6 and size >= 40:
                length, source, protocol = (packet[4] << 8 | packet[5]) + 40, packet[8:24], packet[6]
            else:
                self.dropped["version" if size else "empty"] += 1
                continue
            if length > size:
                self.dropped["length"] += 1
                continue
            if source != known:
                if lookup(source) != key:
                    self.dropped["source"] += 1
                    continue
                known = source
            if length < size:
                packet = packet[:length]
            if protocol == tsmp.PROTOCOL:
                self._tsmp(key, packet, source, version)
                continue
            owned.append(packet)
        return owned

    def _tsmp(self, key: NodeKey, packet: bytes, source: bytes, version: int) -> None:
        start = 40 if version == 6 else (packet[0] & 15) * 4
        try:
            message = tsmp.decode(packet[start:])
        except MalformedError:
            self.dropped["tsmp"] += 1
            return
        if isinstance(message, tsmp.TsmpPing):
            destination = packet[24:40] if version == 6 else packet[16:20]
            self.replies.append((key, [tsmp.packet(destination, source, tsmp.TsmpPong(message.data))]))
        else:
            self.messages.append((key, source, message))

    def take_replies(self) -> list[tuple[NodeKey, list[bytes]]]:
        """Packets to seal for peers: pongs and rejections."""
        replies, self.replies = self.replies, []
        return replies

    def take_messages(self) -> list[tuple[NodeKey, bytes, tsmp.Message]]:
        """(peer, its address, message): pongs, rejections and disco keys since the last call."""
        messages, self.messages = self.messages, []
        return messages
