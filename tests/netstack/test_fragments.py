"""Reassembly in every order, with overlaps, limits and time."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter

import pytest

from netstack import fragments
from netstack.fragments import Reassembler, cut

KEY = (b"\x0a\0\0\1", b"\x0a\0\0\2", 7, 17)
KEY6 = (bytes(15) + b"\x01", bytes(15) + b"\x02", 7, 17)
PAYLOAD = random.Random(1).randbytes(3000)


def new() -> tuple[Reassembler, Counter[str]]:
    dropped: Counter[str] = Counter()
    return Reassembler(dropped), dropped


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_every_order(order: tuple[int, ...]) -> None:
    reassembler, dropped = new()
    pieces = cut(PAYLOAD, 1000)
    pieces = [*pieces[:3], pieces[3]] if len(pieces) == 4 else pieces
    results = [reassembler.add(KEY, *pieces[index], 0.0) for index in order if index < len(pieces)]
    assert [result for result in results if result is not None] == [PAYLOAD]
    assert results[-1] == PAYLOAD
    assert (len(reassembler), reassembler.bytes_held, dropped) == (0, 0, Counter())


def test_cut_makes_multiples_of_eight_but_the_last() -> None:
    pieces = cut(PAYLOAD, 1001)
    assert [offset for offset, _, _ in pieces] == [0, 1000, 2000]
    assert [more for _, more, _ in pieces] == [True, True, False]
    assert b"".join(piece for _, _, piece in pieces) == PAYLOAD
    assert cut(b"12345678", 8) == [(0, False, b"12345678")]


def test_a_repeated_fragment_does_no_harm() -> None:
    reassembler, _ = new()
    first, second, third = cut(PAYLOAD, 1000)
    for piece in (first, first, third, third, first):
        assert reassembler.add(KEY, *piece, 0.0) is None
    assert reassembler.add(KEY, *second, 0.0) == PAYLOAD


@pytest.mark.parametrize(
    ("offset", "more", "piece"),
    [
        (0, True, b"x" * 1000),  # the same place, other bytes
        (992, True, b"x" * 16),  # across a border
        (8, True, b"x" * 8),  # inside
        (1000, False, b"x" * 8),  # ends before what is here
        (5000, True, b"x" * 8),  # beyond the end
    ],
)
def test_a_contradiction_loses_the_datagram(offset: int, more: bool, piece: bytes) -> None:
    reassembler, dropped = new()
    first, _, third = cut(PAYLOAD, 1000)
    reassembler.add(KEY, *first, 0.0)
    reassembler.add(KEY, *third, 0.0)
    assert reassembler.add(KEY, offset, more, piece, 0.0) is None
    assert dropped == {"fragment: overlap": 1}
    assert (len(reassembler), reassembler.bytes_held) == (0, 0)


@pytest.mark.parametrize(
    ("offset", "more", "piece"), [(0, True, b"x" * 9), (8, True, b""), (65_504, False, b"x" * 12), (8, False, b"")]
)
def test_bad_sizes(offset: int, more: bool, piece: bytes) -> None:
    reassembler, dropped = new()
    assert reassembler.add(KEY, offset, more, piece, 0.0) is None
    assert dropped == {"fragment: bad size": 1}


def test_a_datagram_can_be_as_long_as_its_header_can_say() -> None:
    reassembler, dropped = new()
    assert reassembler.add(KEY, 65_504, False, b"x" * 11, 0.0) is None
    assert reassembler.add(KEY6, 65_528, False, b"x" * 7, 0.0) is None
    assert (len(reassembler), dropped) == (2, Counter())
    assert reassembler.add(KEY6, 65_528, False, b"x" * 8, 0.0) is None
    assert (len(reassembler), dropped) == (1, {"fragment: bad size": 1})


def test_an_atomic_fragment_is_a_datagram_whatever_else_has_its_key() -> None:
    reassembler, _ = new()
    reassembler.add(KEY, 0, True, b"x" * 8, 0.0)
    assert reassembler.add(KEY, 0, False, b"whole", 0.0) == b"whole"
    assert len(reassembler) == 1


def test_keys_do_not_mix() -> None:
    reassembler, _ = new()
    first, second, third = cut(PAYLOAD, 1000)
    for key in (KEY, (*KEY[:2], 8, 17), (*KEY[:3], 6)):
        reassembler.add(key, *first, 0.0)
        reassembler.add(key, *third, 0.0)
    assert reassembler.add(KEY, *second, 0.0) == PAYLOAD
    assert len(reassembler) == 2


def test_time_runs_out() -> None:
    reassembler, dropped = new()
    reassembler.add(KEY, 0, True, b"x" * 8, 100.0)
    reassembler.add((*KEY[:2], 8, 17), 0, True, b"x" * 8, 101.0)
    assert reassembler.deadline() == 100.0 + fragments.TIMEOUT
    reassembler.expire(reassembler.deadline())
    assert dropped == {"fragment: timeout": 1}
    reassembler.expire(200.0)
    assert (len(reassembler), reassembler.bytes_held, reassembler.deadline()) == (0, 0, math.inf)


def test_ipv6_has_a_minute() -> None:
    reassembler, dropped = new()
    reassembler.add(KEY6, 0, True, b"x" * 8, 100.0)
    reassembler.add(KEY, 0, True, b"x" * 8, 120.0)
    assert reassembler.deadline() == 150.0
    reassembler.expire(150.0)
    assert (len(reassembler), reassembler.deadline()) == (1, 160.0)
    reassembler.expire(160.0)
    assert (len(reassembler), dropped) == (0, {"fragment: timeout": 2})


def test_whoever_sent_a_first_fragment_is_to_be_told() -> None:
    reassembler, _ = new()
    other = (*KEY[:2], 8, 17)
    reassembler.add(KEY, 0, True, b"x" * 8, 0.0)
    reassembler.add(KEY, 16, True, b"y" * 8, 0.0)
    reassembler.add(other, 16, True, b"z" * 8, 0.0)
    reassembler.add(KEY6, 0, True, b"v" * 8, 0.0)
    assert reassembler.expire(60.0) == [(KEY, b"x" * 8), (KEY6, b"v" * 8)]


def test_the_oldest_of_either_family_goes_when_memory_is_short() -> None:
    reassembler, _ = new()
    keys = [(*(KEY if number % 2 else KEY6)[:2], number, 17) for number in range(80)]
    for number, key in enumerate(keys):
        reassembler.add(key, 0, True, bytes(60_000), float(number))
    held = [number for number, key in enumerate(keys) if reassembler.add(key, 60_000, False, b"!", 80.0)]
    assert held == list(range(80 - len(held), 80))
    assert len(held) > 60


def test_one_source_has_a_limit() -> None:
    reassembler, dropped = new()
    for identification in range(fragments.MAX_PER_SOURCE + 10):
        reassembler.add((KEY[0], KEY[1], identification, 17), 0, True, b"x" * 8, 0.0)
    reassembler.add((b"\x0a\0\0\3", KEY[1], 1, 17), 0, True, b"x" * 8, 0.0)
    assert len(reassembler) == fragments.MAX_PER_SOURCE + 1
    assert dropped == {"fragment: too many of one source": 10}


def test_one_source_cannot_push_another_ones_fragments_out() -> None:
    reassembler, dropped = new()
    innocent = (b"\x0a\0\0\3", KEY[1], 1, 17)
    reassembler.add(innocent, 0, True, bytes(60_000), 0.0)
    for number in range(fragments.MAX_PER_SOURCE):
        reassembler.add((*KEY[:2], number, 17), 0, True, bytes(64_000), 1.0)
        reassembler.add((*KEY6[:2], number, 17), 0, True, bytes(64_000), 1.0)
    assert dropped["fragment: memory"] > 30
    assert reassembler.bytes_held <= fragments.MAX_BYTES
    assert reassembler.add(innocent, 60_000, False, b"!", 2.0) is not None


def test_one_peer_is_one_whatever_addresses_it_sends_from() -> None:
    """A subnet router or an exit node may send from any."""
    reassembler, dropped = new()
    innocent = (b"\x0a\0\0\3", KEY[1], 1, 17)
    reassembler.add(innocent, 0, True, bytes(60_000), 0.0, "innocent")
    for number in range(600):
        source = bytes((10, 1, *number.to_bytes(2, "big")))
        reassembler.add((source, KEY[1], 1, 17), 0, True, bytes(8000), 1.0, "router")
    assert dropped["fragment: memory"] > 200
    assert reassembler.bytes_held <= fragments.MAX_BYTES * 2 // 3 + 60_200
    assert reassembler.add(innocent, 60_000, False, b"!", 2.0, "innocent") is not None


def test_memory_has_a_limit() -> None:
    reassembler, dropped = new()
    for source in range(200):
        reassembler.add((bytes((10, 0, 0, source)), KEY[1], 1, 17), 0, True, bytes(60_000), 0.0)
        assert reassembler.bytes_held <= fragments.MAX_BYTES
    assert dropped["fragment: memory"] > 100


def test_many_tiny_pieces_have_a_limit() -> None:
    reassembler, dropped = new()
    for index in range(fragments.MAX_PIECES + 1):
        reassembler.add(KEY, index * 16, True, b"x" * 8, 0.0)
    assert dropped == {"fragment: overlap": 1}


def test_random_fragments_never_raise_and_leave_nothing() -> None:
    chance = random.Random(4)
    reassembler, _ = new()
    for step in range(5000):
        key = (bytes((10, 0, 0, chance.randrange(4))), KEY[1], chance.randrange(6), 17)
        piece = bytes(chance.choice([0, 1, 8, 16, 1000]))
        reassembler.add(key, chance.randrange(0, 4000, 8), chance.random() < 0.8, piece, step / 100)
        reassembler.expire(step / 100)
    reassembler.expire(1e9)
    assert (len(reassembler), reassembler.bytes_held) == (0, 0)
