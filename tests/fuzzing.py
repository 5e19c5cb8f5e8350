"""Hostile input from a seed: bytes that were valid once, and JSON documents that a program might almost have sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from copy import deepcopy as copy
from random import Random
from typing import Any

ROUNDS = 2_000

HOSTILE: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1 << 31,
    1 << 63,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "*",
    "\0",
    "\r\nX: y",
    "\ud800",
    "9" * 5_000,
    "1.2.3.4:" + "9" * 5_000,
    "0001-01-01T00:00:00Z",
    "9999-99-99T99:99:99.999999999999+99:99",
    "0.0.0.0/0",
    "::/0",
    "fe80::1%eth0",
    "[::1%1]:1",
    "nodekey:" + "0" * 64,
    "nodekey:" + "f" * 64,
    "http://[",
    [],
    {},
    [[]],
    [None],
    [1, "x", {}, []],
    {"": None},
    {"12": 1, "x": 2, "-0": 3, "٣": 4},
)


def mutated(sample: bytes, chance: Random) -> bytes:
    """One sample, damaged in one to three places."""
    data = bytearray(sample)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(7):
            case 0:
                del data[at:]
            case 1:
                data[at:at] = chance.randbytes(chance.randint(1, 40))
            case 2:
                del data[at : at + chance.randint(1, 40)]
            case 3:
                data[at : at + 4] = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\1\0"))
            case 4:
                data += data[at:]
            case _:
                if data:
                    data[at % len(data)] ^= 1 << chance.randrange(8)
    return bytes(data)


def bad_bytes(samples: Sequence[bytes], seed: int, rounds: int = ROUNDS) -> Iterator[bytes]:
    """Nine in ten grown from a sample, the others noise."""
    chance = Random(seed)
    for _ in range(rounds):
        if chance.randrange(10):
            yield mutated(chance.choice(samples), chance)
        else:
            yield chance.randbytes(chance.choice((0, 1, 7, 32, 148, 1500)))


def flipped_bits(sample: bytes) -> Iterator[bytes]:
    """The sample with one bit flipped, each in turn."""
    for position in range(len(sample) * 8):
        flipped = bytearray(sample)
        flipped[position // 8] ^= 1 << position % 8
        yield bytes(flipped)


def bad_documents(sample: dict[str, Any], seed: int, rounds: int = ROUNDS) -> Iterator[bytes]:
    """The sample as JSON, one to four of its values replaced by what nobody expects there."""
    chance = Random(seed)
    text = json.dumps(sample)
    for _ in range(rounds):
        document = json.loads(text)
        for _ in range(chance.randint(1, 4)):
            places = list(_places(document))
            holder, at = chance.choice(places)
            holder[at] = deep(chance.randint(2, 900)) if chance.randrange(40) == 0 else copy(chance.choice(HOSTILE))
        yield json.dumps(document).encode()


def deep(levels: int) -> Any:
    """Lists in lists."""
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for at, member in members:
        yield value, at
        if not (isinstance(member, list) and len(member) == 1 and isinstance(member[0], list)):
            yield from _places(member)
