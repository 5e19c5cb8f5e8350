"""Errors of the stack as errors of the library, and when nothing may be opened. With names and netmaps: test_node."""

from __future__ import annotations

import random
from ipaddress import ip_address
from typing import Any

import pytest

from tests.engine.pair import apply, netmap, node, secret
from tsnet.base.keys import DiscoPrivateKey, NodePrivateKey
from tsnet.engine.engine import Engine
from tsnet.engine.socketcalls import MAX_FOUND, SocketCalls
from tsnet.errors import AddressNotAvailable, KeyExpired, NotOnTailnet, NotUp
from tsnet.netmap.names import Names

ONE, OTHER = ip_address("100.64.0.1"), ip_address("100.64.0.2")


@pytest.fixture
def calls() -> SocketCalls:
    entropy = random.Random(1).randbytes
    engine = Engine(
        NodePrivateKey(secret("node")),
        DiscoPrivateKey(secret("disco")),
        entropy=entropy,
        now=0.0,
        wall_offset=1e9,
        timestamp_mark=None,
    )
    apply(engine, netmap(node(1, "a"), node(2, "b")), 0.0)
    return SocketCalls(engine, entropy)


def uses(some: SocketCalls) -> list[Any]:
    return [
        lambda: some.resolve("b"),
        lambda: some.connect(OTHER, 80, 0.0),
        lambda: some.listen(80, None),
        lambda: some.open_udp(80, None),
        lambda: some.open_ping(OTHER),
    ]


def test_nothing_before_there_are_names_and_nothing_while_it_is_refused(calls: SocketCalls) -> None:
    for use in uses(calls):
        with pytest.raises(NotUp):
            use()
    calls.names = Names(netmap(node(1, "a"), node(2, "b")))
    calls.refusal = KeyExpired("it has expired")
    for use in uses(calls):
        with pytest.raises(KeyExpired):
            use()
    calls.refusal = None
    for use in uses(calls):
        use()


def test_an_address_of_another_family_cannot_be_reached(calls: SocketCalls) -> None:
    calls.names = Names(netmap(node(1, "a")))
    calls._engine.stack.set_addresses([ONE], 0.0)
    with pytest.raises(AddressNotAvailable, match="IPv6"):
        calls.address_towards(ip_address("fd7a::2"))
    with pytest.raises(AddressNotAvailable):
        calls.connect(ip_address("fd7a::2"), 80, 0.0)


def test_each_ping_has_data_of_its_own(calls: SocketCalls) -> None:
    assert len({calls.ping_data() for _ in range(9)}) == 9
    assert len(calls.ping_data()) == 8


def test_a_name_is_looked_up_anew_in_each_netmap(calls: SocketCalls) -> None:
    calls.names = Names(netmap(node(1, "a"), node(2, "b"), node(3, "c")))
    assert [str(calls.resolve("b")), str(calls.resolve("b"))] == ["100.64.0.2"] * 2
    calls.names = Names(netmap(node(1, "a"), node(2, "c"), node(3, "b")))
    assert str(calls.resolve("b")) == "100.64.0.3"


def test_names_that_nobody_has_do_not_pile_up(calls: SocketCalls) -> None:
    calls.names = Names(netmap(node(1, "a"), node(2, "b")))
    for number in range(10 * MAX_FOUND):
        with pytest.raises(NotOnTailnet):
            calls.resolve(f"nobody-{number}")
    assert len(calls._found) <= MAX_FOUND
    assert str(calls.resolve("b")) == "100.64.0.2"
