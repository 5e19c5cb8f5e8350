"""The checksum against a loop that anyone can check, and numpy's against ours."""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest

from netstack.wire import checksum


def slow(data: bytes) -> int:
    """RFC 1071 §4.1, word by word."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@pytest.mark.parametrize("size", [0, 1, 2, 3, 19, 20, 63, 64, 65, 127, 1239, 1240, 2047, 2048, 2049, 8860, 65_535])
def test_agrees_with_the_loop(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert checksum.finish(checksum.partial(data)) == slow(data)


@pytest.mark.parametrize("data", [b"\xff\xff", b"\xff\xff" * 1000, b"\xff\xfe\x00\x01", b"\x00\x01\xff\xfe", b"\0\0"])
def test_the_two_zeros(data: bytes) -> None:
    assert checksum.finish(checksum.partial(data)) == slow(data)


def test_the_example_of_rfc_1071() -> None:
    assert checksum.finish(checksum.partial(bytes.fromhex("0001f203f4f5f6f7"))) == 0x220D


def test_what_carries_its_checksum_sums_to_zero() -> None:
    for seed in range(200):
        data = random.Random(seed).randbytes(20)
        whole = data + checksum.finish(checksum.partial(data)).to_bytes(2, "big")
        assert checksum.partial(whole) % 65535 == 0


def test_udp_never_sends_zero() -> None:
    assert checksum.finish(65535) == 0
    assert checksum.finish_udp(65535) == 65535
    assert checksum.finish_udp(1) == 65534


def test_without_numpy_there_are_no_sums_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    assert checksum.sums(bytes(10_000), 1000) is None


@pytest.mark.parametrize("size", [1000, 1228, 1208, 8868, 4])
def test_numpy_agrees(size: int) -> None:
    pytest.importorskip("numpy")
    data = random.Random(size).randbytes(7 * size + 3)
    found: Any = checksum.sums(data, size)
    assert found is not None
    assert len(found) == 7
    for index, total in enumerate(found):
        assert total % 65535 == checksum.partial(data[index * size : (index + 1) * size]) % 65535


def test_numpy_is_left_alone_where_it_is_no_faster() -> None:
    pytest.importorskip("numpy")
    assert checksum.sums(bytes(4000), 1002) is None
    assert checksum.sums(bytes(3000), 1000) is None


@pytest.mark.parametrize("size", [2, 4, 216, 1208, 1228, 8868])
def test_a_folded_number_keeps_its_remainder_and_loses_its_length(size: int) -> None:
    for data in (random.Random(size).randbytes(size), b"\xff" * size, bytes(size)):
        total = int.from_bytes(data, "big")
        steps = iter(checksum.folds(size))
        for shift, mask in zip(steps, steps, strict=True):
            total = (total >> shift) + (total & mask)
        assert total % 65535 == checksum.partial(data) % 65535
        assert total.bit_length() <= size + 32
