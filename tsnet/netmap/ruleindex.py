"""Which rules name a source, and where they lead: found without a look at the others.

    source ─► one look for each prefix length among the sources ─► the rules that name it
           ─► one look for each prefix length among their destinations ─► the ports, by bisection

Rules with the same sources and protocols are one `Reach`. Where more than ASKED_ONE_BY_ONE of them name a source, they
are joined: the largest such sets at once, others when they are asked for the first time. So what a question costs
depends on the number of prefix lengths, 33 and 129 at most, and not on the number of rules. Sets that share most of
their rules are many times as large as the rules are: beyond MAX_JOINED destinations, no further ones are joined.

Networks are numbers: `(shift, address >> shift)`, with shift 0 for one address. One family at a time. Rules are
numbered, and kept in tables of numbers, which cost the garbage collector next to nothing. A rule's `Reach` is made when
it is first asked.

Not here: what control writes (`filterrules`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from heapq import nlargest
from typing import TypeVar

from tsnet.base.steps import Steps, finish

K = TypeVar("K")

ASKED_ONE_BY_ONE = 16
JOINED_BEFORE = 16
"""The largest of them are joined before anybody asks, as long as the rules are compiled."""

MAX_JOINED = 1 << 18
"""How many destinations all joined sets of an index may have; each takes some 300 bytes. There are as many sets as
combinations of more than ASKED_ONE_BY_ONE rules that name some source: a few groups of a policy."""

FEW = 8
"""So many destinations are looked through; more of them get a table."""

ALL_PORTS = (0, 65535)

Place = tuple[int, int]
"""A network: shift, network >> shift."""

Span = tuple[int, int, int, int]
"""A destination: shift, network >> shift, first port, last port."""


A_STEP = 1024
"""How many sources or destinations of rules are put into the index in one step."""


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

    def __init__(self, protocols: Collection[int], spans: Sequence[Span]) -> None:
        self.protocols: Collection[int] = protocols
        self.spans: Sequence[Span] = spans
        self._ladder: list[tuple[int, dict[int, PortSet]]] | None = None

    def has(self, address: int, port: int) -> bool:
        if len(self.spans) > FEW:
            return any(ports.meets(port, port) for ports in self._around(address))
        return any(address >> shift == network and first <= port <= last for shift, network, first, last in self.spans)

    def has_address(self, address: int) -> bool:
        return any(True for _ in self._around(address))

    def has_all_ports(self, address: int) -> bool:
        return any(ports.has_all for ports in self._around(address))

    def prepare(self) -> Steps[None]:
        """What the first question would do, in steps."""
        rungs: dict[int, dict[int, list[tuple[int, int]]]] = {}
        for number, (shift, network, first, last) in enumerate(self.spans, 1):
            rungs.setdefault(shift, {}).setdefault(network, []).append((first, last))
            if not number % A_STEP:
                yield
        ladder: list[tuple[int, dict[int, PortSet]]] = []
        for shift, rung in rungs.items():
            ports: dict[int, PortSet] = {}
            for number, (network, ranges) in enumerate(rung.items(), 1):
                ports[network] = PortSet(ranges)
                if not number % A_STEP:
                    yield
            ladder.append((shift, ports))
        self._ladder = ladder

    def _around(self, address: int) -> Iterator[PortSet]:
        """The ports of each network that holds the address."""
        if self._ladder is None:
            finish(self.prepare())
        for shift, networks in self._ladder or ():
            ports = networks.get(address >> shift)
            if ports is not None:
                yield ports


Rule = tuple[Iterable[Place], Iterable[str], Collection[int], Sequence[Span]]
"""Sources, names, protocols, and where they lead."""

Joined = Mapping[int | None, Reach]
"""Many rules as one for each protocol that any of them names; None: as one whatever their protocols."""

Numbers = tuple[int, ...]
"""Of the rules that name a source. Sources that the same rules name share one, and know it by its own number."""


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
        by_place: dict[Place, int | list[int]] = {}
        by_name: dict[str, int | list[int]] = {}
        self._rules: list[tuple[Collection[int], Sequence[Span]]] = []
        self._reaches: dict[int, Reach] = {}
        done = 0
        for number, (places, names, protocols, spans) in enumerate(rules):
            self._rules.append((protocols, spans))
            for place in dict.fromkeys(places):
                _add(by_place, place, number)
                done += 1
                if not done % A_STEP:
                    yield
            for name in dict.fromkeys(names):
                _add(by_name, name, number)
            if len(spans) > A_STEP:
                yield from self._reach(number).prepare()
        known: dict[Numbers, int] = {}
        rungs: dict[int, dict[int, int]] = {}
        for done, ((shift, network), found) in enumerate(by_place.items(), 1):
            rungs.setdefault(shift, {})[network] = _once(known, found)
            if not done % A_STEP:
                yield
        self._ladder = sorted(rungs.items())
        self._by_name = {name: _once(known, found) for name, found in by_name.items()}
        self._sets: list[Numbers] = list(known)
        self._joined: dict[int, Joined | None] = {}
        self._room = MAX_JOINED
        many = [which for which, found in enumerate(self._sets) if len(found) > ASKED_ONE_BY_ONE]
        for which in nlargest(JOINED_BEFORE, many, key=lambda which: len(self._sets[which])):
            joined = yield from self._join(which)
            for reach in set(joined.values()) if joined else ():
                yield from reach.prepare()

    def named(self, names: Iterable[str]) -> bool:
        """Whether some rule names one of these."""
        return any(name in self._by_name for name in names)

    def reaches(self, source: int, names: Iterable[str], protocol: int | None = None) -> Iterator[Reach]:
        """Where the rules lead that name this source, or one of these names. protocol: None is any."""
        for shift, networks in self._ladder:
            which = networks.get(source >> shift)
            if which is not None:
                yield from self._fitting(which, protocol)
        for name in names:
            if name in self._by_name:
                yield from self._fitting(self._by_name[name], protocol)

    def _fitting(self, which: int, protocol: int | None) -> Iterable[Reach]:
        numbers = self._sets[which]
        joined = None
        if len(numbers) > ASKED_ONE_BY_ONE:
            joined = self._joined[which] if which in self._joined else finish(self._join(which))
        if joined is None:
            found = map(self._reach, numbers)
            return [reach for reach in found if protocol is None or protocol in reach.protocols]
        return (joined[protocol],) if protocol in joined else ()

    def _reach(self, number: int) -> Reach:
        """Where a rule leads."""
        reach = self._reaches.get(number)
        if reach is None:
            reach = self._reaches[number] = Reach(*self._rules[number])
        return reach

    def _join(self, which: int) -> Steps[Joined | None]:
        """These rules as few; None, then and for ever, if that has more destinations than there is room for."""
        named = [Reach(*self._rules[number]) for number in self._sets[which]]
        rules: dict[int | None, list[Reach]] = {None: named}
        for number, reach in enumerate(named, 1):
            for protocol in reach.protocols:
                rules.setdefault(protocol, []).append(reach)
            if not number % A_STEP:
                yield
        sets = {protocol: tuple(found) for protocol, found in rules.items()}
        different = dict.fromkeys(sets.values())
        count = sum(len(reach.spans) for found in different for reach in found)
        joined: Joined | None = None
        if count <= self._room:
            self._room -= count
            same: dict[tuple[Reach, ...], Reach] = {}
            for found in different:
                same[found] = Reach(frozenset(), [span for reach in found for span in reach.spans])
                yield
            joined = {protocol: same[found] for protocol, found in sets.items()}
        self._joined[which] = joined
        return joined


def _add(by_key: dict[K, int | list[int]], key: K, number: int) -> None:
    """Another rule that names this: a number as long as it is the only one."""
    found = by_key.get(key)
    if found is None:
        by_key[key] = number
    elif isinstance(found, int):
        by_key[key] = [found, number]
    else:
        found.append(number)


def _once(known: dict[Numbers, int], found: int | list[int]) -> int:
    """The number of a set of rules."""
    numbers = (found,) if isinstance(found, int) else tuple(found)
    return known.setdefault(numbers, len(known))
