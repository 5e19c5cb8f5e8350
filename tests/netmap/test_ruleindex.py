"""The index of rules: the same answers as a look at every rule, and as few looks with many rules as with few."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tsnet.base.steps import finish
from tsnet.netmap import ruleindex
from tsnet.netmap.ruleindex import A_STEP, ASKED_ONE_BY_ONE, FEW, MAX_JOINED, PortSet, Ranges, Reach, RuleIndex, Span

Rule = tuple[list[tuple[int, int]], list[str], frozenset[int], list[Span]]


@pytest.mark.parametrize(
    ("first", "last", "meets"),
    [(0, 4, False), (0, 5, True), (7, 7, True), (10, 11, True), (11, 19, False), (0, 99, True)],
)
def test_ranges(first: int, last: int, meets: bool) -> None:
    assert Ranges([(20, 30), (8, 10), (5, 7), (60, 40)]).meets(first, last) is meets


def test_all_ports_are_all_of_them_in_one_range() -> None:
    assert PortSet([(5, 6), (0, 65535)]).has_all
    assert not PortSet([(0, 100), (101, 65535)]).has_all


def test_an_empty_range_of_ports_still_names_the_address() -> None:
    reach = Reach(frozenset({6}), [(0, 7, 90, 80)])
    assert reach.has_address(7)
    assert not reach.has(7, 85)


def some_rules(chance: random.Random, count: int) -> Iterator[Rule]:
    """Eight bits of address, nested networks, so that many rules name one source."""
    for _ in range(count):
        shifts = [chance.choice([0, 0, 1, 3, 8]) for _ in range(chance.randint(0, 3))]
        places = [(shift, chance.randrange(256) >> shift) for shift in shifts]
        spans: list[Span] = []
        for _ in range(chance.choice([0, 1, 2, FEW + 3])):
            shift, first = chance.choice([0, 0, 2, 8]), chance.randrange(20)
            span = (shift, chance.randrange(256) >> shift, first, first + chance.randrange(-2, 4))
            spans.append(chance.choice([span, (*span[:2], 0, 65535)]))
        names = chance.sample(["red", "blue"], chance.choice([0, 0, 0, 1]))
        yield places, names, frozenset(chance.sample([1, 6, 17], chance.randint(1, 2))), spans


def naming(rules: list[Rule], source: int, names: set[str], protocol: int | None) -> list[Rule]:
    return [
        rule
        for rule in rules
        if (any(source >> shift == network for shift, network in rule[0]) or names & set(rule[1]))
        and (protocol is None or protocol in rule[2])
    ]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("count", "room"), [(3, MAX_JOINED), (20, MAX_JOINED), (100, MAX_JOINED), (100, 300)])
def test_a_look_at_every_rule_says_the_same(seed: int, count: int, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ruleindex, "MAX_JOINED", room)
    chance = random.Random(seed)
    rules = list(some_rules(chance, count))
    index = RuleIndex(rules)
    for _ in range(40):
        source, address, port = chance.randrange(256), chance.randrange(256), chance.randrange(22)
        names, protocol = set(chance.sample(["red", "blue", "none"], 1)), chance.choice([None, 1, 6, 17])
        spans = [span for rule in naming(rules, source, names, protocol) for span in rule[3]]
        around = [span for span in spans if address >> span[0] == span[1]]
        found = list(index.reaches(source, names, protocol))
        assert any(reach.has(address, port) for reach in found) is any(one[2] <= port <= one[3] for one in around)
        assert any(reach.has_address(address) for reach in found) is bool(around)
        assert any(reach.has_all_ports(address) for reach in found) is any(one[2:] == (0, 65535) for one in around)
        assert index.named(names) is any(names & set(rule[1]) for rule in rules)


class Counted(frozenset[int]):
    """The protocols of a rule, which are counted whenever somebody asks for one."""

    asked = 0

    def __contains__(self, protocol: object) -> bool:
        Counted.asked += 1
        return super().__contains__(protocol)


@pytest.mark.parametrize("count", [ASKED_ONE_BY_ONE, 10_000])
def test_a_question_looks_at_few_rules_however_many_name_the_source(count: int) -> None:
    rules = [([(0, number), (0, 7)], ["blue"], Counted({6}), [(0, 1, number, number)]) for number in range(count)]
    index = RuleIndex(rules)
    Counted.asked = 0
    assert any(reach.has(1, count - 1) for reach in index.reaches(7, ["blue"], 6))
    assert not any(reach.has(1, count) for reach in index.reaches(7, ["blue"], 6))
    assert Counted.asked <= 4 * ASKED_ONE_BY_ONE


def test_of_a_rule_that_nobody_asks_for_there_is_no_object_of_its_own() -> None:
    index = RuleIndex(([(0, number)], [], (6,), ((0, 1, 80, 80),)) for number in range(100))
    assert not index._reaches
    [reach] = index.reaches(7, [], 6)
    assert list(index.reaches(7, [], 6)) == [reach]
    assert len(index._reaches) == 1


def test_rules_of_one_protocol_are_joined_by_that_alone() -> None:
    index = RuleIndex(([(0, 7)], [], (number % 100,), [(0, 1, number, number)]) for number in range(1000))
    [joined] = index.reaches(7, [], 42)
    assert len(joined.spans) == 10
    assert list(index.reaches(7, [], 100)) == []
    [whatever] = index.reaches(7, [])
    assert len(whatever.spans) == 1000


def test_sets_that_share_their_rules_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source is named by all rules but one: every source's set has nearly all destinations."""
    monkeypatch.setattr(ruleindex, "MAX_JOINED", 3000)
    index = RuleIndex(
        ([(0, source) for source in range(50) if source != number], [], (6,), [(0, number, 80, 80)] * 10)
        for number in range(100)
    )
    for source in range(50):
        found = list(index.reaches(source, [], 6))
        assert any(reach.has_address(99) for reach in found)
        assert not any(reach.has_address(source) for reach in found)
    joined = {id(reach): reach for each in index._joined.values() if each for reach in each.values()}
    assert 0 < sum(len(reach.spans) for reach in joined.values()) <= 3000


def test_a_rule_of_many_destinations_is_prepared_as_it_is_compiled() -> None:
    spans = [(0, number, 80, 80) for number in range(5 * A_STEP)]
    steps = RuleIndex.in_steps([([(0, 7)], [], (6,), spans)])
    assert sum(1 for _ in steps) >= 10
    index = finish(RuleIndex.in_steps([([(0, 7)], [], (6,), spans)]))
    [reach] = index.reaches(7, [], 6)
    assert reach._ladder is not None
    assert reach.has(3, 80)
