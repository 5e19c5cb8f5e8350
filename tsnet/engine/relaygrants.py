"""Which peers relay for us, by what control grants in the packet filter.

    grant: source = the relay, destination = one of our addresses, capability RELAY_TARGET ─► the relay's node key

A peer counts that can be a relay by its version, has that capability from one of its addresses, and is not outside the
Tailnet Lock. Nothing is looked at while no rule grants the capability, and one peer alone when one alone has changed.

Source: Go wgengine/magicsock/magicsock.go updateRelayServersSet, relayCandidateLocked; tailcfg/tailcfg.go.
Not here: whether control lets us be a relay client at all (`attributes`), what relays are asked (`disco.peerrelays`).
"""

from __future__ import annotations

from tsnet.disco.peerrelays import RELAY_CAPABLE
from tsnet.netmap.changes import Changes
from tsnet.netmap.model import NetMap, Node
from tsnet.netmap.packed import raw_prefixes
from tsnet.netmap.packetfilter import PacketFilter
from tsnet.netmap.routes import Routes

RELAY_TARGET = "tailscale.com/cap/relay-target"

Holders = dict[int, list[Routes[bool]]]
"""By the length of an address, 4 or 16: tables of those who have the capability towards ours of that length."""


class RelayGrants:
    __slots__ = ("_by_id", "_holders")

    def __init__(self) -> None:
        self._holders: Holders = {}
        self._by_id: dict[int, bytes] = {}

    @property
    def relays(self) -> list[bytes]:
        """Their node keys, ordered by the nodes' ids."""
        return [self._by_id[number] for number in sorted(self._by_id)]

    def apply(self, changes: Changes, packet_filter: PacketFilter) -> bool:
        """Bring them to this netmap, whose rules the filter has. Whether they are others than before."""
        before, netmap = self._by_id, changes.after
        if changes.of("packet_filter") or _has_moved(changes.before, netmap):
            self._holders = _holders(packet_filter, netmap.self_node)
            peers = netmap.peers if self._holders else {}
            self._by_id = {number: peer.raw_key for number, peer in peers.items() if _may_relay(peer, self._holders)}
        elif self._holders:
            self._by_id = {number: key for number, key in before.items() if number not in changes.peers}
            for number, (_before, peer) in changes.peers.items():
                if peer is not None and _may_relay(peer, self._holders):
                    self._by_id[number] = peer.raw_key
        return self._by_id != before


def _holders(packet_filter: PacketFilter, self_node: Node) -> Holders:
    found: Holders = {}
    for address in self_node.ips:
        size = len(address.packed)
        if size not in found and (tables := packet_filter.holders(RELAY_TARGET, address)):
            found[size] = tables
    return found


def _has_moved(before: NetMap | None, after: NetMap) -> bool:
    """Whether our addresses are others."""
    return before is None or before.self_node.raw_addresses != after.self_node.raw_addresses


def _may_relay(peer: Node, holders: Holders) -> bool:
    if peer.capability_version < RELAY_CAPABLE or peer.expired or peer.unsigned_peer_api_only:
        return False
    return any(
        table.lookup(prefix[:-1]) is not None
        for prefix in raw_prefixes(peer.raw_addresses)
        for table in holders.get(len(prefix) - 1, ())
    )
