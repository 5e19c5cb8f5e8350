"""Incoming disco: which messages are answered, and why the others are not believed."""

from __future__ import annotations

import random

import pytest

from tests.disco.fourpeers import (
    BUDGET,
    DISCO,
    KEYS,
    OTHER_UDP,
    OURS,
    UDP,
    A,
    B,
    datagram,
    entropy,
    new_paths,
    node,
    ping,
    set_peers,
    via,
)
from tsnet.base.addresses import DerpAddress, Destination, UdpAddress
from tsnet.base.crypto import disco_public
from tsnet.disco.box import Box
from tsnet.disco.constants import MAX_ANSWERS
from tsnet.disco.messages import CallMeMaybe, Message, Ping, Pong, decode
from tsnet.disco.paths import Paths
from tsnet.netmap.model import Node


def answers(paths: Paths) -> list[tuple[Destination, Message]]:
    opened: list[tuple[Destination, Message]] = []
    for destination, datagrams in paths.transmit(0.0, BUDGET):
        assert isinstance(destination, DerpAddress)
        name = next(name for name, key in KEYS.items() if key == destination.key)
        opened += [(destination, decode(Box(DISCO[name], entropy).open(sealed))) for sealed in datagrams]
    return opened


def test_a_ping_over_derp_is_answered_over_derp_with_the_magic_address() -> None:
    paths = new_paths(node("a"), node("b"))
    paths.receive([(via(900), [ping(1)]), (via(901, B), [ping(2, "b")])], 0.0)
    assert paths.deadline() <= 0.0
    assert answers(paths) == [
        (via(900), Pong(b"\1" * 12, UdpAddress("127.3.3.40", 900))),
        (via(901, B), Pong(b"\2" * 12, UdpAddress("127.3.3.40", 901))),
    ]
    assert paths.deadline() > 0.0
    assert not paths.dropped


def test_a_padded_ping_and_one_without_a_key_are_answered_too() -> None:
    paths = new_paths()
    paths.receive([(via(1), [datagram(Ping(b"1" * 12, A, 1000)), datagram(Ping(b"2" * 12))])], 0.0)
    assert len(answers(paths)) == 2


REFUSED: list[tuple[str, Destination, bytes]] = [
    ("short", via(1), b"TS\xf0\x9f\x92\xac" + bytes(31)),
    ("unknown sender", via(1), ping(1, "d")),
    ("box", via(1), ping(1)[:-1] + b"\0"),
    ("box", via(1), ping(1)[:60]),
    ("malformed", via(1), Box(DISCO["a"], entropy).seal(disco_public(OURS), b"\x7f\0")),
    ("source", UdpAddress("127.0.0.1", 41641), ping(1)),
    ("small", UDP, datagram(Ping(b"1" * 12))),
    ("unknown pong", UDP, datagram(Pong(bytes(12), UDP))),
    ("CallMeMaybe", UDP, datagram(CallMeMaybe((OTHER_UDP,)))),
    ("wrong node", via(1, B), ping(1)),
    ("wrong node", via(1, KEYS["d"]), ping(1)),
    ("Pong", via(1), datagram(Pong(bytes(12), UDP))),
]


@pytest.mark.parametrize(("reason", "source", "sealed"), REFUSED)
def test_everything_else_is_counted_by_its_reason(reason: str, source: Destination, sealed: bytes) -> None:
    paths = new_paths(node("a"), node("b"))
    paths.receive([(source, [sealed])], 0.0)
    assert paths.dropped == {reason: 1}
    assert paths.transmit(0.0, BUDGET) == []


def test_a_strangers_key_costs_no_cryptography() -> None:
    paths = new_paths()
    paths.receive([(via(1), [ping(1, "d")] * 3)], 0.0)
    assert paths.box._shared == {}


def test_the_same_ping_is_answered_once() -> None:
    paths = new_paths()
    paths.receive([(via(1), [ping(1), ping(1), ping(2), ping(2)])], 0.0)
    assert len(answers(paths)) == 2
    assert paths.dropped == {"repeated": 2}


def test_a_flood_of_pings_is_bounded() -> None:
    paths = new_paths()
    paths.receive([(via(1), [ping(number) for number in range(MAX_ANSWERS + 6)])], 0.0)
    assert paths.dropped == {"answers": 6}
    assert len(answers(paths)) == MAX_ANSWERS


def test_the_budget_cuts_between_answers() -> None:
    paths = new_paths()
    paths.receive([(via(1), [ping(number) for number in range(5)])], 0.0)
    size = len(paths.transmit(0.0, 120)[0][1][0])
    assert len(paths.transmit(0.0, 2 * size)) == 2
    assert paths.deadline() <= 0.0
    assert len(paths.transmit(0.0, BUDGET)) == 2
    assert paths.deadline() > 0.0


def test_a_peer_with_a_new_disco_key_is_known_by_that_alone() -> None:
    paths = new_paths()
    replaced = Node(1, "n1", "a", A, disco_key=disco_public(DISCO["c"]), home_region=1)
    set_peers(paths, [replaced], 1.0)
    paths.receive([(via(1), [ping(1)]), (via(1), [datagram(Ping(b"x" * 12), "c")])], 1.0)
    assert paths.dropped == {"unknown sender": 1}


@pytest.mark.parametrize("seed", range(5))
def test_random_and_flipped_datagrams_never_raise(seed: int) -> None:
    rng = random.Random(seed)
    paths = new_paths()
    for _ in range(200):
        sealed = bytearray(ping(1))
        sealed[rng.randrange(len(sealed))] ^= 1 << rng.randrange(8)
        paths.receive([(via(1), [bytes(sealed), rng.randbytes(rng.randrange(200))])], 0.0)
    assert sum(paths.dropped.values()) == 400
