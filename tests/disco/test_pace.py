"""Pace: five pings a second for one address, in any second, and nothing kept of older ones."""

from __future__ import annotations

import random

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.disco.constants import PINGS_PER_SECOND
from tsnet.disco.pace import Pace

ONE, OTHER = UdpAddress("192.0.2.1", 1), UdpAddress("192.0.2.1", 2)
A, B, C = b"a" * 32, b"b" * 32, b"c" * 32


def test_five_in_a_second_and_none_of_another_address_with_them() -> None:
    pace = Pace()
    assert [pace.allows(ONE, A, 10.0 + number / 100, is_proven=True) for number in range(7)] == [True] * 5 + [False] * 2
    assert pace.allows(OTHER, A, 10.1)
    assert not pace.allows(ONE, A, 10.99, is_proven=True)
    assert pace.allows(ONE, A, 11.0, is_proven=True)


def test_one_peer_leaves_a_ping_to_others_and_all_leave_one_to_whoever_answers_there() -> None:
    pace = Pace()
    assert [pace.allows(ONE, A, 10.0) for _ in range(4)] == [True] * 3 + [False]
    assert [pace.allows(ONE, B, 10.0) for _ in range(2)] == [True, False]
    assert [pace.allows(ONE, C, 10.0, is_proven=True) for _ in range(2)] == [True, False]


@pytest.mark.parametrize("seed", range(3))
def test_in_any_second_at_most_five(seed: int) -> None:
    pace, chance, now = Pace(), random.Random(seed), 0.0
    sent: list[float] = []
    for _ in range(2000):
        now += chance.random() * 0.2
        if pace.allows(ONE, chance.choice((A, B, C)), now, is_proven=chance.random() < 0.5):
            sent.append(now)
        assert len([at for at in sent if at > now - 1.0]) <= PINGS_PER_SECOND


def test_it_forgets() -> None:
    pace = Pace()
    for number in range(1000):
        pace.allows(UdpAddress("192.0.2.1", number), A, 1.0)
    pace.allows(ONE, A, 3.0)
    assert (len(pace), len(pace._counts), len(pace._by_peer)) == (1, 1, 1)
