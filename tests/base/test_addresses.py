"""Runs, and what is a tailnet address."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest

from tsnet.base.addresses import (
    MAX_RUN_BYTES,
    MAX_RUN_PACKETS,
    DerpAddress,
    UdpAddress,
    bracketed,
    into_runs,
    is_tailnet_address,
    join_host_port,
    owner_of,
    parse_address,
    parse_port,
)
from tsnet.base.keys import NodeKey


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::1", "0.0.0.1", False),
    ],
)
def test_whose_an_address_is(one: str, other: str, same: bool) -> None:
    assert (owner_of(one) == owner_of(other)) is same


@pytest.mark.parametrize(
    ("host", "in_url"), [("shop", "shop"), ("192.0.2.1", "192.0.2.1"), ("fd7a::1", "[fd7a::1]"), ("::", "[::]")]
)
def test_how_a_url_has_a_host(host: str, in_url: str) -> None:
    assert bracketed(host) == in_url
    assert join_host_port(host, 80) == f"{in_url}:80"


def lengths(packets: list[bytes]) -> list[list[int]]:
    return [[len(packet) for packet in run] for _, run in into_runs("there", packets)]


def sized(*sizes: int) -> list[bytes]:
    return [bytes(size) for size in sizes]


def test_no_packets_no_runs() -> None:
    assert into_runs("there", []) == []


@pytest.mark.parametrize(
    ("packets", "runs"),
    [
        (sized(5), [[5]]),
        (sized(5, 5, 5), [[5, 5, 5]]),
        (sized(5, 5, 3), [[5, 5, 3]]),
        (sized(5, 3, 3), [[5, 3], [3]]),
        (sized(5, 3, 5), [[5, 3], [5]]),
        (sized(3, 5, 5), [[3], [5, 5]]),
        (sized(0, 0), [[0, 0]]),
    ],
)
def test_a_run_has_equal_lengths_but_the_last(packets: list[bytes], runs: list[list[int]]) -> None:
    assert lengths(packets) == runs


def test_a_run_ends_where_one_send_does() -> None:
    assert [len(run) for run in lengths(sized(*[1312] * 100))] == [MAX_RUN_PACKETS, MAX_RUN_PACKETS, 2]
    assert [len(run) for run in lengths(sized(*[8932] * 15))] == [7, 7, 1]
    assert lengths(sized(65_507, 65_507)) == [[65_507], [65_507]]


@pytest.mark.parametrize("seed", range(20))
def test_any_packets_keep_their_order_in_lawful_runs(seed: int) -> None:
    chance = random.Random(seed)
    packets = [chance.randbytes(chance.choice([32, 96, 1312, 1312, 1312, 9000])) for _ in range(200)]
    runs = into_runs("there", packets)
    assert [packet for _, run in runs for packet in run] == packets
    for destination, run in runs:
        assert destination == "there"
        assert 0 < len(run) <= MAX_RUN_PACKETS
        assert sum(map(len, run)) <= MAX_RUN_BYTES
        assert len({len(packet) for packet in run[:-1]}) <= 1
        assert len(run[-1]) <= len(run[0])


def test_destinations_are_values() -> None:
    assert UdpAddress("192.0.2.1", 5) == UdpAddress("192.0.2.1", 5)
    assert len({DerpAddress(1, NodeKey.zero()), DerpAddress(1, NodeKey.zero()), DerpAddress(2, NodeKey.zero())}) == 2


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("100.64.0.1", True),
        ("100.127.255.255", True),
        ("100.100.100.100", True),
        ("100.63.255.255", False),
        ("100.128.0.0", False),
        ("10.0.0.1", False),
        ("fd7a:115c:a1e0::1", True),
        ("fd7a:115c:a1e1::1", False),
        ("::1", False),
    ],
)
def test_tailnet_addresses(text: str, inside: bool) -> None:
    assert is_tailnet_address(ip_address(text)) is inside


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]", "192.0.2.1"),
    ],
)
def test_literals_parse(text: str, address: str) -> None:
    assert parse_address(text) == ip_address(address)


@pytest.mark.parametrize("text", ["", "host", "192.0.2", "192.0.2.1:80", "[::1", "::1]", "[]", "1.2.3.4.5", "a:b"])
def test_names_do_not(text: str) -> None:
    assert parse_address(text) is None


def test_ports_parse() -> None:
    assert [parse_port(text) for text in ("0", "80", "0080", "65535")] == [0, 80, 80, 65_535]


@pytest.mark.parametrize("text", ["", "65536", "-1", "+1", " 1", "1.0", "http", "²", "٣", "9" * 5000])
def test_other_texts_are_no_ports(text: str) -> None:
    assert parse_port(text) is None
