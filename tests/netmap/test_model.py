from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import attrs
import pytest

from tsnet.base.keys import NodeKey
from tsnet.netmap import model
from tsnet.netmap.model import DerpMap, DnsConfig, NetMap, Node

NODE = Node(1, "n1", "a.example", NodeKey(b"\x01" * 32))


def test_every_value_is_frozen() -> None:
    values = [value for value in vars(model).values() if isinstance(value, type) and attrs.has(value)]
    assert len(values) > 10
    for value in values:
        assert value.__setattr__ is not object.__setattr__, value
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        NODE.name = "b"  # type: ignore[misc]


def test_addresses_of_a_node() -> None:
    prefixes = (IPv4Network("100.64.0.1/32"), IPv6Network("fd7a:115c:a1e0::1/128"))
    assert attrs.evolve(NODE, addresses=prefixes).ips == (
        IPv4Address("100.64.0.1"),
        IPv6Address("fd7a:115c:a1e0::1"),
    )


def test_a_netmap_that_knows_nothing_denies() -> None:
    netmap = NetMap(NODE)
    assert netmap.packet_filter is None
    assert (netmap.peers, netmap.derp_map, netmap.dns) == ({}, DerpMap(), DnsConfig())


def test_values_do_not_share_their_defaults() -> None:
    assert NetMap(NODE).peers is not NetMap(NODE).peers
