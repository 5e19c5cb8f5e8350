"""SendRefusals: which errors say something of the way, the least size of each address, and the bound."""

from __future__ import annotations

import errno

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.unsent import MAX_UNSENT, SendRefusals, Unsent

ONE, OTHER = UdpAddress("192.0.2.1", 41641), UdpAddress("192.0.2.2", 41641)


@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPERM, errno.EACCES, errno.EINVAL])
def test_an_address_without_a_way_takes_nothing(number: int) -> None:
    refusals = SendRefusals()
    refusals.note(number, ONE, 1312)
    assert refusals
    assert refusals.take() == [Unsent(ONE, 0)]
    assert not refusals
    assert refusals.take() == []


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ECONNREFUSED, errno.EIO, None])
def test_what_says_nothing_of_the_way_is_not_told(number: int | None) -> None:
    refusals = SendRefusals()
    refusals.note(number, ONE, 1312)
    assert not refusals


def test_the_least_size_is_told_and_no_way_at_all_is_less_than_any() -> None:
    refusals = SendRefusals()
    for size in (1472, 1400, 1450):
        refusals.note(errno.EMSGSIZE, ONE, size)
        refusals.note(errno.EMSGSIZE, OTHER, size)
    refusals.note(errno.EHOSTUNREACH, OTHER, 1500)
    refusals.note(errno.EMSGSIZE, OTHER, 1300)
    assert refusals.take() == [Unsent(ONE, 1400), Unsent(OTHER, 0)]


def test_of_very_many_addresses_the_first_are_told() -> None:
    refusals = SendRefusals()
    for number in range(2 * MAX_UNSENT):
        refusals.note(errno.EPERM, UdpAddress("192.0.2.1", number), 100)
    assert [each.address.port for each in refusals.take()] == list(range(MAX_UNSENT))
