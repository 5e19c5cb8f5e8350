"""Filter rules compiled for one node: who may send what to which of our addresses, and with which capabilities.

    sources       "*" | address | CIDR | first-last | cap:<node capability>     any one of them suffices
    destinations  "*" | address | CIDR | first-last, with an inclusive range of ports
    protocols     numbers; none given means TCP, UDP, ICMP, ICMPv6
    grants        application capabilities, towards prefixes; no packet passes because of them

Rules only ever allow, so their order has no meaning. A rule pairs sources and destinations within a family. What
cannot be parsed is skipped and the rest stands (`skipped` counts). A question costs the same with 100,000 rules as with
10 (`reach`).

Source: Go wgengine/filter/tailcfg.go (MatchesFromFilterRules), match.go.
Not here: the packet, the state of the node that the rules are for (`packetfilter`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address, ip_network, summarize_address_range
from typing import Any

from tsnet.base.addresses import IPAddress, IPPrefix
from tsnet.base.malformed import MalformedError
from tsnet.base.steps import Steps, finish
from tsnet.netmap.model import CapGrant, FilterRule
from tsnet.netmap.reach import Place, Ranges, Reach, RuleIndex, Span
from tsnet.netmap.routes import Routes

ICMP, IGMP, TCP, UDP, ICMPV6, TSMP, SCTP = 1, 2, 6, 17, 58, 99, 132
DEFAULT_PROTOCOLS = frozenset({TCP, UDP, ICMP, ICMPV6})
ANY = (ip_network("0.0.0.0/0"), ip_network("::/0"))
DECISIONS_KEPT = 4096
"""Answers a compiled filter remembers: a busy UDP service asks the same question for every packet."""

RULES_A_STEP = 256
"""How many rules are compiled in one step, which takes some milliseconds."""

TEXTS_KEPT = 65_536
"""How many texts are not parsed again. A policy that changes names mostly who it named before, in several rules."""

SIZES = (4, 16)
NO_CAPABILITIES: frozenset[str] = frozenset()
_CAPABILITY = "cap:"


class FilterRules:
    """Immutable. Addresses are raw, 4 or 16 bytes, both of one family. asks_for: the node capabilities that rules name.

    A question's `capabilities` are those of `asks_for` that the node has whose own address the source is.
    """

    def __init__(self, rules: Iterable[FilterRule]) -> None:
        finish(self._compile(rules))

    @classmethod
    def in_steps(cls, rules: Iterable[FilterRule]) -> Steps[FilterRules]:
        """The same for very many rules."""
        made = cls.__new__(cls)
        yield from made._compile(rules)
        return made

    def _compile(self, rules: Iterable[FilterRule]) -> Steps[None]:
        compiler = _Compiler()
        for number, rule in enumerate(rules, 1):
            compiler.add(rule)
            if not number % RULES_A_STEP:
                yield
        self.skipped: int = compiler.skipped
        self.asks_for: frozenset[str] = frozenset(compiler.capabilities)
        self._index: dict[int, RuleIndex] = {}
        for size in SIZES:
            self._index[size] = yield from RuleIndex.in_steps(compiler.rules[size].values())
        self._grants = compiler.grants
        self._openings = compiler.openings
        # Nothing of this ever changes, so its answers may be remembered.
        self.allows: Callable[..., bool] = functools.lru_cache(DECISIONS_KEPT)(self._allows)

    def _allows(
        self,
        protocol: int,
        source: bytes,
        destination: bytes,
        port: int,
        capabilities: frozenset[str] = NO_CAPABILITIES,
    ) -> bool:
        """Whether some rule lets this protocol from there to this port of ours (TCP, UDP, SCTP)."""
        number = int.from_bytes(destination, "big")
        return any(reach.has(number, port) for reach in self._reaches(source, capabilities, protocol))

    def allows_icmp(self, source: bytes, destination: bytes, capabilities: frozenset[str] = NO_CAPABILITIES) -> bool:
        """Who may reach any port of an address may ping it, whatever the rule's protocols. As in Go, a `cap:` source
        is asked for no destination at all."""
        if self._index[len(source)].named(capabilities):
            return True
        number = int.from_bytes(destination, "big")
        return any(reach.has_address(number) for reach in self._reaches(source, NO_CAPABILITIES))

    def allows_portless(self, protocol: int, source: bytes, destination: bytes) -> bool:
        """Protocols without ports need a rule that names them and spans all ports. `cap:` sources do not count."""
        number = int.from_bytes(destination, "big")
        return any(reach.has_all_ports(number) for reach in self._reaches(source, NO_CAPABILITIES, protocol))

    def _reaches(self, source: bytes, names: frozenset[str], protocol: int | None = None) -> Iterable[Reach]:
        return self._index[len(source)].reaches(int.from_bytes(source, "big"), names, protocol)

    def opens_to(self, prefix: IPPrefix) -> bool:
        """Whether some rule that has destinations has a source inside of the prefix or around it."""
        sources = self._opened[prefix.max_prefixlen // 8]
        return sources.meets(int(prefix.network_address), int(prefix.broadcast_address))

    @functools.cached_property
    def _opened(self) -> dict[int, Ranges]:
        """All sources of rules that have destinations, by address size. Only peers outside the Tailnet Lock need it."""
        ranges: dict[int, list[tuple[int, int]]] = {4: [], 16: []}
        for sources in self._openings:
            for size, places in _parse_all(sources)[0].items():
                ranges[size] += [(network << shift, ((network + 1) << shift) - 1) for shift, network in places]
        return {size: Ranges(found) for size, found in ranges.items()}

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


class _Compiler:
    """rules: by address size. openings: the sources of rules that have destinations, as control wrote them."""

    def __init__(self) -> None:
        self.skipped = 0
        self.capabilities: set[str] = set()
        self.grants: list[tuple[Routes[bool], tuple[CapGrant, ...]]] = []
        self.openings: list[tuple[str, ...]] = []
        self.rules: dict[int, dict[object, tuple[Sequence[Place], frozenset[str], Reach]]] = {4: {}, 16: {}}

    def add(self, rule: FilterRule) -> None:
        capabilities = frozenset(text[len(_CAPABILITY) :] for text in rule.sources if text.startswith(_CAPABILITY))
        sources, skipped = _parse_all(rule.sources)
        self.skipped += skipped
        self.capabilities |= capabilities
        if rule.grants:
            self.grants.append((Routes((prefix, True) for prefix in _prefixes(sources)), rule.grants))
        if rule.destinations:
            self.openings.append(rule.sources)
        protocols = frozenset(rule.protocols) if rule.protocols else DEFAULT_PROTOCOLS
        for size, spans in self._spans(rule).items():
            if not spans or not (sources[size] or capabilities):
                continue
            known = self.rules[size].get((rule.sources, protocols))
            if known is None:
                reach = Reach(protocols, spans)
                self.rules[size][rule.sources, protocols] = (sources[size], capabilities, reach)
            else:
                known[2].spans += spans

    def _spans(self, rule: FilterRule) -> dict[int, list[Span]]:
        """The destinations, by address size."""
        found: dict[int, list[Span]] = {4: [], 16: []}
        for destination in rule.destinations:
            ports = destination.ports
            try:
                for size, shift, network in places_of(destination.ip):
                    found[size].append((shift, network, ports.first, ports.last))
            except MalformedError:
                self.skipped += 1
        return found


NOTHING_ALLOWED = FilterRules(())


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


@functools.lru_cache(TEXTS_KEPT)
def places_of(text: str) -> tuple[tuple[int, int, int], ...]:
    """`parse_ip_set` as numbers: address size, shift, network >> shift. On whatever thread a text was parsed first, the
    next one does not do it again."""
    return tuple(
        (
            prefix.max_prefixlen // 8,
            prefix.max_prefixlen - prefix.prefixlen,
            int(prefix.network_address) >> (prefix.max_prefixlen - prefix.prefixlen),
        )
        for prefix in parse_ip_set(text)
    )


def _parse_all(texts: Iterable[str]) -> tuple[dict[int, list[Place]], int]:
    """The networks by address size, and how many texts are none, `cap:` names apart."""
    found: dict[int, list[Place]] = {4: [], 16: []}
    skipped = 0
    for text in texts:
        if text.startswith(_CAPABILITY):
            continue
        try:
            for size, shift, network in places_of(text):
                found[size].append((shift, network))
        except MalformedError:
            skipped += 1
    return found, skipped


def _prefixes(places: dict[int, list[Place]]) -> Iterable[IPPrefix]:
    for size, family in places.items():
        for shift, network in family:
            yield ip_network(((network << shift).to_bytes(size, "big"), 8 * size - shift))
