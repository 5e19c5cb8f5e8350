"""Which of two addresses is better: the rows of Go's TestBetterAddr that direct addresses have, and what follows."""

from __future__ import annotations

import random

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.disco.better import is_better

PUBLIC, OTHER, PRIVATE, LINK, LOOPBACK, PUBLIC6, PRIVATE6 = (
    UdpAddress(host, 1) for host in ("1.2.3.4", "5.6.7.8", "10.0.0.2", "169.254.1.1", "127.0.0.1", "2001::5", "fd00::1")
)


@pytest.mark.parametrize(
    ("one", "milliseconds", "other", "others", "expected"),
    [
        (PUBLIC, 5, OTHER, 10, True),
        (PUBLIC, 10, OTHER, 5, False),
        (PUBLIC, 99.5, OTHER, 100, False),  # less than a per cent, or one
        (PUBLIC, 99, OTHER, 100, False),
        (PUBLIC, 97, OTHER, 100, True),
        (PUBLIC, 100, OTHER, 100, False),
        (PRIVATE, 100, PUBLIC, 100, True),
        (PRIVATE, 100, PUBLIC, 90, True),  # 10 % slower, and 20 points
        (PRIVATE, 100, PUBLIC, 50, False),
        (LINK, 100, PRIVATE, 100, True),
        (LOOPBACK, 100, LINK, 100, True),
        (PUBLIC6, 100, PUBLIC, 100, True),
        (PUBLIC6, 100, PUBLIC, 95, True),
        (PUBLIC6, 100, PUBLIC, 80, False),
        (PRIVATE6, 100, PRIVATE, 100, True),
        (PUBLIC, 0, OTHER, 0, False),
    ],
)
def test_the_table(one: UdpAddress, milliseconds: float, other: UdpAddress, others: float, expected: bool) -> None:
    assert is_better(one, milliseconds / 1000, other, others / 1000) == expected


def test_anything_is_better_than_nothing_and_an_address_no_better_than_itself() -> None:
    assert is_better(PUBLIC, 5.0, None, 0.0)
    assert not is_better(PUBLIC, 0.001, PUBLIC, 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_no_two_addresses_are_each_better_than_the_other(seed: int) -> None:
    chance = random.Random(seed)
    everything = [PUBLIC, OTHER, PRIVATE, LINK, LOOPBACK, PUBLIC6, PRIVATE6]
    for _ in range(2000):
        one, other = chance.sample(everything, 2)
        latency, others = (chance.choice([0.0, 0.001, chance.random()]) for _ in range(2))
        assert not (is_better(one, latency, other, others) and is_better(other, others, one, latency))
