"""The parts of a map message as JSON: nodes, DERP map, packet filter, DNS, users; both ways.

Decoding normalises as Go's client does on receipt: a legacy "127.3.3.40:N" home becomes HomeDERP, null AllowedIPs
become the Addresses, a node outside Tailnet Lock carries only its own addresses, and our own legacy Capabilities
become keys of CapMap. What cannot be read is left out; a node without id or key is no node.

Source: Go tailcfg/tailcfg.go, tailcfg/derpmap.go, types/dnstype; control/controlclient/map.go upgradeNode.
Not here: the messages these are parts of (`messages`), JSON's habits (`gojson`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from sys import intern
from typing import Any

from tsnet.base.keys import DiscoKey, MachineKey, NodeKey
from tsnet.control import gojson
from tsnet.control.gojson import (
    format_time,
    integer,
    items,
    key,
    line,
    mapping,
    numbered,
    objects,
    prefixes,
    text,
    texts,
)
from tsnet.netmap.merge import DerpMapUpdate
from tsnet.netmap.model import (
    CapGrant,
    DerpNode,
    DerpRegion,
    DnsConfig,
    DnsRecord,
    FilterRule,
    Node,
    RawDestination,
    Resolver,
    UserProfile,
)
from tsnet.netmap.packed import pack_prefixes

_LEGACY_HOME = "127.3.3.40:"

JsonObject = dict[str, Any]


def decode_node(value: Any, *, is_self: bool = False) -> Node | None:
    """None when there is nothing that could be a node."""
    fields = mapping(value)
    node_id, node_key = integer(fields.get("ID")), key(NodeKey, fields.get("Key"))
    if not node_id or node_key is None:
        return None
    addresses = pack_prefixes(prefixes(fields.get("Addresses")))
    allowed = fields.get("AllowedIPs")
    own_only = allowed is None or allowed == fields.get("Addresses") or fields.get("UnsignedPeerAPIOnly") is True
    capabilities = decode_cap_map(fields.get("CapMap"))
    if is_self:
        capabilities = {**dict.fromkeys(texts(fields.get("Capabilities")), ()), **capabilities}
    return Node(
        id=node_id,
        stable_id=text(fields.get("StableID")),
        name=line(fields.get("Name")).rstrip("."),
        key=node_key,
        user=integer(fields.get("User")),
        machine=key(MachineKey, fields.get("Machine")),
        disco_key=key(DiscoKey, fields.get("DiscoKey")),
        addresses=addresses,
        allowed_ips=addresses if own_only else prefixes(allowed),
        endpoints=gojson.endpoints(fields.get("Endpoints")),
        home_region=integer(fields.get("HomeDERP")) or _legacy_home(fields.get("DERP")),
        hostinfo=_hostinfo(fields.get("Hostinfo")),
        created=text(fields.get("Created")),
        capability_version=integer(fields.get("Cap")),
        tags=tuple(intern(line(tag)) for tag in texts(fields.get("Tags"))),
        primary_routes=prefixes(fields.get("PrimaryRoutes")),
        key_expiry=gojson.unix_time(fields.get("KeyExpiry")),
        last_seen=gojson.unix_time(fields.get("LastSeen")),
        online=gojson.tri(fields.get("Online")),
        machine_authorized=fields.get("MachineAuthorized") is True,
        capabilities=capabilities,
        expired=fields.get("Expired") is True,
        is_wireguard_only=fields.get("IsWireGuardOnly") is True,
        is_jailed=fields.get("IsJailed") is True,
        unsigned_peer_api_only=fields.get("UnsignedPeerAPIOnly") is True,
        sharer=integer(fields.get("Sharer")),
    )


def encode_node(node: Node) -> JsonObject:
    """What a control server sends; the home in both its forms, for clients older than capability version 111."""
    fields: JsonObject = {
        "ID": node.id,
        "StableID": node.stable_id,
        "Name": node.name + ".",
        "User": node.user,
        "Key": node.key.text(),
        "KeyExpiry": format_time(node.key_expiry),
        "Machine": (node.machine or MachineKey.zero()).text(),
        "DiscoKey": (node.disco_key or DiscoKey.zero()).text(),
        "Addresses": gojson.strings(node.addresses),
        "AllowedIPs": gojson.strings(node.allowed_ips),
        "Endpoints": [gojson.format_endpoint(where) for where in node.endpoints],
        "HomeDERP": node.home_region,
        "DERP": f"{_LEGACY_HOME}{node.home_region}" if node.home_region else "",
        "Hostinfo": node.hostinfo,
        "Created": node.created or gojson.ZERO_TIME,
        "Cap": node.capability_version,
        "CapMap": encode_cap_map(node.capabilities),
        "MachineAuthorized": node.machine_authorized,
    }
    optional: JsonObject = {
        "Tags": list(node.tags),
        "PrimaryRoutes": gojson.strings(node.primary_routes),
        "Sharer": node.sharer,
        "Expired": node.expired,
        "IsWireGuardOnly": node.is_wireguard_only,
        "IsJailed": node.is_jailed,
        "UnsignedPeerAPIOnly": node.unsigned_peer_api_only,
    }
    fields |= {name: value for name, value in optional.items() if value}
    if node.online is not None:
        fields["Online"] = node.online
    if node.last_seen is not None:
        fields["LastSeen"] = format_time(node.last_seen)
    return fields


def _hostinfo(value: Any) -> JsonObject:
    """As it came; nothing of one that is too deep."""
    return mapping(value) if gojson.is_shallow(value) else {}


def decode_cap_map(value: Any) -> dict[str, tuple[Any, ...]]:
    """Presence of a name is what counts; its values may be null."""
    return {intern(name): tuple(filter(gojson.is_shallow, items(values))) for name, values in mapping(value).items()}


def encode_cap_map(capabilities: Mapping[str, tuple[Any, ...]]) -> JsonObject:
    return {name: list(values) for name, values in capabilities.items()}


def decode_user(value: Any) -> UserProfile:
    fields = mapping(value)
    return UserProfile(
        integer(fields.get("ID")),
        line(fields.get("LoginName")),
        line(fields.get("DisplayName")),
        line(fields.get("ProfilePicURL"), gojson.MAX_URL),
    )


def encode_user(user: UserProfile) -> JsonObject:
    return {
        "ID": user.id,
        "LoginName": user.login_name,
        "DisplayName": user.display_name,
        "ProfilePicURL": user.profile_pic_url,
    }


# --- DERP -------------------------------------------------------------------------------------------------------


def decode_derp_map(value: Any) -> DerpMapUpdate | None:
    if not isinstance(value, dict):
        return None
    regions, score = value.get("Regions"), mapping(value.get("HomeParams")).get("RegionScore")
    return DerpMapUpdate(
        regions=None
        if regions is None
        else {number: _region(number, item) for number, item in numbered(regions).items() if isinstance(item, dict)},
        region_score=None if score is None else {n: gojson.number(item) for n, item in numbered(score).items()},
        omit_default_regions=value.get("omitDefaultRegions") is True,
    )


def encode_derp_map(update: DerpMapUpdate) -> JsonObject:
    fields: JsonObject = {
        "Regions": None
        if update.regions is None
        else {str(number): _encode_region(region) for number, region in update.regions.items()}
    }
    if update.omit_default_regions:
        fields["omitDefaultRegions"] = True
    if update.region_score is not None:
        fields["HomeParams"] = {"RegionScore": {str(number): score for number, score in update.region_score.items()}}
    return fields


def _region(region_id: int, fields: JsonObject) -> DerpRegion:
    return DerpRegion(
        region_id=region_id,
        code=text(fields.get("RegionCode")),
        name=text(fields.get("RegionName")),
        avoid=fields.get("Avoid") is True,
        no_measure_no_home=fields.get("NoMeasureNoHome") is True,
        nodes=tuple(_derp_node(region_id, item) for item in objects(fields.get("Nodes"))),
    )


def _encode_region(region: DerpRegion) -> JsonObject:
    fields: JsonObject = {
        "RegionID": region.region_id,
        "RegionCode": region.code,
        "RegionName": region.name,
        "Nodes": [_encode_derp_node(node) for node in region.nodes],
    }
    if region.avoid:
        fields["Avoid"] = True
    if region.no_measure_no_home:
        fields["NoMeasureNoHome"] = True
    return fields


def _derp_node(region_id: int, fields: JsonObject) -> DerpNode:
    return DerpNode(
        name=_word(fields.get("Name")),
        region_id=region_id,
        host_name=_word(fields.get("HostName")),
        cert_name=text(fields.get("CertName")),
        ipv4=text(fields.get("IPv4")),
        ipv6=text(fields.get("IPv6")),
        stun_port=integer(fields.get("STUNPort")),
        stun_only=fields.get("STUNOnly") is True,
        derp_port=integer(fields.get("DERPPort")),
        insecure_for_tests=fields.get("InsecureForTests") is True,
        stun_test_ip=text(fields.get("STUNTestIP")),
        can_port_80=fields.get("CanPort80") is True,
    )


def _word(value: Any) -> str:
    """A name that goes into the heads of HTTP requests: none if it could end a line there."""
    word = text(value)
    return word if word.isprintable() and " " not in word else ""


def _encode_derp_node(node: DerpNode) -> JsonObject:
    fields: JsonObject = {"Name": node.name, "RegionID": node.region_id, "HostName": node.host_name}
    optional: JsonObject = {
        "CertName": node.cert_name,
        "IPv4": node.ipv4,
        "IPv6": node.ipv6,
        "STUNPort": node.stun_port,
        "STUNOnly": node.stun_only,
        "DERPPort": node.derp_port,
        "InsecureForTests": node.insecure_for_tests,
        "STUNTestIP": node.stun_test_ip,
        "CanPort80": node.can_port_80,
    }
    return fields | {name: value for name, value in optional.items() if value}


def _legacy_home(value: Any) -> int:
    home = text(value)
    return integer(home.removeprefix(_LEGACY_HOME)) if home.startswith(_LEGACY_HOME) else 0


# --- packet filter ----------------------------------------------------------------------------------------------


def encode_filter(rules: Iterable[FilterRule]) -> list[JsonObject]:
    return [_encode_rule(rule) for rule in rules]


def decode_rule(fields: JsonObject) -> FilterRule:
    return FilterRule(
        sources=texts(fields.get("SrcIPs")),
        destinations=map(_destination, objects(fields.get("DstPorts"))),
        protocols=tuple(integer(item) for item in items(fields.get("IPProto"))),
        grants=tuple(_grant(item) for item in objects(fields.get("CapGrant"))),
    )


def _destination(fields: JsonObject) -> RawDestination:
    ports = mapping(fields.get("Ports"))
    return text(fields.get("IP")), integer(ports.get("First")), integer(ports.get("Last"))


def _grant(fields: JsonObject) -> CapGrant:
    legacy = dict.fromkeys(texts(fields.get("Caps")), ())
    return CapGrant(tuple(prefixes(fields.get("Dsts"))), {**legacy, **decode_cap_map(fields.get("CapMap"))})


def _encode_rule(rule: FilterRule) -> JsonObject:
    fields: JsonObject = {"SrcIPs": list(rule.sources)}
    if rule.raw_destinations:
        fields["DstPorts"] = [
            {"IP": ip, "Ports": {"First": first, "Last": last}} for ip, first, last in rule.raw_destinations
        ]
    if rule.protocols:
        fields["IPProto"] = list(rule.protocols)
    if rule.grants:
        fields["CapGrant"] = [
            {"Dsts": gojson.strings(grant.destinations), "CapMap": encode_cap_map(grant.capabilities)}
            for grant in rule.grants
        ]
    return fields


# --- DNS --------------------------------------------------------------------------------------------------------


def decode_dns(value: Any) -> DnsConfig | None:
    if not isinstance(value, dict):
        return None
    return DnsConfig(
        resolvers=_resolvers(value.get("Resolvers")),
        routes={suffix: _resolvers(through) for suffix, through in mapping(value.get("Routes")).items()},
        fallback_resolvers=_resolvers(value.get("FallbackResolvers")),
        domains=texts(value.get("Domains")),
        proxied=value.get("Proxied") is True,
        cert_domains=texts(value.get("CertDomains")),
        extra_records=tuple(
            DnsRecord(text(item.get("Name")), text(item.get("Type")), text(item.get("Value")))
            for item in objects(value.get("ExtraRecords"))
        ),
    )


def encode_dns(dns: DnsConfig) -> JsonObject:
    fields: JsonObject = {"Proxied": dns.proxied, "Domains": list(dns.domains)}
    optional: JsonObject = {
        "Resolvers": _encode_resolvers(dns.resolvers),
        "Routes": {suffix: _encode_resolvers(through) for suffix, through in dns.routes.items()},
        "FallbackResolvers": _encode_resolvers(dns.fallback_resolvers),
        "CertDomains": list(dns.cert_domains),
        "ExtraRecords": [{"Name": r.name, "Type": r.type, "Value": r.value} for r in dns.extra_records],
    }
    return fields | {name: value for name, value in optional.items() if value}


def _resolvers(value: Any) -> tuple[Resolver, ...]:
    return tuple(
        Resolver(
            text(item.get("Addr")),
            tuple(found for ip in items(item.get("BootstrapResolution")) if (found := gojson.address(ip)) is not None),
            item.get("UseWithExitNode") is True,
        )
        for item in objects(value)
    )


def _encode_resolvers(resolvers: Iterable[Resolver]) -> list[JsonObject]:
    encoded = []
    for resolver in resolvers:
        fields: JsonObject = {"Addr": resolver.address}
        if resolver.bootstrap:
            fields["BootstrapResolution"] = gojson.strings(resolver.bootstrap)
        if resolver.use_with_exit_node:
            fields["UseWithExitNode"] = True
        encoded.append(fields)
    return encoded
