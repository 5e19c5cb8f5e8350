"""Which mappings count."""

from __future__ import annotations

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.portmap.lease import LEASE, MIN_LEASE, Denial, Grant, judged


@pytest.mark.parametrize(
    ("lifetime", "expected"), [(MIN_LEASE, 60.0), (3600, 3600.0), (LEASE, 7200.0), (2**32 - 1, 7200.0)]
)
def test_a_lease_is_at_most_what_was_asked_for(lifetime: int, expected: float) -> None:
    external = UdpAddress("203.0.113.5", 6000)
    assert judged(external, lifetime) == Grant(external, expected)


@pytest.mark.parametrize(
    ("host", "port", "lifetime", "why"),
    [
        ("203.0.113.5", 6000, 59, "lease too short"),
        ("203.0.113.5", 6000, 0, "lease too short"),
        ("203.0.113.5", 0, 7200, "external port 0"),
        ("10.0.0.1", 6000, 7200, "external address private"),
    ],
)
def test_what_is_no_use(host: str, port: int, lifetime: int, why: str) -> None:
    assert judged(UdpAddress(host, port), lifetime) == Denial(why)
