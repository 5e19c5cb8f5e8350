"""The netmap as immutable values: what control told us, decoded once, shared by all rooms.

Values, not behaviour: merging deltas is `merge`, longest-prefix lookup is `routes`, names are `names`, the filter is
`packetfilter`, identities are `whois`.

Source: Go tailcfg/tailcfg.go (Node, MapResponse, FilterRule, DNSConfig), tailcfg/derpmap.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from tsnet.base.addresses import IPAddress, IPPrefix, UdpAddress
from tsnet.base.keys import DiscoKey, MachineKey, NodeKey
from tsnet.base.records import record


@attrs.frozen
class Node:
    """One node, ourselves or a peer. `name` is the FQDN without its trailing dot."""

    id: int
    stable_id: str
    name: str
    key: NodeKey
    user: int = 0
    machine: MachineKey | None = None
    disco_key: DiscoKey | None = None
    addresses: tuple[IPPrefix, ...] = ()
    allowed_ips: tuple[IPPrefix, ...] = ()
    endpoints: tuple[UdpAddress, ...] = ()
    home_region: int = 0
    hostinfo: Mapping[str, Any] = attrs.field(factory=dict)
    created: str = ""
    capability_version: int = 0
    tags: tuple[str, ...] = ()
    primary_routes: tuple[IPPrefix, ...] = ()
    key_expiry: float | None = None  # Unix seconds; None never expires
    last_seen: float | None = None
    online: bool | None = None
    machine_authorized: bool = True
    capabilities: Mapping[str, tuple[Any, ...]] = attrs.field(factory=dict)  # CapMap
    expired: bool = False
    is_wireguard_only: bool = False
    is_jailed: bool = False
    unsigned_peer_api_only: bool = False
    sharer: int = 0

    @property
    def ips(self) -> tuple[IPAddress, ...]:
        """The node's own addresses (v4 first, as control sends them)."""
        return tuple(prefix.network_address for prefix in self.addresses)


@attrs.frozen
class UserProfile:
    id: int
    login_name: str
    display_name: str = ""
    profile_pic_url: str = ""


@record
class DerpNode:
    """One relay of a region. An address of "" asks DNS; one that is no IP ("none") turns the family off."""

    name: str
    region_id: int
    host_name: str
    cert_name: str = ""
    ipv4: str = ""
    ipv6: str = ""
    stun_port: int = 0
    stun_only: bool = False
    derp_port: int = 0
    insecure_for_tests: bool = False
    stun_test_ip: str = ""
    can_port_80: bool = False


@record
class DerpRegion:
    region_id: int
    code: str = ""
    name: str = ""
    avoid: bool = False
    no_measure_no_home: bool = False
    nodes: tuple[DerpNode, ...] = ()


@record
class DerpMap:
    regions: Mapping[int, DerpRegion] = attrs.field(factory=dict)
    region_score: Mapping[int, float] = attrs.field(factory=dict)
    omit_default_regions: bool = False


@attrs.frozen
class PortRange:
    """Inclusive, as FilterRule.DstPorts writes it."""

    first: int
    last: int


@attrs.frozen
class Destination:
    """FilterRule.DstPorts[i]: `ip` is "*", an address, a CIDR or a range, as text."""

    ip: str
    ports: PortRange


@attrs.frozen
class CapGrant:
    destinations: tuple[IPPrefix, ...]
    capabilities: Mapping[str, tuple[Any, ...]]


@attrs.frozen
class FilterRule:
    """One rule for packets that arrive at this node. Empty `protocols` means TCP, UDP, ICMP, ICMPv6."""

    sources: tuple[str, ...]
    destinations: tuple[Destination, ...] = ()
    protocols: tuple[int, ...] = ()
    grants: tuple[CapGrant, ...] = ()


@record
class Resolver:
    address: str
    bootstrap: tuple[IPAddress, ...] = ()
    use_with_exit_node: bool = False


@record
class DnsRecord:
    name: str
    type: str
    value: str


@record
class DnsConfig:
    resolvers: tuple[Resolver, ...] = ()
    routes: Mapping[str, tuple[Resolver, ...]] = attrs.field(factory=dict)
    fallback_resolvers: tuple[Resolver, ...] = ()
    domains: tuple[str, ...] = ()
    proxied: bool = False  # MagicDNS
    cert_domains: tuple[str, ...] = ()
    extra_records: tuple[DnsRecord, ...] = ()


@record
class NetMap:
    """Everything a node acts on, whole. `peers` by node id; `packet_filter` None means deny (control sent none)."""

    self_node: Node
    peers: Mapping[int, Node] = attrs.field(factory=dict)
    users: Mapping[int, UserProfile] = attrs.field(factory=dict)
    derp_map: DerpMap = attrs.field(factory=DerpMap)
    packet_filter: tuple[FilterRule, ...] | None = None
    named_filters: Mapping[str, tuple[FilterRule, ...]] | None = None  # what packet_filter is the concatenation of
    dns: DnsConfig = attrs.field(factory=DnsConfig)
    domain: str = ""
    health: tuple[str, ...] = ()
    display_messages: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    control_time: float | None = None
