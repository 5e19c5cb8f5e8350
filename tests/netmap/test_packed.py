from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import pytest

from tsnet.base.addresses import IPPrefix, UdpAddress
from tsnet.base.keys import NodeKey
from tsnet.netmap.packed import (
    addresses_of,
    endpoints_of,
    lists_of,
    object_of,
    pack_endpoints,
    pack_key,
    pack_object,
    pack_prefixes,
    prefix_of,
    prefixes_of,
    raw_prefix,
    raw_prefixes,
)

PREFIXES: list[IPPrefix] = [
    ip_network(text) for text in ("100.64.0.1/32", "fd7a::1/128", "0.0.0.0/0", "::/0", "10.0.0.0/8", "fd7a::/48")
]
ENDPOINTS = (UdpAddress("192.0.2.1", 41641), UdpAddress("2001:db8::1", 1), UdpAddress("fe80::1%eth0", 65535))


def test_a_key_loses_its_type_and_no_key_is_empty() -> None:
    key = NodeKey(bytes(range(32)))
    assert type(pack_key(key)) is bytes
    assert pack_key(pack_key(key)) == key
    assert pack_key(None) == pack_key(pack_key(None)) == b""


def test_a_raw_prefix_is_its_address_and_its_length() -> None:
    assert raw_prefix(IPv4Network("10.0.0.0/8")) == b"\x0a\0\0\0\x08"
    assert raw_prefix(IPv6Network("::/0")) == bytes(17)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_raw_prefix_is_one_prefix(prefix: IPPrefix) -> None:
    assert prefix_of(raw_prefix(prefix)) == prefix


@pytest.mark.parametrize("count", range(len(PREFIXES) + 1))
def test_prefixes_keep_their_order(count: int) -> None:
    packed = pack_prefixes(PREFIXES[:count])
    assert type(packed) is bytes
    assert pack_prefixes(packed) is packed
    assert prefixes_of(packed) == tuple(PREFIXES[:count])
    assert raw_prefixes(packed) == list(map(raw_prefix, PREFIXES[:count]))
    assert addresses_of(packed) == tuple(prefix.network_address for prefix in PREFIXES[:count])


@pytest.mark.parametrize("count", range(len(ENDPOINTS) + 1))
def test_endpoints_keep_their_order(count: int) -> None:
    packed = pack_endpoints(ENDPOINTS[:count])
    assert type(packed) is str
    assert pack_endpoints(packed) is packed
    assert endpoints_of(packed) == ENDPOINTS[:count]


@pytest.mark.parametrize("zone", ["\t", "\n", "\x1c", "\x85", "\u2003", "\u2028", "a]", "[a", "]:1", "a:b"])
def test_an_endpoint_may_have_a_zone_of_any_characters_but_a_space(zone: str) -> None:
    endpoints = (UdpAddress(f"fe80::1%{zone}", 7), ENDPOINTS[0])
    assert endpoints_of(pack_endpoints(endpoints)) == endpoints


OBJECTS: list[dict[str, Any]] = [
    {},
    {"a": None, "b": [1, 2.5, True], "c": {"d": {"e": []}}},
    {"": "", "é": "\N{PILE OF POO}", '"\n': "\ud83d"},
    {"large": 1 << 80, "infinite": float("inf")},
]


@pytest.mark.parametrize("members", OBJECTS)
def test_an_object_comes_back_as_it_was(members: dict[str, Any]) -> None:
    packed = pack_object(members)
    assert type(packed) is bytes
    assert pack_object(packed) is packed
    assert object_of(packed) == members


def test_equal_objects_are_the_same_bytes() -> None:
    assert pack_object({"a": 1, "b": {"c": 2, "d": 3}}) == pack_object({"b": {"d": 3, "c": 2}, "a": 1})


def test_an_object_is_another_one_each_time() -> None:
    packed = pack_object({"a": [1]})
    object_of(packed)["a"].append(2)
    assert object_of(packed) == {"a": [1]}


def test_capabilities_have_tuples_of_values() -> None:
    assert lists_of(pack_object({"a": (), "b": ({"c": 1}, 2)})) == {"a": (), "b": ({"c": 1}, 2)}
