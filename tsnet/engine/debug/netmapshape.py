"""`debug("netmap")`: what control has told this node, so far as it bears on who can reach whom.

Not here: the rules (`filtershape`), how peers are reached (`pathshape`).
"""

from __future__ import annotations

from tsnet.engine.debug.plain import Plain, address
from tsnet.engine.healthmessages import sentences_of
from tsnet.netmap.model import DerpMap, DnsConfig, NetMap, Node, Resolver


def netmap_shape(netmap: NetMap | None) -> Plain:
    """Empty before the first netmap."""
    if netmap is None:
        return {}
    return {
        "domain": netmap.domain,
        "self": _node(netmap, netmap.self_node),
        "attributes": sorted(netmap.self_node.capabilities),
        "peers": [_node(netmap, node) for node in sorted(netmap.peers.values(), key=lambda node: node.name)],
        "users": len(netmap.users),
        "rules": None if netmap.packet_filter is None else len(netmap.packet_filter),
        "dns": _dns(netmap.dns),
        "derp_map": _derp_map(netmap.derp_map),
        "health": sentences_of(netmap),
    }


def _node(netmap: NetMap, node: Node) -> Plain:
    user = netmap.users.get(node.user)
    return {
        "name": node.name,
        "id": node.stable_id,
        "key": str(node.key),
        "disco_key": None if node.disco_key is None else str(node.disco_key),
        "addresses": list(map(str, node.ips)),
        "routes": list(map(str, node.routes)),
        "endpoints": list(map(address, node.endpoints)),
        "home_region": node.home_region,
        "user": "" if user is None else user.login_name,
        "tags": list(node.tags),
        "online": node.online,
        "last_seen": node.last_seen,
        "key_expiry": node.key_expiry,
        "is_expired": node.expired,
        "is_authorized": node.machine_authorized,
        "is_jailed": node.is_jailed,
        "is_wireguard_only": node.is_wireguard_only,
        "capability_version": node.capability_version,
        "os": str(node.hostinfo.get("OS", "")),
    }


def _dns(dns: DnsConfig) -> Plain:
    def listed(resolvers: tuple[Resolver, ...]) -> list[str]:
        return [resolver.address for resolver in resolvers]

    return {
        "is_magic": dns.proxied,
        "domains": list(dns.domains),
        "resolvers": listed(dns.resolvers),
        "fallback_resolvers": listed(dns.fallback_resolvers),
        "routes": {suffix: listed(resolvers) for suffix, resolvers in sorted(dns.routes.items())},
        "certificate_domains": list(dns.cert_domains),
        "extra_records": [{"name": one.name, "type": one.type, "value": one.value} for one in dns.extra_records],
    }


def _derp_map(derp_map: DerpMap) -> list[Plain]:
    return [
        {
            "region": number,
            "code": region.code,
            "name": region.name,
            "may_be_home": not (region.avoid or region.no_measure_no_home),
            "nodes": [
                {
                    "name": node.name,
                    "host": node.host_name,
                    "ipv4": node.ipv4,
                    "ipv6": node.ipv6,
                    "derp_port": node.derp_port,
                    "stun_port": node.stun_port,
                    "is_stun_only": node.stun_only,
                }
                for node in region.nodes
            ],
        }
        for number, region in sorted(derp_map.regions.items())
    ]
