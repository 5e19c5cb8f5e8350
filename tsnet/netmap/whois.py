"""Who is behind a tailnet address: the node, its user, and the capabilities that the packet filter grants it.

    address --> node (exactly one of its own addresses, never a subnet route) --> user profile
            --> capabilities towards our address of the same family

Of several nodes with one address, the answer is the one that packets from there come from: a peer whose key has not
expired and whose AllowedIPs hold the address, and of those the one with the lowest id.

A tagged node belongs to its tags and not to the person who set it up. Its user is the placeholder "tagged-devices",
whether control says so or not.

Source: Go ipn/ipnlocal/local.go WhoIs, node_backend.go; ipn/localapi serveWhoIs.
Not here: names to addresses (`names`), proxied connections (the adapters).
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import attrs

from tsnet.base.addresses import IPAddress
from tsnet.base.keys import NodeKey
from tsnet.base.records import record
from tsnet.netmap.changes import Changes
from tsnet.netmap.filterrules import NOTHING_ALLOWED, FilterRules
from tsnet.netmap.index import Index
from tsnet.netmap.model import NetMap, Node, UserProfile
from tsnet.netmap.packed import raw_prefixes
from tsnet.netmap.routes import own_prefixes

TAGGED_DEVICES = UserProfile(2_147_455_555, "tagged-devices", "Tagged Devices")
INGRESS = "https://tailscale.com/cap/ingress"
"""The only capability that a peer whose key Tailnet Lock has not signed can have."""


@attrs.frozen
class Peer:
    """Another node of the tailnet, as an application sees it.

    name: its MagicDNS name: one label within our own tailnet, the full name for a node shared into it.
    user_login: "tagged-devices" for a tagged node, which belongs to no person; "" if control has not said.
    """

    name: str
    addresses: tuple[IPAddress, ...]
    user_login: str
    user_name: str
    tags: tuple[str, ...] = ()


@record
class WhoisAnswer:
    """A node, its user and its capabilities, as in Go's WhoIs response."""

    node: Node
    user: UserProfile
    capabilities: Mapping[str, tuple[Any, ...]] = attrs.field(factory=dict)


class Whois:
    """The answers from one netmap; immutable. rules: those of its packet filter.

    `after` gives those of the next netmap, and costs what changed.
    """

    __slots__ = ("_by_address", "_by_key", "_netmap", "_own", "_rules", "_suffix")

    def __init__(
        self,
        netmap: NetMap,
        rules: FilterRules = NOTHING_ALLOWED,
        by_address: Index[bytes] | None = None,
        by_key: Index[bytes] | None = None,
    ) -> None:
        """by_address, by_key: the netmap's peers, where they are indexed already."""
        self._netmap, self._rules = netmap, rules
        self._suffix = netmap.self_node.name.partition(".")[2]
        self._own = frozenset(_packed(netmap.self_node))
        if by_address is None or by_key is None:
            peers = Changes.between(None, netmap).peers
            by_address, by_key = Index(_packed).after(peers), Index(_key).after(peers)
        self._by_address, self._by_key = by_address, by_key

    def after(self, changes: Changes, rules: FilterRules) -> Whois:
        by_address, by_key = self._by_address.after(changes.peers), self._by_key.after(changes.peers)
        return Whois(changes.after, rules, by_address, by_key)

    def node(self, address: IPAddress | bytes | NodeKey) -> Node | None:
        """The node that has this address. address: an IP or its bytes (v4-mapped counts as v4), or a node key."""
        own, peers = self._netmap.self_node, self._netmap.peers
        if isinstance(address, NodeKey):
            ids = self._by_key.ids(address)
            return own if address == own.raw_key else peers[ids[0]] if ids else None
        ip = ip_address(address) if isinstance(address, bytes) else address
        if ip.version == 6 and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        if ip.packed in self._own:
            return own
        ids = self._by_address.ids(ip.packed)
        if len(ids) < 2:
            return peers[ids[0]] if ids else None
        return next((peers[number] for number in ids if _is_at(peers[number], ip.packed)), peers[ids[0]])

    def identify(
        self, address: IPAddress | bytes | NodeKey, *, destination: IPAddress | None = None
    ) -> WhoisAnswer | None:
        """Who has this address. None if no node has it, or if control has not told who the node's user is.

        destination: the address that the node called; without one, our own address of the family of its first address.
        """
        node = self.node(address)
        if node is None:
            return None
        user = self._user(node)
        return None if user is None else WhoisAnswer(node, user, self._capabilities(node, destination))

    def peer(self, address: IPAddress | bytes | NodeKey) -> Peer | None:
        """The node as an application sees it; None if no node has the address. An unknown user's names are ""."""
        node = self.node(address)
        if node is None:
            return None
        user = self._user(node) or UserProfile(0, "")
        return Peer(self.name(node), node.ips, user.login_name, user.display_name, node.tags)

    def name(self, node: Node) -> str:
        """The shortest name that MagicDNS knows for the node: one label within our suffix, else the whole name."""
        label, _, suffix = node.name.partition(".")
        return label if suffix == self._suffix else node.name

    def _user(self, node: Node) -> UserProfile | None:
        if node.tags:
            return TAGGED_DEVICES
        return self._netmap.users.get(node.sharer or node.user)

    def _capabilities(self, node: Node, destination: IPAddress | None) -> Mapping[str, tuple[Any, ...]]:
        if not node.ips:
            return {}
        source = node.ips[0] if destination is None else _of_family(node.ips, destination.version)
        if destination is None and source is not None:
            destination = _of_family(self._netmap.self_node.ips, source.version)
        if source is None or destination is None:
            return {}
        found = self._rules.capabilities(source, destination)
        if node.unsigned_peer_api_only:
            return {name: values for name, values in found.items() if name == INGRESS}
        return found


def _packed(node: Node) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(prefix[:-1] for prefix in raw_prefixes(node.raw_addresses)))


def _key(node: Node) -> tuple[bytes, ...]:
    return (node.raw_key,)


def _is_at(peer: Node, address: bytes) -> bool:
    """Whether packets from the address are let in as this peer's."""
    return not peer.expired and any(address == prefix[:-1] for prefix in own_prefixes(peer))


def _of_family(addresses: tuple[IPAddress, ...], version: int) -> IPAddress | None:
    return next((address for address in addresses if address.version == version), None)
