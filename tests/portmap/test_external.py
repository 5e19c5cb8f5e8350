"""Which external addresses count."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tsnet.portmap.external import is_private, why_unusable


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("127.0.0.1", "loopback"),
        ("10.0.0.1", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("100.127.255.255", "private"),
        ("192.0.0.2", "private"),
        ("169.254.1.1", "link-local"),
        ("224.0.0.1", "multicast"),
        ("240.0.0.1", "multicast"),
        ("255.255.255.255", "multicast"),
        ("2001:db8::1", "not v4"),
        ("8.8.8.8", ""),
        ("172.32.0.1", ""),
        ("100.128.0.1", ""),
        ("203.0.113.5", ""),
    ],
)
def test_an_address_that_nobody_outside_can_reach_is_no_use(text: str, why: str) -> None:
    found = why_unusable(ip_address(text), 6000)
    assert (why in found) if why else found == ""


def test_port_0_is_no_port() -> None:
    assert why_unusable(ip_address("8.8.8.8"), 0) == "external port 0"


def test_what_looks_like_a_home_network() -> None:
    assert is_private(ip_address("192.168.0.1"))
    assert not any(is_private(address) for address in (None, ip_address("8.8.8.8"), ip_address("fd00::1")))
    assert not is_private(ip_address("100.64.0.1"))
