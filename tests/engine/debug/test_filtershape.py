from __future__ import annotations

from collections import Counter
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tsnet.engine.debug.filtershape import answer, filter_shape
from tsnet.netmap.filterrules import FilterRules
from tsnet.netmap.model import CapGrant, Destination, FilterRule, PortRange
from tsnet.netmap.packetfilter import PacketFilter

OWN = ip_address("100.64.0.1")
RULES = (
    FilterRule(
        ("100.64.0.9",),
        destinations=(
            Destination("100.64.0.1", PortRange(80, 80)),
            Destination("fd7a::1", PortRange(8000, 8999)),
            Destination("*", PortRange(0, 65_535)),
        ),
        protocols=(6, 47),
    ),
    FilterRule(("*",), grants=(CapGrant((ip_network("100.64.0.1/32"),), {"x/y": (), "a/b": ()}),)),
)


def shape(rules: tuple[FilterRule, ...] | None = RULES, **more: Any) -> dict[str, Any]:
    return filter_shape(rules, **{"shields_up": False, "dropped": Counter(rule=3), "skipped": 0, **more})


def test_rules_as_a_person_reads_them() -> None:
    first, second = shape()["rules"]
    assert first == {
        "from": ["100.64.0.9"],
        "to": ["100.64.0.1:80", "[fd7a::1]:8000-8999", "*:*"],
        "protocols": ["tcp", "47"],
        "grants": [],
    }
    assert second["protocols"] == ["tcp", "udp", "icmp"]
    assert second["grants"] == [{"to": ["100.64.0.1/32"], "capabilities": ["a/b", "x/y"]}]
    assert shape()["dropped"] == {"rule": 3}


@pytest.mark.parametrize(
    ("rules", "shields_up", "denies"),
    [(None, False, True), ((), False, True), (RULES, True, True), (RULES, False, False)],
)
def test_when_nothing_gets_in(rules: tuple[FilterRule, ...] | None, shields_up: bool, denies: bool) -> None:
    assert shape(rules, shields_up=shields_up)["denies_all"] is denies


@pytest.mark.parametrize(
    ("source", "destination", "port", "tcp", "udp"),
    [
        ("100.64.0.9", "100.64.0.1", 80, True, False),
        ("100.64.0.8", "100.64.0.1", 80, False, False),
        ("100.64.0.9", "100.64.0.2", 80, False, False),  # not ours
        ("fd7a::9", "100.64.0.1", 80, False, False),  # two families
    ],
)
def test_one_question(source: str, destination: str, port: int, tcp: bool, udp: bool) -> None:
    judge = PacketFilter()
    judge.replace(FilterRules(RULES), [ip_network("100.64.0.1/32")])
    found = answer(judge, ip_address(source), ip_address(destination), port)
    assert found == {"source": source, "destination": destination, "port": port, "tcp": tcp, "udp": udp}


def test_raised_shields_answer_no() -> None:
    judge = PacketFilter()
    judge.replace(FilterRules(RULES), [ip_network("100.64.0.1/32")], shields_up=True)
    assert not answer(judge, ip_address("100.64.0.9"), OWN, 80)["tcp"]
    assert not judge.dropped
