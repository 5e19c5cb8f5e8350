from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import attrs
import pytest

from tsnet.base.addresses import IPAddress
from tsnet.base.keys import NodeKey
from tsnet.netmap.changes import Changes
from tsnet.netmap.model import DnsConfig, DnsRecord, NetMap, Node
from tsnet.netmap.names import Names


def node(number: int, name: str) -> Node:
    addresses = (IPv4Network(f"100.64.0.{number}/32"), IPv6Network(f"fd7a:115c:a1e0::{number:x}/128"))
    return Node(number, f"n{number}", name, NodeKey(bytes([number]) * 32), addresses=addresses)


SHOP, DB, SHARED = node(1, "Shop.tail1.example"), node(2, "db.tail1.example"), node(3, "db.other.example")
RECORDS = (
    DnsRecord("wiki.corp.example", "", "10.0.0.5"),
    DnsRecord("wiki.corp.example", "AAAA", "fd00::5"),
    DnsRecord("text.corp.example", "TXT", "10.0.0.6"),
    DnsRecord("db", "A", "10.0.0.7"),
    DnsRecord("broken", "A", "nonsense"),
)
NAMES = Names(NetMap(SHOP, peers={2: DB, 3: SHARED}, dns=DnsConfig(extra_records=RECORDS)))


def v4(number: int) -> IPv4Address:
    return IPv4Address(f"100.64.0.{number}")


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("db", v4(2)),
        ("DB", v4(2)),
        ("db.tail1.example", v4(2)),
        ("db.tail1.example.", v4(2)),
        ("shop", v4(1)),  # ourselves
        ("db.other.example", v4(3)),  # shared in: by its full name alone
        ("wiki.corp.example", IPv4Address("10.0.0.5")),
    ],
)
def test_names_that_resolve(name: str, first: IPAddress) -> None:
    assert NAMES.resolve(name)[0] == first


@pytest.mark.parametrize("name", ["", ".", "nobody", "db.tail1", "text.corp.example", "broken", "100.64.0.2"])
def test_names_that_do_not(name: str) -> None:
    assert NAMES.resolve(name) == ()


def test_all_addresses_v4_first() -> None:
    assert NAMES.resolve("db") == (v4(2), IPv6Address("fd7a:115c:a1e0::2"))
    assert NAMES.resolve("wiki.corp.example") == (IPv4Address("10.0.0.5"), IPv6Address("fd00::5"))


def test_a_node_is_called_as_short_as_it_resolves() -> None:
    assert [NAMES.name_of(node) for node in (SHOP, DB, SHARED)] == ["shop", "db", "db.other.example"]


def test_a_node_without_a_name_has_addresses_only() -> None:
    names = Names(NetMap(node(1, "")))
    assert names.resolve("") == ()


# --- after a change ---------------------------------------------------------------------------------------------

TAILNET = NetMap(SHOP, peers={2: DB, 3: SHARED})


def after(before: NetMap, netmap: NetMap) -> Names:
    return Names(before).after(Changes.between(before, netmap))


def test_of_peers_with_one_name_the_lowest_id_has_it_and_the_other_when_that_goes() -> None:
    both = attrs.evolve(TAILNET, peers={2: DB, 4: node(4, "db.tail1.example")})
    assert Names(both).resolve("db")[0] == v4(2)
    assert after(both, attrs.evolve(both, peers={4: both.peers[4]})).resolve("db")[0] == v4(4)


def test_our_own_name_is_ours() -> None:
    claimed = attrs.evolve(TAILNET, peers={2: node(2, "shop.tail1.example")})
    assert Names(claimed).resolve("shop")[0] == v4(1)
    moved = attrs.evolve(claimed, self_node=node(1, "other.tail1.example"))
    assert after(claimed, moved).resolve("shop")[0] == v4(2)


def test_another_suffix_of_ours_gives_others_their_short_names() -> None:
    moved = attrs.evolve(TAILNET, self_node=node(1, "shop.other.example"))
    names = after(TAILNET, moved)
    assert (names.resolve("db")[0], names.resolve("db.tail1.example")[0]) == (v4(3), v4(2))


def test_what_changes_no_name_shares_all_of_them() -> None:
    before = Names(TAILNET)
    flipped = attrs.evolve(TAILNET, peers={**TAILNET.peers, 2: attrs.evolve(DB, online=True)})
    assert before.after(Changes.between(TAILNET, flipped))._index is before._index
