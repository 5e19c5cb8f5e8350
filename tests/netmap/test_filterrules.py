"""What control's rules mean once compiled: sources, destinations, protocols, grants, and the lock's last word."""

from __future__ import annotations

import gc
import random
import weakref
from ipaddress import ip_address, ip_network, summarize_address_range

import pytest

from tsnet.base.malformed import MalformedError
from tsnet.base.steps import finish
from tsnet.netmap import filterrules
from tsnet.netmap.filterrules import TEXTS_A_STEP, FilterRules, places_of
from tsnet.netmap.model import CapGrant, Destination, FilterRule, PortRange
from tsnet.netmap.ruleindex import A_STEP

TCP, UDP, ICMP, GRE = 6, 17, 1, 47
US = "100.64.0.1"
US6 = "fd7a:115c:a1e0::1"


def raw(text: str) -> bytes:
    return ip_address(text).packed


def rule(source: str, destination: str = "*", first: int = 0, last: int = 65535, *protocols: int) -> FilterRule:
    return FilterRule((source,), (Destination(destination, PortRange(first, last)),), protocols)


@pytest.mark.parametrize(
    ("source", "inside", "outside"),
    [
        ("*", ["1.2.3.4", "2001:db8::1"], []),
        ("100.64.0.9", ["100.64.0.9"], ["100.64.0.8", "fd7a:115c:a1e0::9"]),
        ("100.64.0.0/30", ["100.64.0.0", "100.64.0.3"], ["100.64.0.4"]),
        ("fd7a:115c:a1e0::/126", ["fd7a:115c:a1e0::3"], ["fd7a:115c:a1e0::4", "100.64.0.3"]),
        ("100.64.0.5-100.64.0.9", ["100.64.0.5", "100.64.0.7", "100.64.0.9"], ["100.64.0.4", "100.64.0.10"]),
        ("fd7a:115c:a1e0::5-fd7a:115c:a1e0::6", ["fd7a:115c:a1e0::6"], ["fd7a:115c:a1e0::7"]),
        ("100.64.0.1/30", [], ["100.64.0.1", "100.64.0.2"]),  # host bits: no rule
        ("100.64.0.9-100.64.0.5", [], ["100.64.0.7"]),
        ("100.64.0.9-fd7a:115c:a1e0::9", [], ["100.64.0.9"]),
        ("nonsense", [], ["100.64.0.9"]),
    ],
)
def test_the_forms_of_a_source(source: str, inside: list[str], outside: list[str]) -> None:
    rules = FilterRules([rule(source)])
    for address in inside + outside:
        us = raw(US6 if ":" in address else US)
        assert rules.allows(TCP, raw(address), us, 80) is (address in inside), address


@pytest.mark.parametrize(
    "text",
    ["", "1.2.3.4/33", "1.2.3.4/8", "a-b", "1.2.3.4-", "-1.2.3.4", "cap:x", "1-2-3", "1.2.3", "::1%" + 80 * "x"],
)
def test_what_is_no_set_of_addresses(text: str) -> None:
    with pytest.raises(MalformedError):
        places_of(text)


def test_a_bad_entry_is_skipped_and_the_rest_stands() -> None:
    mixed = FilterRule(
        ("bad", "100.64.0.9"), (Destination("worse", PortRange(1, 2)), Destination(US, PortRange(80, 80)))
    )
    rules = FilterRules([mixed])
    assert rules.skipped == 2
    assert rules.allows(TCP, raw("100.64.0.9"), raw(US), 80)


@pytest.mark.parametrize(("port", "allowed"), [(79, False), (80, True), (85, True), (90, True), (91, False)])
def test_ports_are_inclusive(port: int, allowed: bool) -> None:
    assert FilterRules([rule("*", US, 80, 90)]).allows(TCP, raw("100.64.0.9"), raw(US), port) is allowed


def test_no_protocol_means_the_four_usual_ones() -> None:
    rules = FilterRules([rule("*")])
    them, us = raw("100.64.0.9"), raw(US)
    assert rules.allows(TCP, them, us, 1)
    assert rules.allows(UDP, them, us, 1)
    assert not rules.allows(132, them, us, 1)
    assert rules.allows_portless(58, them, us)
    assert not rules.allows_portless(GRE, them, us)


def test_a_protocol_no_byte_can_hold_never_matches() -> None:
    rules = FilterRules([rule("*", "*", 0, 65535, 256, -1)])
    assert not rules.allows(TCP, raw("100.64.0.9"), raw(US), 80)


def test_icmp_asks_for_addresses_only() -> None:
    rules = FilterRules([rule("100.64.0.9", US, 22, 22, TCP)])
    assert rules.allows_icmp(raw("100.64.0.9"), raw(US))
    assert not rules.allows_icmp(raw("100.64.0.8"), raw(US))
    assert not rules.allows_icmp(raw("100.64.0.9"), raw("100.64.0.2"))


def test_a_portless_protocol_needs_its_number_and_all_ports() -> None:
    them, us = raw("100.64.0.9"), raw(US)
    assert FilterRules([rule("*", "*", 0, 65535, GRE)]).allows_portless(GRE, them, us)
    assert not FilterRules([rule("*", "*", 1, 65535, GRE)]).allows_portless(GRE, them, us)
    assert not FilterRules([rule("cap:x", "*", 0, 65535, GRE)]).allows_portless(GRE, them, us)


def test_families_of_a_mixed_rule_do_not_cross() -> None:
    mixed = FilterRule(("100.64.0.9", "fd7a:115c:a1e0::9"), (Destination(US, PortRange(0, 65535)),))
    rules = FilterRules([mixed])
    assert rules.allows(TCP, raw("100.64.0.9"), raw(US), 80)
    assert not rules.allows(TCP, raw("fd7a:115c:a1e0::9"), raw(US6), 80)


def test_a_node_capability_as_source() -> None:
    them, blue, other = raw("100.64.0.9"), frozenset({"blue"}), frozenset({"x"})
    rules = FilterRules([rule("cap:blue", US, 80, 80)])
    assert rules.asks_for == blue
    assert rules.allows(TCP, them, raw(US), 80, blue)
    assert not rules.allows(TCP, them, raw(US), 81, blue)
    assert not rules.allows(TCP, them, raw(US), 80, other)
    assert not rules.allows(TCP, them, raw(US), 80)
    assert rules.allows_icmp(them, raw("100.64.0.2"), blue), "Go asks a capability source for no destination"
    assert not rules.allows_icmp(them, raw(US), other)


GRANTS = FilterRules(
    [
        FilterRule(("100.64.0.9",), grants=(CapGrant((ip_network(US), ip_network("100.64.0.0/10")), {"a": (1,)}),)),
        FilterRule(("*",), grants=(CapGrant((ip_network("::/0"), ip_network("0.0.0.0/0")), {"a": (2,), "b": ()}),)),
        FilterRule(("cap:x",), grants=(CapGrant((ip_network("0.0.0.0/0"),), {"never": ()}),)),
    ]
)


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        ("100.64.0.9", US, {"a": (1, 1, 2), "b": ()}),
        ("100.64.0.9", "8.8.8.8", {"a": (2,), "b": ()}),
        ("100.64.0.8", US, {"a": (2,), "b": ()}),
        ("fd7a:115c:a1e0::9", US6, {"a": (2,), "b": ()}),
    ],
)
def test_grants_add_up_and_know_no_capability_sources(source: str, destination: str, expected: object) -> None:
    assert GRANTS.capabilities(ip_address(source), ip_address(destination)) == expected


def test_a_grant_lets_no_packet_pass() -> None:
    assert not GRANTS.allows(TCP, raw("100.64.0.9"), raw(US), 80)
    assert not GRANTS.allows_icmp(raw("100.64.0.9"), raw(US))


@pytest.mark.parametrize(
    ("prefix", "opens"),
    [
        ("100.64.0.7/32", True),
        ("100.64.0.0/10", True),  # the source lies in it
        ("100.64.0.16/32", True),  # it lies in the source
        ("100.64.0.12/32", False),
        ("10.0.0.0/8", False),
        ("fd7a:115c:a1e0::5/128", True),
        ("fd7a:115c:a1e0::6/128", False),
    ],
)
def test_whom_rules_open_to(prefix: str, opens: bool) -> None:
    sources = ("100.64.0.5-100.64.0.9", "nonsense", "100.64.0.16/28", "fd7a:115c:a1e0::5")
    grant = FilterRule(("10.0.0.1",), grants=(CapGrant((ip_network("0.0.0.0/0"),), {"a": ()}),))
    rules = FilterRules([*map(rule, sources), grant])
    assert rules.opens_to(ip_network(prefix)) is opens


def test_rules_compiled_in_steps_are_the_same() -> None:
    many = [rule(f"100.64.{number >> 8}.{number & 255}", US, number, number) for number in range(1000)]
    many.append(FilterRule(("cap:a", "*"), (Destination(US6, PortRange(1, 2)),)))
    assert sum(1 for _ in FilterRules.in_steps(many)) >= 2000 // TEXTS_A_STEP
    whole, stepped = FilterRules(many), finish(FilterRules.in_steps(many))
    for number in range(0, 1000, 97):
        for port in (number, number + 1):
            question = TCP, raw(f"100.64.{number >> 8}.{number & 255}"), raw(US), port
            assert whole.allows(*question) == stepped.allows(*question) == (port == number)
    assert stepped.asks_for == {"a"}


def test_no_step_takes_all_sources_of_a_rule() -> None:
    sources = tuple(f"100.64.{number >> 8}.{number & 255}" for number in range(10 * A_STEP))
    steps = sum(1 for _ in FilterRules.in_steps([FilterRule(sources, rule("*").destinations)]))
    assert steps >= 20, "ten that parse, and ten that put into the index"


@pytest.mark.parametrize("seed", range(20))
def test_a_range_is_the_networks_that_it_holds(seed: int) -> None:
    chance = random.Random(seed)
    bits = chance.choice([32, 128])
    ends = sorted(chance.choice([0, 1, 1 << bits - 1, (1 << bits) - 1, chance.getrandbits(bits)]) for _ in range(2))
    first, last = (ip_address(end.to_bytes(bits // 8, "big")) for end in ends)
    assert [
        ip_network(((network << shift).to_bytes(size, "big"), 8 * size - shift))
        for size, shift, network in places_of(f"{first}-{last}")
    ] == [*summarize_address_range(first, last)]


def test_ranges_that_come_to_too_many_networks_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filterrules, "MAX_RANGED", 3)
    sources = ("100.64.0.5-100.64.0.7", "100.64.1.0-100.64.1.2", "100.64.2.0-100.64.2.2", "100.64.3.0")
    rules = FilterRules([FilterRule(sources, rule("*").destinations)])
    let_in = [
        address for address in (f"100.64.{n}.1" for n in range(3)) if rules.allows(TCP, raw(address), raw(US), 80)
    ]
    assert let_in == ["100.64.1.1"]
    assert rules.skipped == 1
    assert rules.allows(TCP, raw("100.64.3.0"), raw(US), 80), "what is no range stands"
    assert not rules.opens_to(ip_network("100.64.2.1"))


def test_the_rules_of_an_old_netmap_end_without_a_collector() -> None:
    rules = FilterRules([rule("*")])
    assert rules.allows(TCP, raw(US), raw(US), 80)
    gone = weakref.ref(rules)
    gc.disable()
    try:
        del rules
        assert gone() is None
    finally:
        gc.enable()
