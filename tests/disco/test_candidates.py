"""Candidates: who tells of an address, when it goes, and how many there are."""

from __future__ import annotations

import random

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.disco.candidates import Candidates
from tsnet.disco.constants import (
    DISCO_PING_INTERVAL,
    HEARD_CANDIDATE,
    MAX_CANDIDATES,
    MAX_HEARD,
    MAX_LISTED,
    MAX_PORTS,
)


def at(number: int, port: int = 1) -> UdpAddress:
    return UdpAddress(f"192.0.2.{number}", port)


def test_the_netmaps_list_replaces_the_one_before() -> None:
    candidates = Candidates()
    assert candidates.set_netmap([at(1), at(2)])
    assert not candidates.set_netmap([at(2)])
    assert list(candidates) == [at(2)]
    assert candidates.set_netmap([at(2), at(3)])


def test_a_call_replaces_the_call_before_and_leaves_what_the_netmap_names() -> None:
    candidates = Candidates()
    candidates.set_netmap([at(1)])
    assert candidates.called([at(1), at(2)])
    assert candidates.called([at(3)])
    assert list(candidates) == [at(1), at(3)]
    candidates.set_netmap([])
    assert list(candidates) == [at(3)]
    candidates.called([])
    assert len(candidates) == 0


def test_what_only_pings_told_of_goes_after_a_while() -> None:
    candidates = Candidates()
    assert candidates.heard(at(1), 10.0)
    assert not candidates.heard(at(1), 20.0)
    assert candidates.due(20.0 + HEARD_CANDIDATE - 1) == [at(1)]
    assert candidates.due(20.0 + HEARD_CANDIDATE) == []
    assert len(candidates) == 0


def test_an_address_that_is_listed_and_heard_stays_when_no_list_names_it_any_more() -> None:
    candidates = Candidates()
    candidates.set_netmap([at(1)])
    assert not candidates.heard(at(1), 10.0)
    candidates.set_netmap([])
    assert candidates.due(11.0) == [at(1)]


def test_an_address_is_due_again_after_the_interval() -> None:
    candidates = Candidates()
    candidates.set_netmap([at(1), at(2)])
    candidate = candidates.get(at(1))
    assert candidate is not None
    candidate.pinged_at = 10.0
    assert candidates.due(10.0 + DISCO_PING_INTERVAL - 0.1) == [at(2)]
    assert candidates.due(10.0 + DISCO_PING_INTERVAL) == [at(1), at(2)]
    candidate.pinged_at, candidate.only_large = 20.0, True
    candidates.forget_history()
    assert candidates.due(20.0) == [at(1), at(2)]
    assert not candidate.only_large


def test_a_list_of_any_length_is_cut() -> None:
    candidates = Candidates()
    candidates.set_netmap([at(number) for number in range(200)])
    assert list(candidates) == [at(number) for number in range(MAX_LISTED)]


def test_a_call_displaces_what_only_the_netmap_names() -> None:
    candidates = Candidates()
    candidates.set_netmap([at(number) for number in range(MAX_LISTED)])
    candidates.called([at(100), at(101)])
    assert list(candidates) == [*(at(number) for number in range(MAX_LISTED - 2)), at(100), at(101)]
    candidates.set_netmap([at(number) for number in range(MAX_LISTED)])
    assert {at(100), at(101)} < set(candidates)
    assert len(candidates) == MAX_LISTED


def test_one_host_has_few_ports_in_a_list() -> None:
    candidates = Candidates()
    candidates.called([*(at(1, port) for port in range(1, 30)), at(2)])
    assert len(candidates) == MAX_PORTS + 1


def test_pings_from_everywhere_displace_each_other_and_nothing_that_is_listed() -> None:
    candidates = Candidates()
    candidates.set_netmap([at(number) for number in range(MAX_LISTED)])
    for number in range(100, 200):
        candidates.heard(at(number), float(number))
    assert list(candidates) == [
        *(at(number) for number in range(MAX_LISTED)),
        *(at(number) for number in range(200 - MAX_HEARD, 200)),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_never_more_than_the_bounds(seed: int) -> None:
    chance, candidates, now = random.Random(seed), Candidates(), 0.0
    for _ in range(500):
        now += chance.random() * 3
        some = [at(chance.randrange(60), chance.randrange(4)) for _ in range(chance.randrange(40))]
        match chance.randrange(4):
            case 0:
                candidates.set_netmap(some)
            case 1:
                candidates.called(some)
            case 2:
                for each in some:
                    candidates.heard(each, now)
            case _:
                candidates.due(now)
        listed = [candidate for candidate in candidates._all.values() if candidate.listed]
        assert len(listed) <= MAX_LISTED
        assert len(candidates) - len(listed) <= MAX_HEARD
        assert len(candidates) <= MAX_CANDIDATES
