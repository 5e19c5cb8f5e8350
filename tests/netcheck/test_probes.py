"""Who is asked over UDP, how often, and what an answer says; by a hand clock."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from ipaddress import ip_address

import pytest

from tests.netcheck.regions import OURS, OURS_V6, answers, node, region, region_of
from tsnet.base.addresses import UdpAddress
from tsnet.base.links import LookedUp
from tsnet.netcheck.names import NONE_FOR, ServerNames
from tsnet.netcheck.plan import Latencies, full_plan, next_plan
from tsnet.netcheck.probes import NAME_AGAIN, PATIENCE, Measurement, Probes
from tsnet.netcheck.report import Draft
from tsnet.netcheck.stun import decode_request, encode_request, encode_response
from tsnet.netmap.model import DerpRegion

FIRST, SECOND = UdpAddress("192.0.1.1", 3478), UdpAddress("192.0.2.1", 3478)


class Round:
    """One measurement of some regions."""

    def __init__(self, *regions: DerpRegion, families: frozenset[int] = frozenset({4}), enough: int = 3) -> None:
        self.dropped: Counter[str] = Counter()
        self.names = ServerNames(self.dropped, itertools.count(1))
        self.draft = Draft(os_has_ipv6=False)
        plan = full_plan(regions, 0, families)
        entropy = random.Random(1).randbytes
        self.probes = Probes(plan, self.draft, self.names, entropy, self.dropped, 0.0, enough=enough, slack=2.0)

    def asked(self, now: float) -> dict[UdpAddress, bytes]:
        """The TxIDs of the requests that leave now, by server."""
        return {server: decode_request(request) for server, [request] in self.probes.transmit(now)}


def test_an_answer_measures_a_region_once() -> None:
    some = Round(region(1), region(2))
    assert some.probes.deadline() == 0.0
    sent = some.asked(0.0)
    assert set(sent) == {FIRST, SECOND}
    answer = FIRST, encode_response(sent[FIRST], OURS)
    assert some.probes.receive([answer, answer], 0.02) == [Measurement(1, 0.02, OURS)]
    assert some.dropped == {"stun unasked": 1}
    assert set(some.asked(0.1)) == {SECOND}
    assert some.draft.latencies.v4 == {1: 0.02}


def test_what_does_not_answer_is_asked_three_times_and_then_left_alone() -> None:
    some = Round(region(1))
    times = []
    now = some.probes.deadline()
    while not some.probes.is_over(now):
        times += [now] * len(some.probes.transmit(now))
        assert some.probes.deadline() > now
        now = some.probes.deadline()
    assert times == pytest.approx([0.0, 0.1, 0.2])
    assert now == PATIENCE
    assert some.probes.transmit(now) == []


def test_an_answer_is_measured_from_the_request_that_it_answers() -> None:
    some = Round(region(1))
    [first], [second] = some.asked(0.0).values(), some.asked(0.1).values()
    assert first != second
    [found] = some.probes.receive([(FIRST, encode_response(second, OURS))], 0.15)
    assert found.latency == pytest.approx(0.05)
    assert some.probes.is_over(0.15)
    assert some.probes.receive([(FIRST, encode_response(first, OURS))], 0.16) == []


def test_bad_bytes_and_answers_that_nobody_asked_for_are_counted() -> None:
    some = Round(region(1), families=frozenset({4}))
    [tx_id] = some.asked(0.0).values()
    whole, receive = encode_response(tx_id, OURS), some.probes.receive
    assert receive([(FIRST, whole[:end]) for end in range(len(whole))], 0.1) == []
    assert receive([(FIRST, encode_request(tx_id))], 0.1) == []  # our own, reflected
    assert some.dropped == {"stun malformed": len(whole) + 1}
    assert receive([(FIRST, encode_response(bytes(12), OURS))], 0.1) == []
    assert some.dropped["stun unasked"] == 1
    assert receive([(UdpAddress(FIRST.host, 9), whole), (SECOND, whole)], 0.1) == []
    assert some.dropped["stun source"] == 2
    for mapped in (UdpAddress("224.0.0.1", 9), OURS_V6):
        assert receive([(FIRST, encode_response(tx_id, mapped))], 0.1) == []
    assert some.dropped["stun mapped"] == 2
    assert len(receive([(FIRST, whole)], 0.1)) == 1


def test_the_rest_is_not_waited_for_once_three_regions_have_answered() -> None:
    some = Round(*map(region, range(1, 6)))
    found = answers(some.probes.transmit(0.0))
    some.probes.receive(found[:2], 0.02)
    assert some.probes._until == PATIENCE
    some.probes.receive(found[2:3], 0.05)
    assert some.probes._until == pytest.approx(0.05 + 2 * 0.05)
    assert some.probes.is_over(0.151)


def test_who_wants_all_regions_waits_for_them() -> None:
    some = Round(*map(region, range(1, 6)), enough=99)
    some.probes.receive(answers(some.probes.transmit(0.0))[:4], 0.02)
    assert some.probes._until == PATIENCE


def test_a_try_that_tells_nothing_new_is_not_made() -> None:
    """Two servers see the same address: the third region's second family is known, and needs no more."""
    regions = [region(number, node(number), node(number, "b")) for number in (1, 2, 3)]
    last = Latencies({1: 0.01, 2: 0.01, 3: 0.01}, {1: 0.01, 2: 0.01, 3: 0.01}, {1: 0.01})
    some = Round()
    plan = next_plan(regions, 1, {4, 6}, last)
    some.probes = Probes(plan, some.draft, some.names, random.Random(1).randbytes, some.dropped, 0.0, enough=99)
    runs = some.probes.transmit(0.0)
    over_v4 = [found for found in answers(runs) if ":" not in found[0].host]
    some.probes.receive(over_v4, 0.005)
    later = some.probes.transmit(0.012)
    assert {region_of(server) for server, _ in later if ":" in server.host} == {1, 2}, "v6 has not answered"
    assert not [server for server, _ in later if ":" not in server.host]


# --- names ------------------------------------------------------------------------------------------------------


def named(*letters: str) -> DerpRegion:
    return region(1, *(node(1, letter, ipv4="", ipv6="") for letter in letters))


def test_a_server_without_an_address_is_looked_up_first_and_then_asked() -> None:
    some = Round(named("a"))
    assert some.probes.transmit(0.0) == []
    [asked] = some.names.effects
    assert some.probes.deadline() == NAME_AGAIN
    some.names.receive(LookedUp(asked.link, (ip_address("192.0.2.7"),)), 0.5)
    [(server, _)] = some.probes.transmit(0.5)
    assert server == UdpAddress("192.0.2.7", 3478)


def test_a_server_that_has_no_address_gives_way_to_the_next_and_a_region_without_one_is_over() -> None:
    some = Round(named("a", "b"))
    some.probes.transmit(0.0)
    now = 0.0
    while not some.probes.is_over(now):
        for effect in some.names.effects:
            some.names.receive(LookedUp(effect.link, ()), now)
        some.names.effects = []
        assert some.probes.transmit(now) == []
        now = min(some.probes.deadline(), PATIENCE)
    assert now < min(1.0, NONE_FOR)


def test_deadlines_lie_ahead_after_every_transmit() -> None:
    chance = random.Random(4)
    for _ in range(50):
        some = Round(named("a", "b"), region(2), region(3, node(3, ipv4="none")), families=frozenset({4, 6}))
        now = 0.0
        while not some.probes.is_over(now):
            found = answers(some.probes.transmit(now))
            some.names.effects = []
            if some.probes.is_over(now):
                break
            assert now < some.probes.deadline() < math.inf
            now = some.probes.deadline()
            some.probes.receive([each for each in found if chance.random() < 0.3], now)
        assert now <= PATIENCE
