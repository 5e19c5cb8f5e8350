"""Filter rules compiled for one node: who may send what to which of our addresses, and with which capabilities.

    sources       "*" | address | CIDR | first-last | cap:<node capability>     any one of them suffices
    destinations  "*" | address | CIDR | first-last, with an inclusive range of ports
    protocols     numbers; none given means TCP, UDP, ICMP, ICMPv6
    grants        application capabilities, towards prefixes; no packet passes because of them

Rules only ever allow, so their order has no meaning. A rule pairs sources and destinations within a family. What
cannot be parsed is skipped and the rest stands (`skipped` counts). If a peer outside the Tailnet Lock exists and some
rule would let it in, control is not to be trusted with any of them: nothing is allowed.

Source: Go wgengine/filter/tailcfg.go (MatchesFromFilterRules), match.go;
ipn/ipnlocal packetFilterPermitsUnlockedNodes.
Not here: the packet (`packetfilter`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address, ip_network, summarize_address_range
from typing import Any

import attrs

from tsnet.base.addresses import IPAddress, IPPrefix
from tsnet.base.malformed import MalformedError
from tsnet.netmap.model import CapGrant, Destination, FilterRule, NetMap
from tsnet.netmap.routes import Routes

ICMP, IGMP, TCP, UDP, ICMPV6, TSMP, SCTP = 1, 2, 6, 17, 58, 99, 132
DEFAULT_PROTOCOLS = frozenset({TCP, UDP, ICMP, ICMPV6})
ANY = (ip_network("0.0.0.0/0"), ip_network("::/0"))
DECISIONS_KEPT = 4096
"""Answers a compiled filter remembers: a busy UDP service asks the same question for every packet."""


_Span = tuple[int, int, int, int]
"""A destination: shift, network >> shift, first port, last port."""


@attrs.frozen
class _Match:
    """One rule within one family."""

    protocols: frozenset[int]
    sources: Routes[bool]
    source_capabilities: frozenset[str]
    destinations: tuple[_Span, ...]

    def reaches(self, address: int, port: int) -> bool:
        return any(
            address >> shift == network and first <= port <= last for shift, network, first, last in self.destinations
        )

    def reaches_any_port(self, address: int) -> bool:
        return any(address >> shift == network for shift, network, _, _ in self.destinations)

    def reaches_all_ports(self, address: int) -> bool:
        return any(
            (first, last) == (0, 65535) and address >> shift == network
            for shift, network, first, last in self.destinations
        )


class FilterRules:
    """Immutable. Addresses are raw, 4 or 16 bytes, both of one family."""

    def __init__(
        self, rules: Iterable[FilterRule], node_capabilities: Mapping[bytes, frozenset[str]] | None = None
    ) -> None:
        """node_capabilities: what `cap:` sources look at, by a node's own address."""
        self.skipped: int = 0
        self._node_capabilities = node_capabilities or {}
        self._matches: dict[int, list[_Match]] = {4: [], 16: []}
        self._grants: list[tuple[Routes[bool], tuple[CapGrant, ...]]] = []
        for rule in rules:
            self._compile(rule)
        # Nothing below ever changes, so its answers may be remembered.
        self.allows: Callable[[int, bytes, bytes, int], bool] = functools.lru_cache(DECISIONS_KEPT)(self._allows)

    def _compile(self, rule: FilterRule) -> None:
        sources, source_capabilities, skipped = _parse_sources(rule.sources)
        destinations, unparsed = _parse_destinations(rule.destinations)
        self.skipped += skipped + unparsed
        table = Routes((prefix, True) for prefix in sources)
        if rule.grants:
            self._grants.append((table, rule.grants))
        protocols = frozenset(rule.protocols) if rule.protocols else DEFAULT_PROTOCOLS
        for size, family in destinations.items():
            has_source = source_capabilities or any(prefix.max_prefixlen == size * 8 for prefix in sources)
            if family and has_source:
                self._matches[size].append(_Match(protocols, table, source_capabilities, tuple(family)))

    def _allows(self, protocol: int, source: bytes, destination: bytes, port: int) -> bool:
        """Whether some rule lets this protocol from there to this port of ours (TCP, UDP, SCTP)."""
        number = int.from_bytes(destination, "big")
        return any(
            protocol in match.protocols and self._from(match, source) and match.reaches(number, port)
            for match in self._matches[len(source)]
        )

    def allows_icmp(self, source: bytes, destination: bytes) -> bool:
        """Who may reach any port of an address may ping it, whatever the rule's protocols. As in Go, a `cap:` source
        is asked for no destination at all."""
        number = int.from_bytes(destination, "big")
        return any(
            self._has_capability(match, source)
            or (match.sources.lookup(source) is not None and match.reaches_any_port(number))
            for match in self._matches[len(source)]
        )

    def allows_portless(self, protocol: int, source: bytes, destination: bytes) -> bool:
        """Protocols without ports need a rule that names them and spans all ports. `cap:` sources do not count."""
        number = int.from_bytes(destination, "big")
        return any(
            protocol in match.protocols and match.sources.lookup(source) is not None and match.reaches_all_ports(number)
            for match in self._matches[len(source)]
        )

    def capabilities(self, source: IPAddress, destination: IPAddress) -> dict[str, tuple[Any, ...]]:
        """What the grants give `source` towards `destination`: name to values, in the order of the rules."""
        found: dict[str, tuple[Any, ...]] = {}
        for sources, grants in self._grants:
            if sources.lookup(source.packed) is None:
                continue
            for grant in grants:
                for prefix in grant.destinations:
                    if destination in prefix:
                        for name, values in grant.capabilities.items():
                            found[name] = found.get(name, ()) + tuple(values)
        return found

    def _from(self, match: _Match, source: bytes) -> bool:
        return match.sources.lookup(source) is not None or self._has_capability(match, source)

    def _has_capability(self, match: _Match, source: bytes) -> bool:
        if not match.source_capabilities:
            return False
        return not match.source_capabilities.isdisjoint(self._node_capabilities.get(source, ()))


NOTHING_ALLOWED = FilterRules(())


def compile_rules(netmap: NetMap) -> FilterRules:
    """A netmap's rules. Nothing is allowed if control sent none, or would admit peers outside the Tailnet Lock."""
    if not netmap.packet_filter or _admits_unsigned_peers(netmap):
        return NOTHING_ALLOWED
    capabilities = {
        address.packed: frozenset(node.capabilities)
        for node in netmap.peers.values()
        if node.capabilities and not node.unsigned_peer_api_only
        for address in node.ips
    }
    return FilterRules(netmap.packet_filter, capabilities)


def parse_ip_set(text: str) -> list[IPPrefix]:
    """ "*", an address, a CIDR without host bits, or an inclusive range `first-last`; raises MalformedError."""
    if text == "*":
        return list(ANY)
    first, dash, last = text.partition("-")
    try:
        if dash and "/" not in text:
            return list(summarize_address_range(ip_address(first), ip_address(last)))
        return [ip_network(text)]
    except (ValueError, TypeError):
        raise MalformedError(f"{text!r} is no set of addresses") from None


def _parse_sources(texts: Iterable[str]) -> tuple[list[IPPrefix], frozenset[str], int]:
    """Prefixes, `cap:` names, and how many texts were neither."""
    prefixes: list[IPPrefix] = []
    capabilities: set[str] = set()
    skipped = 0
    for text in texts:
        if text.startswith("cap:"):
            capabilities.add(text[4:])
            continue
        try:
            prefixes += parse_ip_set(text)
        except MalformedError:
            skipped += 1
    return prefixes, frozenset(capabilities), skipped


def _parse_destinations(destinations: Iterable[Destination]) -> tuple[dict[int, list[_Span]], int]:
    """By address size, and how many could not be parsed."""
    families: dict[int, list[_Span]] = {4: [], 16: []}
    skipped = 0
    for destination in destinations:
        try:
            prefixes = parse_ip_set(destination.ip)
        except MalformedError:
            skipped += 1
            continue
        for prefix in prefixes:
            shift = prefix.max_prefixlen - prefix.prefixlen
            ports = destination.ports
            span = (shift, int(prefix.network_address) >> shift, ports.first, ports.last)
            families[prefix.max_prefixlen // 8].append(span)
    return families, skipped


def _admits_unsigned_peers(netmap: NetMap) -> bool:
    unsigned = [prefix for node in netmap.peers.values() if node.unsigned_peer_api_only for prefix in node.allowed_ips]
    if not unsigned:
        return False
    return any(
        prefix.version == other.version and prefix.overlaps(other)
        for rule in netmap.packet_filter or ()
        if rule.destinations
        for prefix in _parse_sources(rule.sources)[0]
        for other in unsigned
    )
