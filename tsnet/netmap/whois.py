"""Who is behind a tailnet address: the node, its user, and the capabilities that the packet filter grants it.

    address --> node (exactly one of its own addresses, never a subnet route) --> user profile
            --> capabilities towards our address of the same family

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
from tsnet.netmap.filterrules import NOTHING_ALLOWED, FilterRules
from tsnet.netmap.model import NetMap, Node, UserProfile

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


@attrs.frozen
class WhoisAnswer:
    """A node, its user and its capabilities, as in Go's WhoIs response."""

    node: Node
    user: UserProfile
    capabilities: Mapping[str, tuple[Any, ...]] = attrs.field(factory=dict)


class Whois:
    """The answers from one netmap; immutable, rebuilt with the netmap. rules: those of its packet filter."""

    def __init__(self, netmap: NetMap, rules: FilterRules = NOTHING_ALLOWED) -> None:
        self._netmap, self._rules = netmap, rules
        self._suffix = netmap.self_node.name.partition(".")[2]
        nodes = (*netmap.peers.values(), netmap.self_node)
        self._by_address = {address: node for node in nodes for address in node.ips}
        self._by_key = {node.key: node for node in nodes}

    def node(self, address: IPAddress | bytes | NodeKey) -> Node | None:
        """The node that has this address. address: an IP or its bytes (v4-mapped counts as v4), or a node key."""
        if isinstance(address, NodeKey):
            return self._by_key.get(address)
        ip = ip_address(address) if isinstance(address, bytes) else address
        if ip.version == 6 and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return self._by_address.get(ip)

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


def _of_family(addresses: tuple[IPAddress, ...], version: int) -> IPAddress | None:
    return next((address for address in addresses if address.version == version), None)
