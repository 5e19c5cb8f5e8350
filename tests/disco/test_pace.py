"""Pace: five pings a second for one address, in any second, and nothing kept of older ones."""

from __future__ import annotations

import random

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.disco.constants import PINGS_PER_SECOND
from tsnet.disco.pace import Pace

ONE, OTHER = UdpAddress("192.0.2.1", 1), UdpAddress("192.0.2.1", 2)


def test_five_in_a_second_and_none_of_another_address_with_them() -> None:
    pace = Pace()
    assert [pace.allows(ONE, 10.0 + number / 100) for number in range(7)] == [True] * 5 + [False] * 2
    assert pace.allows(OTHER, 10.1)
    assert not pace.allows(ONE, 10.99)
    assert pace.allows(ONE, 11.0)


@pytest.mark.parametrize("seed", range(3))
def test_in_any_second_at_most_five(seed: int) -> None:
    pace, chance, now = Pace(), random.Random(seed), 0.0
    sent: list[float] = []
    for _ in range(2000):
        now += chance.random() * 0.2
        if pace.allows(ONE, now):
            sent.append(now)
        assert len([at for at in sent if at > now - 1.0]) <= PINGS_PER_SECOND


def test_it_forgets() -> None:
    pace = Pace()
    for number in range(1000):
        pace.allows(UdpAddress("192.0.2.1", number), 1.0)
    pace.allows(ONE, 3.0)
    assert (len(pace), len(pace._counts)) == (1, 1)
