"""Which rules name a source, and where they lead: found without a look at the others.

    source ─► one look for each prefix length among the sources ─► the rules that name it
           ─► one look for each prefix length among their destinations ─► the ports, by bisection

Rules with the same sources and protocols are one `Reach`. Where more than ASKED_ONE_BY_ONE of them name a source, they
are joined when they are asked for the first time. So what a question costs depends on the number of prefix lengths, 33
and 129 at most, and not on the number of rules.

Networks are numbers: `(shift, address >> shift)`, with shift 0 for one address. One family at a time.

Not here: what control writes (`filterrules`).
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator

from tsnet.base.steps import Steps, finish

ASKED_ONE_BY_ONE = 16
JOINED_KEPT = 256
"""How many joined rules are remembered. There are as many as combinations of more than ASKED_ONE_BY_ONE rules that some
source is named by: a few groups of a policy."""

FEW = 8
"""So many destinations are looked through; more of them get a table."""

ALL_PORTS = (0, 65535)

Place = tuple[int, int]
"""A network: shift, network >> shift."""

Span = tuple[int, int, int, int]
"""A destination: shift, network >> shift, first port, last port."""


A_STEP = 1024
"""How many rules, or sources of theirs, are put into the index in one step."""


class Ranges:
    """A set of numbers as ranges in order that do not touch. One whose last comes before its first is empty."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        """ranges: first and last numbers, inclusive."""
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in sorted(ranges):
            if last < first:
                continue
            if self._lasts and first <= self._lasts[-1] + 1:
                self._lasts[-1] = max(self._lasts[-1], last)
            else:
                self._firsts.append(first)
                self._lasts.append(last)

    def meets(self, first: int, last: int) -> bool:
        """Whether the set holds any number from `first` to `last`."""
        at = bisect_right(self._firsts, last) - 1
        return at >= 0 and first <= self._lasts[at]


class PortSet(Ranges):
    """The ports of one destination. has_all: whether one range of them holds all ports."""

    __slots__ = ("has_all",)

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        known = set(ranges)
        super().__init__(known)
        self.has_all: bool = ALL_PORTS in known


class Reach:
    """Where packets of some protocols may go. No destination is added once a question was asked."""

    __slots__ = ("_ladder", "protocols", "spans")

    def __init__(self, protocols: frozenset[int], spans: list[Span]) -> None:
        self.protocols: frozenset[int] = protocols
        self.spans: list[Span] = spans
        self._ladder: list[tuple[int, dict[int, PortSet]]] | None = None

    def has(self, address: int, port: int) -> bool:
        if len(self.spans) > FEW:
            return any(ports.meets(port, port) for ports in self._around(address))
        return any(address >> shift == network and first <= port <= last for shift, network, first, last in self.spans)

    def has_address(self, address: int) -> bool:
        return any(True for _ in self._around(address))

    def has_all_ports(self, address: int) -> bool:
        return any(ports.has_all for ports in self._around(address))

    def _around(self, address: int) -> Iterator[PortSet]:
        """The ports of each network that holds the address."""
        if self._ladder is None:
            self._ladder = _ladder(self.spans)
        for shift, networks in self._ladder:
            ports = networks.get(address >> shift)
            if ports is not None:
                yield ports


def _ladder(spans: Iterable[Span]) -> list[tuple[int, dict[int, PortSet]]]:
    rungs: dict[int, dict[int, list[tuple[int, int]]]] = {}
    for shift, network, first, last in spans:
        rungs.setdefault(shift, {}).setdefault(network, []).append((first, last))
    return [(shift, {network: PortSet(ranges) for network, ranges in rung.items()}) for shift, rung in rungs.items()]


class _Named:
    """All the rules that name some source. The same rules are the same object, so it is compared by identity."""

    __slots__ = ("rules",)

    def __init__(self, rules: tuple[Reach, ...]) -> None:
        self.rules = rules


Rule = tuple[Iterable[Place], Iterable[str], Reach]
"""Sources, names, and where they lead."""


class RuleIndex:
    """The rules of one family, by source and by the name that stands in the place of one ("cap:…")."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        finish(self._build(rules))

    @classmethod
    def in_steps(cls, rules: Iterable[Rule]) -> Steps[RuleIndex]:
        """The same for very many rules."""
        made = cls.__new__(cls)
        yield from made._build(rules)
        return made

    def _build(self, rules: Iterable[Rule]) -> Steps[None]:
        by_place: dict[Place, list[Reach]] = {}
        by_name: dict[str, list[Reach]] = {}
        for number, (places, names, reach) in enumerate(rules, 1):
            for place in dict.fromkeys(places):
                by_place.setdefault(place, []).append(reach)
            for name in names:
                by_name.setdefault(name, []).append(reach)
            if not number % A_STEP:
                yield
        known: dict[tuple[Reach, ...], _Named] = {}
        rungs: dict[int, dict[int, _Named]] = {}
        for number, ((shift, network), found) in enumerate(by_place.items(), 1):
            rungs.setdefault(shift, {})[network] = _once(known, found)
            if not number % A_STEP:
                yield
        self._ladder = sorted(rungs.items())
        self._by_name = {name: _once(known, found) for name, found in by_name.items()}
        self._joined: Callable[[_Named, int | None], Reach] = functools.lru_cache(JOINED_KEPT)(_join)

    def named(self, names: Iterable[str]) -> bool:
        """Whether some rule names one of these."""
        return any(name in self._by_name for name in names)

    def reaches(self, source: int, names: Iterable[str], protocol: int | None = None) -> Iterator[Reach]:
        """Where the rules lead that name this source, or one of these names. protocol: None is any."""
        for shift, networks in self._ladder:
            named = networks.get(source >> shift)
            if named is not None:
                yield from self._fitting(named, protocol)
        for name in names:
            if name in self._by_name:
                yield from self._fitting(self._by_name[name], protocol)

    def _fitting(self, named: _Named, protocol: int | None) -> Iterable[Reach]:
        if len(named.rules) > ASKED_ONE_BY_ONE:
            return (self._joined(named, protocol),)
        return [reach for reach in named.rules if protocol is None or protocol in reach.protocols]


def _join(named: _Named, protocol: int | None) -> Reach:
    fitting = (reach for reach in named.rules if protocol is None or protocol in reach.protocols)
    return Reach(frozenset(), [span for reach in fitting for span in reach.spans])


def _once(known: dict[tuple[Reach, ...], _Named], rules: Iterable[Reach]) -> _Named:
    found = tuple(rules)
    named = known.get(found)
    if named is None:
        named = known[found] = _Named(found)
    return named
