"""Senders: which nodes have a disco key, by whose word, and whose datagrams are opened."""

from __future__ import annotations

import random

import pytest

from tsnet.base.crypto import disco_public
from tsnet.base.keys import DiscoKey, DiscoPrivateKey, NodeKey
from tsnet.disco.box import Box
from tsnet.disco.messages import Ping
from tsnet.disco.senders import Senders

OURS, THEIRS = DiscoPrivateKey(b"\1" * 32), DiscoPrivateKey(b"\2" * 32)
KEY, NEW = disco_public(THEIRS), DiscoKey(b"n" * 32)
A, B, C = (NodeKey(bytes([number]) * 32) for number in (10, 11, 12))


def entropy(size: int) -> bytes:
    return bytes(size)


def senders() -> Senders:
    return Senders(Box(OURS, entropy))


def test_a_node_has_the_key_that_control_says() -> None:
    known = senders()
    assert known.control_says(A, KEY)
    assert not known.control_says(A, KEY)
    assert (known.get(A), known.nodes(KEY), list(known)) == (KEY, (A,), [KEY])
    assert known.control_says(A, NEW)
    assert (known.nodes(KEY), known.nodes(NEW)) == ((), (A,))
    assert known.control_says(A, None)
    assert (known.get(A), list(known)) == (None, [])


def test_the_peers_own_word_holds_until_control_names_another_key_than_before() -> None:
    known = senders()
    known.control_says(A, KEY)
    assert known.peer_says(A, NEW)
    assert not known.peer_says(A, NEW)
    assert not known.control_says(A, KEY)  # something else about the node has changed
    assert known.get(A) == NEW
    assert not known.control_says(A, NEW)
    assert not known.control_says(A, NEW)
    assert known.control_says(A, KEY)
    assert known.get(A) == KEY


def test_a_peer_that_takes_its_word_back() -> None:
    known = senders()
    known.control_says(A, KEY)
    known.peer_says(A, NEW)
    assert known.peer_says(A, KEY)
    assert known.control_says(A, NEW)


def test_a_peer_that_control_names_no_key_of() -> None:
    known = senders()
    assert not known.control_says(A, None)
    assert known.peer_says(A, NEW)
    assert not known.control_says(A, None)
    assert known.get(A) == NEW
    known.forget(A)
    assert (known.get(A), known._controls, list(known)) == (None, {}, [])


def test_a_ping_of_a_key_that_several_have_is_of_the_node_that_it_names() -> None:
    known = senders()
    for node in (A, B):
        known.control_says(node, KEY)
    assert known.nodes(KEY) == (A, B)
    assert [known.resolve(KEY, claimed) for claimed in (A, B, C, None)] == [A, B, None, None]
    known.forget(A)
    assert [known.resolve(KEY, claimed) for claimed in (A, B, C, None)] == [B, B, B, B]
    assert known.resolve(NEW, A) is None


def test_a_stranger_costs_no_cryptography_and_one_who_has_left_is_forgotten() -> None:
    known = senders()
    datagram = Box(THEIRS, entropy).seal(disco_public(OURS), Ping(bytes(12)).encode())
    assert known.open(datagram) == "unknown sender"
    assert not known.box._shared
    known.control_says(A, KEY)
    assert known.open(datagram) == (KEY, Ping(bytes(12)))
    assert known.open(datagram[:-1] + b"x") == "box"
    assert known.open(datagram[:37]) == "short"
    assert known.open(Box(THEIRS, entropy).seal(disco_public(OURS), b"\x7f\0")) == "malformed"
    known.forget(A)
    assert not known.box._shared


@pytest.mark.parametrize("seed", range(5))
def test_both_directions_say_the_same(seed: int) -> None:
    chance, known = random.Random(seed), senders()
    nodes, keys = [A, B, C], [KEY, NEW, DiscoKey(b"o" * 32)]
    for _ in range(300):
        node = chance.choice(nodes)
        match chance.randrange(3):
            case 0:
                known.control_says(node, chance.choice([*keys, None]))
            case 1:
                known.peer_says(node, chance.choice(keys))
            case _:
                known.forget(node)
        assert {key: set(known.nodes(key)) for key in known} == {
            key: {node for node in nodes if known.get(node) == key} for key in keys if key in map(known.get, nodes)
        }
