"""Who is asked over UDP, how often, and what an answer says; by a hand clock."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.netcheck.probes import AGAIN_AFTER, MAX_REGIONS, PATIENCE, Measurement, Probes, stun_server
from tsnet.netcheck.stun import decode_request, encode_response
from tsnet.netmap.model import DerpNode, DerpRegion

OURS = UdpAddress("203.0.113.5", 41641)
FIRST, SECOND = UdpAddress("192.0.2.1", 3478), UdpAddress("192.0.2.2", 3478)


def node(number: int, **fields: Any) -> DerpNode:
    return DerpNode(f"{number}a", number, f"derp{number}.example", **{"ipv4": f"192.0.2.{number}", **fields})


def region(number: int, *nodes: DerpNode) -> DerpRegion:
    return DerpRegion(number, nodes=nodes or (node(number),))


def probes() -> Probes:
    return Probes(random.Random(1).randbytes)


def asked(some: Probes, now: float) -> dict[UdpAddress, bytes]:
    """The TxIDs of the requests that leave now, by server."""
    return {server: decode_request(request) for server, [request] in some.transmit(now)}


def test_an_answer_measures_a_region_once() -> None:
    some = probes()
    some.ask([region(1), region(2)], 0.0)
    assert some.deadline() == 0.0
    sent = asked(some, 0.0)
    assert set(sent) == {FIRST, SECOND}
    answer = FIRST, encode_response(sent[FIRST], OURS)
    assert some.receive([answer, answer], 0.02) == [Measurement(1, 0.02, OURS)]
    assert some.dropped == {"stun unasked": 1}
    assert set(asked(some, 0.1)) == {SECOND}


def test_what_does_not_answer_is_asked_three_times_and_then_left_alone() -> None:
    some = probes()
    some.ask([region(1)], 10.0)
    times = []
    while some.deadline() < math.inf:
        now = some.deadline()
        times += [now] * len(some.transmit(now))
        assert some.deadline() > now
    assert times == pytest.approx([10.0, 10.0 + AGAIN_AFTER[0], 10.0 + sum(AGAIN_AFTER)])
    assert now == 10.0 + PATIENCE
    assert some.transmit(100.0) == []


def test_an_answer_is_measured_from_the_request_that_it_answers_and_none_counts_when_it_is_late() -> None:
    some = probes()
    some.ask([region(1)], 0.0)
    [first], [second] = asked(some, 0.0).values(), asked(some, 0.1).values()
    assert first != second
    [found] = some.receive([(FIRST, encode_response(second, OURS))], 0.15)
    assert found.latency == pytest.approx(0.05)
    some.ask([region(1)], 1.0)
    [late] = asked(some, 1.0).values()
    some.transmit(1.0 + PATIENCE)
    assert some.receive([(FIRST, encode_response(late, OURS))], 1.1 + PATIENCE) == []


def test_bad_bytes_and_answers_that_nobody_asked_for_are_counted() -> None:
    some = probes()
    some.ask([region(1)], 0.0)
    [tx_id] = asked(some, 0.0).values()
    whole = encode_response(tx_id, OURS)
    assert some.receive([(FIRST, whole[:end]) for end in range(len(whole))], 0.1) == []
    assert some.dropped == {"stun malformed": len(whole)}
    assert some.receive([(FIRST, encode_response(bytes(12), OURS))], 0.1) == []
    assert some.dropped["stun unasked"] == 1
    assert some.receive([(UdpAddress(FIRST.host, 9), whole), (SECOND, whole)], 0.1) == []
    assert some.dropped["stun source"] == 2
    assert some.receive([(FIRST, encode_response(tx_id, UdpAddress("224.0.0.1", 9)))], 0.1) == []
    assert some.dropped["stun mapped"] == 1
    assert len(some.receive([(FIRST, whole)], 0.1)) == 1


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, UdpAddress("192.0.2.1", 3478)),
        ({"stun_port": 3479}, UdpAddress("192.0.2.1", 3479)),
        ({"stun_port": -1}, None),
        ({"stun_port": 65_535}, UdpAddress("192.0.2.1", 65_535)),
        ({"stun_port": 65_536}, None),
        ({"stun_test_ip": "fe80::1%eth0"}, UdpAddress("192.0.2.1", 3478)),
        ({"ipv4": "none", "ipv6": "2001:db8::1"}, UdpAddress("2001:db8::1", 3478)),
        ({"ipv4": ""}, None),
        ({"stun_test_ip": "192.0.2.99"}, UdpAddress("192.0.2.99", 3478)),
    ],
)
def test_where_a_node_answers(fields: dict[str, Any], expected: UdpAddress | None) -> None:
    assert stun_server(node(1, **fields)) == expected


def test_the_first_node_that_has_an_address_stands_for_its_region() -> None:
    some = probes()
    some.ask([region(1, node(1, ipv4=""), node(2, stun_only=True)), region(3, node(3, ipv4=""))], 0.0)
    assert set(asked(some, 0.0)) == {UdpAddress("192.0.2.2", 3478)}


def test_control_may_name_any_number_of_regions() -> None:
    some = probes()
    for _ in range(3):
        some.ask([region(number % 250, node(number % 250)) for number in range(1000)], 0.0)
        assert len(some.transmit(0.0)) == MAX_REGIONS
    assert len(some._sent) <= MAX_REGIONS * (1 + len(AGAIN_AFTER))
