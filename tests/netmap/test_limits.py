"""What a netmap may hold, and what it weighs, beside what tracemalloc sees."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from random import Random
from typing import Any

import attrs
import pytest

from tests.attacks.bombs import tailnet
from tests.netmap.test_merge import NOW, node
from tsnet.base.malformed import MalformedError
from tsnet.control.messages import decode_map
from tsnet.netmap import limits
from tsnet.netmap.limits import Scale, weigh
from tsnet.netmap.merge import MapUpdate, begin, merge
from tsnet.netmap.model import (
    CapGrant,
    Destination,
    DnsConfig,
    DnsRecord,
    FilterRule,
    NetMap,
    PortRange,
    UserProfile,
)

COUNT = 60
MANY = range(40)
FIELDS: dict[str, dict[str, Any]] = {
    "as usual": {},
    "long Hostinfo": {"Hostinfo": {f"k{number}": f"v{number}" * 10 for number in MANY}},
    "many endpoints": {"Endpoints": [f"[2001:db8::{number:x}]:1" for number in MANY]},
    "many routes": {"AllowedIPs": [f"10.{number}.0.0/16" for number in MANY]},
    "many capabilities": {"CapMap": {f"cap-{number}": [{"a": number}] for number in MANY}},
}


@pytest.mark.parametrize("name", FIELDS)
def test_peers_weigh_what_they_take(name: str) -> None:
    document = tailnet(COUNT, **FIELDS[name])
    real = min(map(size_of_peers, [document] * 2))  # the interpreter may enlarge a table of its own meanwhile
    weight = sum(map(weigh, decode_map(document).update.peers))
    assert 0.9 * real < weight < 2.5 * real


def size_of_peers(document: bytes) -> int:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        update = decode_map(document).update
        real = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert update.peers
    return real


def random_update(chance: Random) -> MapUpdate:
    """Something of everything that a message may add, change or take away."""
    number = chance.randrange(2, 12)
    text = "x" * chance.randrange(50)
    one: list[Callable[[], dict[str, Any]]] = [
        lambda: {"peers_changed": (node(number, hostinfo={"OS": text, "L": [text]}, tags=(text,)),)},
        lambda: {"peers_removed": (number,)},
        lambda: {"online": {number: True}},
        lambda: {"users": (UserProfile(number, text, text),)},
        lambda: {"display_messages": {text: chance.choice([None, {"Title": text}])}},
        lambda: {"display_messages": {"*": None}},
        lambda: {"packet_filters": {f"f{number}": chance.choice([None, _rules(chance)])}},
        lambda: {"packet_filter": _rules(chance)},
        lambda: {"dns": DnsConfig(domains=(text,), extra_records=(DnsRecord(text, "A", "100.64.0.1"),) * number)},
        lambda: {"health": (text,) * number},
        lambda: {"node": node(1, hostinfo={"OS": text})},
        lambda: {"peers": tuple(node(2 + other, created=text) for other in range(number))},
    ]
    return MapUpdate(**chance.choice(one)())


def _rules(chance: Random) -> tuple[FilterRule, ...]:
    grants = (CapGrant((), {"a": ({"b": 1},)}),) * chance.randrange(2)
    rule = FilterRule(("*", "100.64.0.9"), (Destination("*", PortRange(1, 2)),), grants=grants)
    return (rule,) * chance.randrange(4)


def fresh(netmap: NetMap) -> int:
    scale = Scale()
    scale.put(netmap)
    return scale.weight


@pytest.mark.parametrize("seed", range(20))
def test_what_changes_is_weighed_as_the_whole_would_be(seed: int) -> None:
    chance, scale = Random(seed), Scale()
    netmap = begin(None, MapUpdate(node=node(1)), NOW)
    scale.put(netmap)
    for _ in range(60):
        update = random_update(chance)
        netmap = merge(netmap, update, NOW)
        scale.put(netmap, sum(map(weigh, update.peers)) if update.peers and chance.random() < 0.5 else None)
        assert scale.weight == fresh(netmap)


LONG = 10_000
WIDE: dict[str, Callable[[str], MapUpdate]] = {
    "a user": lambda text: MapUpdate(users=(UserProfile(2, text),)),
    "what a user is called": lambda text: MapUpdate(users=(UserProfile(2, "u", text),)),
    "a source": lambda text: MapUpdate(packet_filter=(FilterRule((text,)),)),
    "a destination": lambda text: MapUpdate(packet_filter=(FilterRule((), (Destination(text, PortRange(1, 2)),)),)),
    "the name of a filter": lambda text: MapUpdate(packet_filters={text: ()}),
    "the name of a display message": lambda text: MapUpdate(display_messages={text: {}}),
    "a display message": lambda text: MapUpdate(display_messages={"m": {"Title": text}}),
    "a record": lambda text: MapUpdate(dns=DnsConfig(extra_records=(DnsRecord("r", "A", text),))),
    "a peer": lambda text: MapUpdate(peers_changed=(node(2, hostinfo={"OS": text}),)),
}


@pytest.mark.parametrize("what", WIDE)
@pytest.mark.parametrize(("character", "size"), [("x", 1), ("\N{PILE OF POO}", 4)])
def test_a_long_text_weighs_what_it_takes_wherever_it_is(what: str, character: str, size: int) -> None:
    bare = begin(None, MapUpdate(node=node(1)), NOW)
    weight = fresh(merge(bare, WIDE[what](character * LONG), NOW)) - fresh(merge(bare, WIDE[what](""), NOW))
    assert weight == size * LONG


TOO_MUCH: dict[str, tuple[str, Callable[[int], MapUpdate]]] = {
    "peers": ("MAX_PEERS", lambda number: MapUpdate(peers_changed=(node(number + 2),))),
    "users": ("MAX_USERS", lambda number: MapUpdate(users=(UserProfile(number, "u"),))),
    "display messages": ("MAX_MESSAGES", lambda number: MapUpdate(display_messages={f"m{number}": {"Title": "t"}})),
    "packet filters": ("MAX_FILTERS", lambda number: MapUpdate(packet_filters={f"f{number}": ()})),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_one_more_is_refused_and_the_last_netmap_stays(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, update = TOO_MUCH[what]
    monkeypatch.setattr(limits, limit, 20)
    scale = Scale()
    netmap = begin(None, MapUpdate(node=node(1)), NOW)
    for number in range(20):
        netmap = merge(netmap, update(number), NOW)
        scale.put(netmap)
    weight = scale.weight
    with pytest.raises(MalformedError, match=f"the netmap would have 21 {what}, and may have 20"):
        scale.put(merge(netmap, update(20), NOW))
    assert scale.weight == weight
    scale.put(attrs.evolve(netmap, domain="d"))


def test_what_weighs_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_WEIGHT", 8 << 20)
    scale = Scale()
    netmap = begin(None, MapUpdate(node=node(1)), NOW)
    for number in range(2, 162):
        netmap = merge(netmap, MapUpdate(peers_changed=(node(number, hostinfo={"OS": "x" * 50_000}),)), NOW)
        scale.put(netmap)
    netmap = merge(netmap, MapUpdate(peers_changed=(node(200, hostinfo={"OS": "x" * 2_000_000}),)), NOW)
    with pytest.raises(MalformedError, match="the netmap would take 9 MiB of memory, and may take 8 MiB"):
        scale.put(netmap)


def test_twelve_thousand_peers_fit() -> None:
    peers = decode_map(tailnet(100)).update.peers
    assert 120 * sum(map(weigh, peers)) < 0.9 * limits.MAX_WEIGHT
    assert limits.MAX_PEERS >= 12_000
