"""Addresses that nobody may make us ping."""

from __future__ import annotations

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.disco.pingable import is_pingable

YES = ["192.0.2.1", "10.0.0.1", "100.64.0.9", "169.254.1.1", "2001:db8::1", "fd00::1", "fe80::1%eth0"]
NEVER = [
    *("0.0.0.0", "255.255.255.255", "240.0.0.1", "224.0.0.1", "239.255.255.250", "127.3.3.40"),
    *("::", "ff02::1", "fe80::1", "fd7a:115c:a1e0::1", "", "host.example.com", "300.1.1.1"),
]
LOOPBACK = ["127.0.0.1", "127.9.9.9", "::1"]


@pytest.mark.parametrize("host", YES)
def test_hosts_that_may_be_pinged(host: str) -> None:
    assert is_pingable(UdpAddress(host, 41641), loopback=False)


@pytest.mark.parametrize("host", NEVER)
@pytest.mark.parametrize("loopback", [False, True])
def test_hosts_that_never_may(host: str, loopback: bool) -> None:
    assert not is_pingable(UdpAddress(host, 41641), loopback=loopback)


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_only_where_there_is_nothing_else(host: str) -> None:
    assert not is_pingable(UdpAddress(host, 41641), loopback=False)
    assert is_pingable(UdpAddress(host, 41641), loopback=True)


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_ports_that_are_none(port: int) -> None:
    assert not is_pingable(UdpAddress("192.0.2.1", port), loopback=False)
