"""What STUN servers have seen of our port, and what is offered of it."""

from __future__ import annotations

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.netcheck.mappings import MAX_SEEN, Mappings, is_believable

A, B, C = (UdpAddress("203.0.113.5", port) for port in (1001, 1002, 1003))
V6, OTHER_V6 = UdpAddress("2001:db8::5", 1001), UdpAddress("2001:db8::6", 1001)


def seen(*addresses: UdpAddress) -> Mappings:
    some = Mappings()
    for address in addresses:
        some.add(address)
    return some


@pytest.mark.parametrize(
    ("addresses", "varies"),
    [
        ((), None),
        ((A,), None),
        ((A, A), False),
        ((A, B), True),
        ((A, A, B), True),
        ((A, B, A, A), True),
        ((A, V6, OTHER_V6), None),  # what v6 does is not judged
        ((V6, V6), None),
    ],
)
def test_a_mapping_varies_if_two_servers_see_two_addresses(
    addresses: tuple[UdpAddress, ...], varies: bool | None
) -> None:
    assert seen(*addresses).varies is varies


def test_offered_are_the_first_of_v4_the_last_of_v6_and_what_was_seen_twice() -> None:
    some = seen(A, B, C, C, V6, OTHER_V6)
    assert some.offered(4) == [A, C]
    assert some.offered(6) == [OTHER_V6]
    assert seen(V6, V6, OTHER_V6).offered(6) == [OTHER_V6, V6]
    assert seen(A, A).offered(4) == [A]
    assert seen().offered(4) == seen().offered(6) == []


def test_servers_that_claim_any_address_fill_no_memory() -> None:
    some = seen(*(UdpAddress("203.0.113.5", port) for port in range(1, 10_000)))
    assert len(some._counts) == MAX_SEEN
    assert some.varies
    assert some.offered(4) == [UdpAddress("203.0.113.5", 1)]


@pytest.mark.parametrize(
    ("host", "port", "believed"),
    [
        ("203.0.113.5", 1, True),
        ("10.0.0.1", 1, True),  # a server behind the same router
        ("127.0.0.1", 1, True),  # a server on this machine
        ("203.0.113.5", 0, False),
        ("0.0.0.0", 1, False),
        ("255.255.255.255", 1, False),
        ("224.0.0.1", 1, False),
        ("ff02::1", 1, False),
        ("fe80::1", 1, False),
        ("169.254.1.1", 1, False),
    ],
)
def test_what_a_server_may_claim(host: str, port: int, believed: bool) -> None:
    assert is_believable(UdpAddress(host, port)) is believed
