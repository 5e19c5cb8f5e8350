"""Routes against its slow, obvious twin."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from tsnet.base.addresses import IPPrefix
from tsnet.netmap.routes import Routes


class Twin:
    """All prefixes in a list, the longest that contains the address wins."""

    def __init__(self, entries: list[tuple[IPPrefix, int]]) -> None:
        self.entries = dict(entries)

    def lookup(self, address: bytes) -> int | None:
        ip = ip_address(address)
        around = [prefix for prefix in self.entries if prefix.version == ip.version and ip in prefix]
        return self.entries[max(around, key=lambda prefix: prefix.prefixlen)] if around else None


def packed(text: str) -> bytes:
    return ip_address(text).packed


def table(*entries: str) -> Routes[str]:
    return Routes((ip_network(entry), entry) for entry in entries)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("100.64.0.1", "100.64.0.1/32"),
        ("100.64.0.2", "100.64.0.0/10"),
        ("10.1.2.3", "10.1.0.0/16"),
        ("10.2.2.3", "10.0.0.0/8"),
        ("8.8.8.8", None),
        ("fd7a:115c:a1e0::1", "fd7a:115c:a1e0::1/128"),
        ("fd7a:115c:a1e0::2", "fd7a:115c:a1e0::/48"),
        ("2001:db8::1", "::/0"),
    ],
)
def test_the_longest_prefix_wins(address: str, expected: str | None) -> None:
    v4 = ("100.64.0.1/32", "100.64.0.0/10", "10.0.0.0/8", "10.1.0.0/16")
    v6 = ("fd7a:115c:a1e0::1/128", "fd7a:115c:a1e0::/48", "::/0")
    routes = table(*v4, *v6)
    assert routes.lookup(packed(address)) == expected


def test_the_families_do_not_meet() -> None:
    assert table("0.0.0.0/0").lookup(packed("::1")) is None
    assert table("::/0").lookup(packed("1.2.3.4")) is None


def test_an_empty_table_and_odd_lengths_know_nothing() -> None:
    assert Routes[str]().lookup(packed("1.2.3.4")) is None
    routes = table("0.0.0.0/0", "::/0")
    assert [routes.lookup(bytes(size)) for size in (0, 3, 5, 15, 17)] == [None] * 5


def test_of_equal_prefixes_the_last_wins() -> None:
    prefix = ip_network("10.0.0.0/8")
    assert Routes([(prefix, "first"), (prefix, "last")]).lookup(packed("10.0.0.1")) == "last"


def test_it_counts_its_prefixes() -> None:
    assert len(table("10.0.0.0/8", "::/0", "1.1.1.1/32")) == 3
    assert repr(table("10.0.0.0/8")) == "<Routes of 1 prefixes>"


@pytest.mark.parametrize("seed", range(20))
def test_the_twin_agrees(seed: int) -> None:
    rng = random.Random(seed)
    entries = [(random_prefix(rng), number) for number in range(1, rng.randrange(2, 60))]
    routes, twin = Routes(entries), Twin(entries)
    for _ in range(200):
        address = near(rng, rng.choice(entries)[0])
        assert routes.lookup(address) == twin.lookup(address)


@pytest.mark.parametrize("seed", range(10))
def test_a_table_that_changes_is_like_one_made_anew(seed: int) -> None:
    rng = random.Random(seed)
    routes, entries = Routes[int](), dict[IPPrefix, int]()
    for step in range(1, 200):
        prefix = random_prefix(rng)
        if rng.random() < 0.6:
            routes.insert(prefix, step)
            entries[prefix] = step
        else:
            gone = rng.choice([prefix, *entries])
            routes.delete(gone)
            entries.pop(gone, None)
    assert routes == Routes(entries.items())
    assert routes != Routes([(ip_network("0.0.0.0/0"), -1)])
    for prefix in list(entries):
        routes.delete(prefix)
    assert routes == Routes()
    assert len(routes) == 0


def random_prefix(rng: random.Random) -> IPPrefix:
    """Crowded on purpose: few first bytes, so that prefixes nest."""
    if rng.random() < 0.5:
        number = rng.choice([0x0A, 0x64]) << 24 | rng.getrandbits(24) & 0x0301_0303
        return ip_network((number, rng.randrange(33)), strict=False)
    number = 0xFD7A << 112 | rng.getrandbits(112) & (0x3 << 100 | 0x3 << 60 | 0x3)
    return ip_network((number.to_bytes(16, "big"), rng.randrange(129)), strict=False)


def near(rng: random.Random, prefix: IPPrefix) -> bytes:
    """An address in the prefix, or one bit beside it."""
    host = rng.getrandbits(prefix.max_prefixlen - prefix.prefixlen) if prefix.prefixlen < prefix.max_prefixlen else 0
    number = int(prefix.network_address) | host
    if rng.random() < 0.3:
        number ^= 1 << rng.randrange(prefix.max_prefixlen)
    return (IPv4Address(number) if prefix.version == 4 else IPv6Address(number)).packed
