"""The netmap as immutable values: what control told us, decoded once, shared by all rooms.

Values, not behaviour: merging deltas is `merge`, longest-prefix lookup is `routes`, names are `names`, the filter is
`packetfilter`, identities are `whois`.

There are thousands of nodes, users and rules, and the garbage collector should see one object of each (`base.compact`).
Their fields hold text, bytes and numbers: one that begins with `raw_` is packed (`packed`), and the property without
that word makes objects of it, anew whenever it is asked for. They are made, and changed by `attrs.evolve`, from either.

Source: Go tailcfg/tailcfg.go (Node, MapResponse, FilterRule, DNSConfig), tailcfg/derpmap.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from tsnet.base.addresses import IPAddress, IPPrefix, UdpAddress
from tsnet.base.compact import compact
from tsnet.base.keys import DiscoKey, MachineKey, NodeKey
from tsnet.base.records import record
from tsnet.netmap.packed import (
    NO_KEY,
    NO_MEMBERS,
    addresses_of,
    endpoints_of,
    lists_of,
    object_of,
    pack_endpoints,
    pack_key,
    pack_object,
    pack_prefixes,
    prefix_of,
    prefixes_of,
    raw_prefixes,
)


@compact
class Node:
    """One node, ourselves or a peer. `name` is the FQDN without its trailing dot."""

    id: int
    stable_id: str
    name: str
    raw_key: bytes = attrs.field(alias="key", converter=pack_key)
    user: int = 0
    raw_machine: bytes = attrs.field(default=NO_KEY, alias="machine", converter=pack_key)
    raw_disco_key: bytes = attrs.field(default=NO_KEY, alias="disco_key", converter=pack_key)
    raw_addresses: bytes = attrs.field(default=b"", alias="addresses", converter=pack_prefixes)
    raw_allowed_ips: bytes = attrs.field(default=b"", alias="allowed_ips", converter=pack_prefixes)
    raw_endpoints: str = attrs.field(default="", alias="endpoints", converter=pack_endpoints)
    home_region: int = 0
    raw_hostinfo: bytes = attrs.field(default=NO_MEMBERS, alias="hostinfo", converter=pack_object)
    created: str = ""
    capability_version: int = 0
    tags: tuple[str, ...] = ()
    raw_primary_routes: bytes = attrs.field(default=b"", alias="primary_routes", converter=pack_prefixes)
    key_expiry: float | None = None  # Unix seconds; None never expires
    last_seen: float | None = None
    online: bool | None = None
    machine_authorized: bool = True
    raw_capabilities: bytes = attrs.field(default=NO_MEMBERS, alias="capabilities", converter=pack_object)  # CapMap
    expired: bool = False
    is_wireguard_only: bool = False
    is_jailed: bool = False
    unsigned_peer_api_only: bool = False
    sharer: int = 0

    @property
    def key(self) -> NodeKey:
        return NodeKey(self.raw_key)

    @property
    def machine(self) -> MachineKey | None:
        return MachineKey(self.raw_machine) if self.raw_machine else None

    @property
    def disco_key(self) -> DiscoKey | None:
        return DiscoKey(self.raw_disco_key) if self.raw_disco_key else None

    @property
    def addresses(self) -> tuple[IPPrefix, ...]:
        return prefixes_of(self.raw_addresses)

    @property
    def ips(self) -> tuple[IPAddress, ...]:
        """The node's own addresses (v4 first, as control sends them)."""
        return addresses_of(self.raw_addresses)

    @property
    def allowed_ips(self) -> tuple[IPPrefix, ...]:
        return prefixes_of(self.raw_allowed_ips)

    @property
    def routes(self) -> tuple[IPPrefix, ...]:
        """Its allowed IPs without its own addresses."""
        own = raw_prefixes(self.raw_addresses)
        return tuple(prefix_of(raw) for raw in raw_prefixes(self.raw_allowed_ips) if raw not in own)

    @property
    def primary_routes(self) -> tuple[IPPrefix, ...]:
        return prefixes_of(self.raw_primary_routes)

    @property
    def endpoints(self) -> tuple[UdpAddress, ...]:
        return endpoints_of(self.raw_endpoints)

    @property
    def hostinfo(self) -> Mapping[str, Any]:
        return object_of(self.raw_hostinfo)

    @property
    def capabilities(self) -> Mapping[str, tuple[Any, ...]]:
        """CapMap."""
        return lists_of(self.raw_capabilities)


@compact
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


RawDestination = tuple[str, int, int]
"""A Destination: ip, first port, last port."""

RawGrant = tuple[bytes, bytes]
"""A CapGrant: its destinations and its capabilities, packed."""


def _pack_destinations(destinations: Iterable[Destination | RawDestination]) -> tuple[RawDestination, ...]:
    return tuple(
        (where.ip, where.ports.first, where.ports.last) if isinstance(where, Destination) else where
        for where in destinations
    )


def _pack_grants(grants: Iterable[CapGrant | RawGrant]) -> tuple[RawGrant, ...]:
    return tuple(
        (pack_prefixes(grant.destinations), pack_object(grant.capabilities)) if isinstance(grant, CapGrant) else grant
        for grant in grants
    )


@compact
class FilterRule:
    """One rule for packets that arrive at this node. Empty `protocols` means TCP, UDP, ICMP, ICMPv6."""

    sources: tuple[str, ...]
    raw_destinations: tuple[RawDestination, ...] = attrs.field(
        default=(), alias="destinations", converter=_pack_destinations
    )
    protocols: tuple[int, ...] = ()
    raw_grants: tuple[RawGrant, ...] = attrs.field(default=(), alias="grants", converter=_pack_grants)

    @property
    def destinations(self) -> tuple[Destination, ...]:
        return tuple(Destination(ip, PortRange(first, last)) for ip, first, last in self.raw_destinations)

    @property
    def grants(self) -> tuple[CapGrant, ...]:
        return tuple(CapGrant(prefixes_of(where), lists_of(what)) for where, what in self.raw_grants)


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
    is_locked: bool = False  # whether Tailnet Lock is on (TKAInfo); nothing here verifies its signatures
