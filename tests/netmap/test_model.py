from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import attrs
import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import DiscoKey, MachineKey, NodeKey
from tsnet.netmap import model
from tsnet.netmap.model import CapGrant, DerpMap, Destination, DnsConfig, FilterRule, NetMap, Node, PortRange

NODE = Node(1, "n1", "a.example", NodeKey(b"\x01" * 32))


def test_every_value_is_frozen() -> None:
    values = [value for value in vars(model).values() if isinstance(value, type) and attrs.has(value)]
    assert len(values) > 10
    for value in values:
        assert value.__setattr__ is not object.__setattr__, value
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        NODE.name = "b"  # type: ignore[misc]


def test_a_node_gives_back_what_it_was_made_of() -> None:
    fields: dict[str, Any] = {
        "key": NodeKey(b"\x01" * 32),
        "machine": MachineKey(b"\x02" * 32),
        "disco_key": DiscoKey(b"\x03" * 32),
        "addresses": (IPv4Network("100.64.0.1/32"), IPv6Network("fd7a:115c:a1e0::1/128")),
        "allowed_ips": (IPv4Network("0.0.0.0/0"),),
        "primary_routes": (IPv6Network("fd7a::/16"),),
        "endpoints": (UdpAddress("192.0.2.1", 1), UdpAddress("::1", 2)),
        "hostinfo": {"OS": "linux", "Services": [{"Port": 1}]},
        "capabilities": {"a": (), "b": (1, {"c": None})},
        "tags": ("tag:a",),
    }
    made = Node(1, "n1", "a.example", **fields)
    for name, value in fields.items():
        assert getattr(made, name) == value
        assert type(getattr(made, name)) is type(value)
    assert attrs.evolve(made) == made == Node(1, "n1", "a.example", **fields)
    assert attrs.evolve(made, disco_key=None).disco_key is None
    assert "disco_key=<DiscoKey 0303030303>, addresses=(IPv4Network('100.64.0.1/32')" in repr(made)


def test_nodes_are_equal_whatever_the_order_of_the_names_in_them() -> None:
    hosts: list[dict[str, Any]] = [{"OS": "linux", "App": "x"}, {"App": "x", "OS": "linux"}]
    one, other = (attrs.evolve(NODE, hostinfo=host, capabilities=dict.fromkeys(host, ())) for host in hosts)
    assert one == other
    assert hash(one) == hash(other)
    assert one != attrs.evolve(one, hostinfo={"OS": "linux"})


def test_a_rule_gives_back_what_it_was_made_of() -> None:
    destinations = (Destination("*", PortRange(1, 2)), Destination("100.64.0.1", PortRange(0, 65535)))
    grants = (CapGrant((IPv4Network("100.64.0.1/32"),), {"a": ({"b": 1},)}),)
    rule = FilterRule(("*",), destinations, (6,), grants)
    assert (rule.destinations, rule.grants) == (destinations, grants)
    assert attrs.evolve(rule, sources=("*",)) == rule


def test_addresses_of_a_node() -> None:
    prefixes = (IPv4Network("100.64.0.1/32"), IPv6Network("fd7a:115c:a1e0::1/128"))
    assert attrs.evolve(NODE, addresses=prefixes).ips == (
        IPv4Address("100.64.0.1"),
        IPv6Address("fd7a:115c:a1e0::1"),
    )


def test_routes_of_a_node_are_what_is_not_its_own_address() -> None:
    own, other = IPv4Network("100.64.0.1/32"), IPv4Network("100.64.0.0/24")
    assert attrs.evolve(NODE, addresses=(own,), allowed_ips=(other, own)).routes == (other,)
    assert attrs.evolve(NODE, addresses=(own,), allowed_ips=(own,)).routes == ()


def test_a_netmap_that_knows_nothing_denies() -> None:
    netmap = NetMap(NODE)
    assert netmap.packet_filter is None
    assert (netmap.peers, netmap.derp_map, netmap.dns) == ({}, DerpMap(), DnsConfig())


def test_values_do_not_share_their_defaults() -> None:
    assert NetMap(NODE).peers is not NetMap(NODE).peers
