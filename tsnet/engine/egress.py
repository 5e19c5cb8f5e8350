"""From the stack to a peer: one longest-prefix look-up for each run, and a note to the filter for the replies.

    Stack.transmit -> [(address, packets)] -> route -> [(key, packets)] -> Device.send

Source: Go net/tstun/wrap.go filterPacketOutboundToWireGuard, ipn/ipnlocal/resolve.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tsnet.netmap.packetfilter import PacketFilter
from tsnet.netmap.routes import Routes


class Egress:
    """Which peer carries an address, by node key. `dropped["no-peer"]`: packets to an address that no peer owns."""

    __slots__ = ("dropped", "packet_filter", "routes")

    def __init__(self, routes: Routes[bytes], packet_filter: PacketFilter) -> None:
        self.routes: Routes[bytes] = routes
        self.packet_filter: PacketFilter = packet_filter
        self.dropped: Counter[str] = Counter()

    def route(self, runs: Iterable[tuple[bytes, Sequence[bytes]]]) -> list[tuple[bytes, Sequence[bytes]]]:
        lookup, note = self.routes.lookup, self.packet_filter.note_outbound
        routed: list[tuple[bytes, Sequence[bytes]]] = []
        for address, packets in runs:
            key = lookup(address)
            if key is None:
                self.dropped["no-peer"] += len(packets)
                continue
            note(packets)
            routed.append((key, packets))
        return routed
