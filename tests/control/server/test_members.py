"""Names and addresses of members."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import MachineKey, NodeKey
from tsnet.control.server.members import (
    MAX_ENDPOINTS,
    MAX_HOST,
    Member,
    addresses_of,
    free_name,
    host_of,
    label_of,
    usable_endpoints,
)


@pytest.mark.parametrize(
    ("hostname", "label"),
    [
        ("shop", "shop"),
        ("Bob's Laptop.local", "bobs-laptop"),
        ("a_b c", "a-b-c"),
        ("--x--", "x"),
        ("ünïcode", "ncode"),
        ("", "node"),
        ("...", "node"),
        ("日本", "node"),
        ("x" * 80, "x" * 63),
        ("x" * 62 + "-y", "x" * 62),
    ],
)
def test_a_label_is_what_dns_allows(hostname: str, label: str) -> None:
    assert label_of(hostname) == label


def test_a_taken_name_gets_a_number() -> None:
    assert free_name("Shop", set()) == "shop"
    assert free_name("Shop", {"shop"}) == "shop-1"
    assert free_name("Shop", {"shop", "shop-1", "shop-3"}) == "shop-2"


def test_a_long_taken_name_stays_a_label() -> None:
    assert free_name("x" * 63, {"x" * 63}) == "x" * 61 + "-1"


def test_both_families_carry_the_same_number() -> None:
    assert addresses_of(1) == (ip_network("100.64.0.1"), ip_network("fd7a:115c:a1e0::1"))
    assert addresses_of(0x1234) == (ip_network("100.64.18.52"), ip_network("fd7a:115c:a1e0::1234"))


@pytest.mark.parametrize("number", [1, 0x52, 0x1234, MAX_HOST])
def test_an_address_tells_its_number(number: int) -> None:
    assert {host_of(address) for address in addresses_of(number) or ()} == {number}


@pytest.mark.parametrize("foreign", ["10.0.0.1", "100.63.255.255", "100.128.0.0", "2001:db8::1", "fd7a:115d::1"])
def test_other_addresses_have_none(foreign: str) -> None:
    assert host_of(ip_network(foreign)) == 0


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (0x53, "fd7a:115c:a1e0::53 is MagicDNS"),
        ((100 - 64) << 16 | 100 << 8 | 100, "100.100.100.100 is MagicDNS"),
        ((115 - 64) << 16 | 92 << 8 | 7, "100.115.92.0/23 belongs to ChromeOS"),
        (1 << 22, "beyond 100.64.0.0/10"),
    ],
)
def test_some_numbers_are_no_nodes(number: int, why: str) -> None:
    assert addresses_of(number) is None, why


def test_endpoints_that_mean_nothing_elsewhere_are_dropped() -> None:
    kept = (UdpAddress("192.0.2.1", 1), UdpAddress("2001:db8::1", 2), UdpAddress("169.254.1.1", 4))
    dropped = (UdpAddress("fe80::1", 3), UdpAddress("fe80::1%eth0", 3), UdpAddress("2001:db8::1%eth0", 3))
    nobodys = [UdpAddress(host, 5) for host in ("0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255")]
    assert usable_endpoints((*dropped, *nobodys, *kept, *kept)) == kept


def test_a_node_on_a_machine_with_nothing_but_loopback_is_found_there() -> None:
    there = (UdpAddress("127.0.0.1", 41641), UdpAddress("::1", 41641))
    assert usable_endpoints(there) == there


def test_a_node_has_a_bounded_number_of_endpoints() -> None:
    assert len(usable_endpoints([UdpAddress("192.0.2.1", number) for number in range(1, 10_000)])) == MAX_ENDPOINTS


def test_expiry() -> None:
    member = Member(7, MachineKey(bytes(32)), NodeKey(bytes(32)), 1, "shop", (), 0.0)
    assert member.stable_id == "n00000007"
    assert not member.is_expired(1e12)
    member.key_expiry = 100.0
    assert (member.is_expired(99.0), member.is_expired(100.0)) == (False, True)
    member.key_expiry, member.was_expired = None, True
    assert member.is_expired(0.0)
