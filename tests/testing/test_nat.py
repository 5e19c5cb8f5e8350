"""What the tables cannot show: sizes, times and draws. How each kind behaves for hosts is in test_punching."""

from __future__ import annotations

import random

import attrs
import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.errors import ConfigError
from tsnet.testing.nat import (
    ADDRESS_RESTRICTED,
    EASY,
    EASY_WITH_STRAYS,
    FULL_CONE,
    HARD,
    MAX_ANSWERS,
    MAX_STRAYS,
    MAX_TALKED,
    MOST_MAPPINGS,
    Nat,
    NatTable,
)

INSIDE = UdpAddress("192.168.1.2", 5000)
REMOTES = [UdpAddress(f"198.18.{number // 250}.{number % 250}", 7) for number in range(6000)]


def table(nat: Nat) -> NatTable:
    return NatTable(nat, random.Random("nat"))


@pytest.mark.parametrize("nat", [FULL_CONE, ADDRESS_RESTRICTED, EASY, HARD])
def test_an_answer_comes_in_until_the_lifetime_is_over(nat: Nat) -> None:
    nats = table(nat)
    port = nats.outbound(INSIDE, REMOTES[0], 10.0)
    assert port is not None
    assert nats.inbound(REMOTES[0], port, 129.9) == INSIDE
    assert nats.inbound(REMOTES[0], port, 130.0) is None
    assert len(nats) == 0


def test_only_what_leaves_renews_if_not_told_otherwise() -> None:
    for nat, expected in ((EASY, None), (attrs.evolve(FULL_CONE, inbound_refreshes=True), INSIDE)):
        nats = table(nat)
        assert nats.outbound(INSIDE, REMOTES[0], 0.0) == 5000
        nats.inbound(REMOTES[0], 5000, 100.0)
        if nat.inbound_refreshes:
            assert nats.outbound(INSIDE, REMOTES[0], 100.0) == 5000
        assert nats.inbound(REMOTES[0], 5000, 150.0) == expected


def test_a_permission_ends_before_a_mapping_that_is_renewed_for_others() -> None:
    nats = table(EASY)
    nats.outbound(INSIDE, REMOTES[0], 0.0)
    nats.outbound(INSIDE, REMOTES[1], 100.0)
    assert nats.inbound(REMOTES[0], 5000, 150.0) is None
    assert nats.inbound(REMOTES[1], 5000, 150.0) == INSIDE


def test_mappings_are_bounded_and_dead_ones_make_room() -> None:
    nats = table(attrs.evolve(HARD, max_mappings=3))
    assert None not in [nats.outbound(INSIDE, remote, 0.0) for remote in REMOTES[:3]]
    assert nats.outbound(INSIDE, REMOTES[3], 1.0) is None
    assert nats.outbound(INSIDE, REMOTES[0], 1.0) is not None
    assert nats.outbound(INSIDE, REMOTES[3], 120.5) is not None
    assert len(nats) == 2


@pytest.mark.parametrize("number", [0, MOST_MAPPINGS + 1])
def test_there_are_ports_for_all_mappings(number: int) -> None:
    with pytest.raises(ConfigError, match="takes a port"):
        Nat(max_mappings=number)
    assert Nat(max_mappings=MOST_MAPPINGS)


def test_what_a_filter_remembers_is_bounded() -> None:
    nats = table(EASY)
    for remote in REMOTES[: MAX_TALKED + 1]:
        nats.outbound(INSIDE, remote, 0.0)
    assert nats.inbound(REMOTES[0], 5000, 1.0) is None
    assert nats.inbound(REMOTES[1], 5000, 1.0) == INSIDE


def test_a_stray_spoils_the_port_for_its_sender_alone_until_its_time_is_over() -> None:
    nats = table(EASY_WITH_STRAYS)
    assert nats.outbound(INSIDE, REMOTES[0], 0.0) == 5000
    assert nats.inbound(REMOTES[1], 5000, 1.0) is None
    spoiled = nats.outbound(INSIDE, REMOTES[1], 2.0)
    assert spoiled not in (5000, None)
    assert spoiled == nats.outbound(INSIDE, REMOTES[1], 3.0)
    assert nats.outbound(INSIDE, REMOTES[2], 3.0) == 5000
    assert nats.inbound(REMOTES[1], spoiled, 4.0) == INSIDE
    assert nats.inbound(REMOTES[1], 5000, 4.0) is None
    assert nats.outbound(INSIDE, REMOTES[1], 130.0) == 5000


def test_who_is_answered_from_an_open_port_is_bounded() -> None:
    nats = table(HARD)
    nats.open(4000, INSIDE)
    for remote in REMOTES[: MAX_ANSWERS + 1]:
        nats.inbound(remote, 4000, 0.0)
    assert nats.outbound(INSIDE, REMOTES[0], 1.0) != 4000
    assert nats.outbound(INSIDE, REMOTES[1], 1.0) == 4000


def test_strays_are_bounded() -> None:
    nats = table(EASY_WITH_STRAYS)
    for remote in REMOTES[: MAX_STRAYS + 1]:
        nats.inbound(remote, 5000, 0.0)
    assert nats.outbound(INSIDE, REMOTES[0], 1.0) == 5000
    assert nats.outbound(INSIDE, REMOTES[1], 1.0) != 5000


def test_an_open_port_lets_everybody_in_and_answers_come_from_it() -> None:
    nats = table(HARD)
    nats.open(4000, INSIDE)
    assert nats.inbound(REMOTES[0], 4000, 0.0) == nats.opened(4000, 0.0) == INSIDE
    assert nats.outbound(INSIDE, REMOTES[0], 1.0) == 4000
    assert nats.outbound(INSIDE, REMOTES[0], 119.0) == 4000
    assert nats.outbound(INSIDE, REMOTES[0], 239.0) != 4000
    assert nats.outbound(INSIDE, REMOTES[1], 0.0) != 4000
    easy = table(EASY)
    easy.open(5000, INSIDE)
    assert easy.outbound(INSIDE, REMOTES[0], 0.0) == 5000
    assert easy.outbound(UdpAddress("192.168.1.3", 5000), REMOTES[0], 0.0) != 5000
    nats.shut(4000)
    assert nats.inbound(REMOTES[0], 4000, 0.0) is None
    nats.open(4000, INSIDE)
    nats.forget()
    assert nats.opened(4000, 0.0) is None
    nats.open(4000, INSIDE, until=5.0)
    assert (nats.opened_by(INSIDE, 4.9), nats.opened_by(INSIDE, 5.0)) == (4000, None)
    assert (nats.count_opened(4.9), nats.free_port(4000, 4.9) == 4000) == (1, False)
    assert (nats.count_opened(5.0), nats.free_port(4000, 5.0)) == (0, 4000)


def test_ports_are_the_draws_and_differ() -> None:
    first, second = table(HARD), table(HARD)
    ports = [first.outbound(INSIDE, remote, 0.0) for remote in REMOTES[:200]]
    assert ports == [second.outbound(INSIDE, remote, 0.0) for remote in REMOTES[:200]]
    assert len(set(ports)) == 200


def test_mappings_whose_time_is_over_are_dropped_when_others_are_made() -> None:
    table = NatTable(attrs.evolve(HARD, lifetime=30.0), random.Random(1))
    for number in range(1000):
        table.outbound(UdpAddress("10.0.0.2", 1000), UdpAddress("192.0.2.1", 1 + number), 10.0 * number)
        assert len(table) <= 8
