"""Filter rules compiled for one node: who may send what to which of our addresses, and with which capabilities.

    sources       "*" | address | CIDR | first-last | cap:<node capability>     any one of them suffices
    destinations  "*" | address | CIDR | first-last, with an inclusive range of ports
    protocols     numbers; none given means TCP, UDP, ICMP, ICMPv6
    grants        application capabilities, towards prefixes; no packet passes because of them

Rules only ever allow, so their order has no meaning. A rule pairs sources and destinations within a family. What
cannot be parsed is skipped and the rest stands (`skipped` counts). So are ranges, once they come to MAX_RANGED
networks. A question costs the same with 100,000 rules as with 10 (`ruleindex`).

Source: Go wgengine/filter/tailcfg.go (MatchesFromFilterRules), match.go.
Not here: the packet, the state of the node that the rules are for (`packetfilter`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from tsnet.base.addresses import IPAddress, IPPrefix
from tsnet.base.malformed import MalformedError
from tsnet.base.steps import Steps, finish
from tsnet.netmap.model import CapGrant, FilterRule
from tsnet.netmap.routes import Routes
from tsnet.netmap.ruleindex import Place, Ranges, Reach, Rule, RuleIndex, Span

ICMP, IGMP, TCP, UDP, ICMPV6, TSMP, SCTP = 1, 2, 6, 17, 58, 99, 132
DEFAULT_PROTOCOLS = (ICMP, TCP, UDP, ICMPV6)
DECISIONS_KEPT = 4096
"""Answers a compiled filter remembers: a busy UDP service asks the same question for every packet."""

TEXTS_A_STEP = 256
"""How many sources and destinations are compiled in one step, which takes one or two milliseconds."""

TEXTS_KEPT, RANGES_KEPT = 65_536, 1024
"""How many texts are not parsed again. A policy that changes names mostly who it named before, in several rules."""

MAX_RANGED = 1 << 18
"""How many networks all ranges of a policy may come to; further ones are skipped. One of IPv6 comes to 252 at most."""

LONGEST = 80
"""Characters of a text: two addresses of IPv6."""

SIZES = (4, 16)
_ANYWHERE = ((4, 32, 0), (16, 128, 0))
NO_CAPABILITIES: frozenset[str] = frozenset()
_CAPABILITY = "cap:"

_SizedPlace = tuple[int, int, int]
"""Address size, shift, network >> shift."""


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
        for rule in rules:
            yield from compiler.add(rule)
        self.skipped: int = compiler.texts.skipped
        self.asks_for: frozenset[str] = frozenset(compiler.capabilities)
        self._index: dict[int, RuleIndex] = {}
        for size in SIZES:
            self._index[size] = yield from RuleIndex.in_steps(compiler.rules[size])
        self._grants = compiler.grants
        self._openings = compiler.openings
        # Nothing of this ever changes, so its answers may be remembered.
        self.allows: Callable[..., bool] = functools.lru_cache(DECISIONS_KEPT)(
            functools.partial(_allows, self._index)  # no method of its own: an old netmap's rules end at once
        )

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
        texts = _Texts()
        for sources in self._openings:
            for size, places in finish(texts.parse(sources)).items():
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

    def holders(self, name: str, destination: IPAddress) -> list[Routes[bool]]:
        """Who has this capability towards `destination`: tables of sources, any of which suffices."""
        return [
            sources
            for sources, grants in self._grants
            if any(
                name in grant.capabilities and any(destination in prefix for prefix in grant.destinations)
                for grant in grants
            )
        ]


def _allows(
    index: Mapping[int, RuleIndex],
    protocol: int,
    source: bytes,
    destination: bytes,
    port: int,
    capabilities: frozenset[str] = NO_CAPABILITIES,
) -> bool:
    """Whether some rule lets this protocol from there to this port of ours (TCP, UDP, SCTP)."""
    number = int.from_bytes(destination, "big")
    reaches = index[len(source)].reaches(int.from_bytes(source, "big"), capabilities, protocol)
    return any(reach.has(number, port) for reach in reaches)


class _Texts:
    """What the texts of a policy mean. skipped: how many mean nothing, or came after too many ranges."""

    def __init__(self) -> None:
        self.skipped = 0
        self._ranged = self._work = 0

    def parse(self, texts: Iterable[str]) -> Steps[dict[int, list[Place]]]:
        """Their networks by address size; `cap:` names apart."""
        found: dict[int, list[Place]] = {4: [], 16: []}
        for text in texts:
            if not text.startswith(_CAPABILITY):
                for size, shift, network in self.places_of(text):
                    found[size].append((shift, network))
                if self.is_step_over():
                    yield
        return found

    def places_of(self, text: str) -> Iterable[_SizedPlace]:
        """As the function of that name; none for what is skipped."""
        is_range = "-" in text
        try:
            if is_range and self._ranged >= MAX_RANGED:
                raise MalformedError("there are too many ranges")
            places = places_of(text)
        except MalformedError:
            self.skipped += 1
            return ()
        if is_range:
            self._ranged += len(places)
            self._work += len(places)
        return places

    def is_step_over(self) -> bool:
        """Whether it is time to yield; ask once for each text."""
        self._work += 1
        if self._work < TEXTS_A_STEP:
            return False
        self._work = 0
        return True


class _Rules:
    """Of one address size. Those with the same sources and protocols are one. There is nothing in the tables but text
    and numbers, and lists where several rules are one."""

    def __init__(self) -> None:
        self._sources: list[tuple[tuple[Place, ...], tuple[str, ...]]] = []
        self._spans: dict[tuple[tuple[str, ...], tuple[int, ...]], tuple[Span, ...] | list[Span]] = {}

    def add(self, rule: FilterRule, places: Iterable[Place], names: tuple[str, ...], spans: Iterable[Span]) -> None:
        kind = rule.sources, tuple(sorted(set(rule.protocols))) or DEFAULT_PROTOCOLS
        known = self._spans.get(kind)
        if known is None:
            self._spans[kind] = tuple(spans)
            self._sources.append((tuple(places), names))
        elif isinstance(known, list):
            known += spans
        else:
            self._spans[kind] = [*known, *spans]

    def __iter__(self) -> Iterator[Rule]:
        for (places, names), ((_, protocols), spans) in zip(self._sources, self._spans.items(), strict=True):
            yield places, names, protocols, spans


class _Compiler:
    """rules: by address size. openings: the sources of rules that have destinations, as control wrote them."""

    def __init__(self) -> None:
        self.texts = _Texts()
        self.capabilities: set[str] = set()
        self.grants: list[tuple[Routes[bool], tuple[CapGrant, ...]]] = []
        self.openings: list[tuple[str, ...]] = []
        self.rules: dict[int, _Rules] = {size: _Rules() for size in SIZES}

    def add(self, rule: FilterRule) -> Steps[None]:
        capabilities = tuple(text[len(_CAPABILITY) :] for text in rule.sources if text.startswith(_CAPABILITY))
        sources = yield from self.texts.parse(rule.sources)
        self.capabilities.update(capabilities)
        if rule.raw_grants:
            self.grants.append((Routes((prefix, True) for prefix in _prefixes(sources)), rule.grants))
        if rule.raw_destinations:
            self.openings.append(rule.sources)
        spans_of = yield from self._spans(rule)
        for size, spans in spans_of.items():
            if spans and (sources[size] or capabilities):
                self.rules[size].add(rule, sources[size], capabilities, spans)

    def _spans(self, rule: FilterRule) -> Steps[dict[int, list[Span]]]:
        """The destinations, by address size."""
        found: dict[int, list[Span]] = {4: [], 16: []}
        for ip, first, last in rule.raw_destinations:
            for size, shift, network in self.texts.places_of(ip):
                found[size].append((shift, network, first, last))
            if self.texts.is_step_over():
                yield
        return found


def has_many_texts(rules: Iterable[FilterRule]) -> bool:
    """Whether these rules take more than a step to compile."""
    return sum(len(rule.sources) + len(rule.raw_destinations) for rule in rules) > TEXTS_A_STEP


def parse_ahead(rules: Iterable[FilterRule]) -> Steps[None]:
    """Parse what these rules name on whatever thread, so that the next one has it from `places_of` at once."""
    texts = _Texts()
    for rule in rules:
        yield from texts.parse(rule.sources)
        yield from texts.parse(ip for ip, _first, _last in rule.raw_destinations)


NOTHING_ALLOWED = FilterRules(())


def places_of(text: str) -> tuple[_SizedPlace, ...]:
    """The networks of "*", an address, a CIDR without host bits, or an inclusive range `first-last`.

    Raises MalformedError. On whatever thread a text was parsed first, the next one does not do it again.
    """
    return _of_range(text) if "-" in text else _of_network(text)


@functools.lru_cache(TEXTS_KEPT)
def _of_network(text: str) -> tuple[_SizedPlace, ...]:
    if text == "*":
        return _ANYWHERE
    _check_length(text)
    try:
        network = ip_network(text)
    except ValueError:
        raise MalformedError(f"{text!r} is no set of addresses") from None
    shift = network.max_prefixlen - network.prefixlen
    return ((network.max_prefixlen // 8, shift, int(network.network_address) >> shift),)


@functools.lru_cache(RANGES_KEPT)
def _of_range(text: str) -> tuple[_SizedPlace, ...]:
    _check_length(text)
    first, _, last = text.partition("-")
    try:
        begin, end = ip_address(first), ip_address(last)
    except ValueError:
        raise MalformedError(f"{text!r} is no set of addresses") from None
    if begin.version != end.version or int(begin) > int(end):
        raise MalformedError(f"{text!r} is no range of addresses")
    return tuple((begin.max_prefixlen // 8, *place) for place in _networks_of(int(begin), int(end) + 1))


def _networks_of(at: int, end: int) -> Iterable[Place]:
    """The fewest networks that hold these addresses and no others."""
    while at < end:
        shift = (end - at).bit_length() - 1
        if at:
            shift = min(shift, (at & -at).bit_length() - 1)
        yield shift, at >> shift
        at += 1 << shift


def _check_length(text: str) -> None:
    """A zone can have any length, and what is parsed is remembered."""
    if len(text) > LONGEST:
        raise MalformedError(f"a text of {len(text)} characters is no set of addresses")


def _prefixes(places: dict[int, list[Place]]) -> Iterable[IPPrefix]:
    for size, family in places.items():
        for shift, network in family:
            yield ip_network(((network << shift).to_bytes(size, "big"), 8 * size - shift))
