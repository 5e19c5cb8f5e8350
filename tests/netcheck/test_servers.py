"""Where a node answers STUN."""

from __future__ import annotations

from typing import Any

import pytest

from tests.netcheck.regions import node
from tsnet.netcheck.servers import is_test_node, stun_host, stun_port


@pytest.mark.parametrize(
    ("fields", "v4", "v6"),
    [
        ({}, "192.0.1.1", "2001:db8:1::1"),
        ({"ipv4": ""}, "derp1a.example", "2001:db8:1::1"),
        ({"ipv6": ""}, "192.0.1.1", "derp1a.example"),
        ({"ipv4": "none"}, "", "2001:db8:1::1"),
        ({"ipv6": "none"}, "192.0.1.1", ""),
        ({"ipv4": "2001:db8::1", "ipv6": "192.0.2.1"}, "", ""),
        ({"ipv4": "", "ipv6": "", "host_name": "192.0.2.9"}, "192.0.2.9", ""),
        ({"ipv4": "", "ipv6": "", "host_name": "2001:db8::9"}, "", "2001:db8::9"),
        ({"stun_test_ip": "192.0.2.99"}, "192.0.2.99", ""),
        ({"stun_test_ip": "2001:db8::99"}, "", "2001:db8::99"),
        ({"stun_test_ip": "fe80::1%eth0"}, "192.0.1.1", "2001:db8:1::1"),
        ({"ipv6": "fe80::1%eth0"}, "192.0.1.1", ""),
        ({"ipv4": "192.0.2.300"}, "", "2001:db8:1::1"),
        ({"stun_port": -1}, "", ""),
        ({"stun_port": 65_536}, "", ""),
    ],
)
def test_where_a_node_answers(fields: dict[str, Any], v4: str, v6: str) -> None:
    assert (stun_host(node(1, **fields), 4), stun_host(node(1, **fields), 6)) == (v4, v6)


@pytest.mark.parametrize(("given", "port"), [(0, 3478), (3479, 3479), (65_535, 65_535), (-1, None), (65_536, None)])
def test_the_port(given: int, port: int | None) -> None:
    assert stun_port(node(1, stun_port=given)) == port


def test_test_nodes() -> None:
    assert is_test_node(node(1, ipv4="127.0.0.1"))
    assert is_test_node(node(1, stun_test_ip="192.0.2.1"))
    assert not is_test_node(node(1))
