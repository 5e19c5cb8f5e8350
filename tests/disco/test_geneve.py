"""Geneve headers: golden bytes both ways, every shorter one, and every bit that makes one none of ours."""

from __future__ import annotations

import pytest

from tsnet.disco import geneve
from tsnet.disco.geneve import DISCO, HEADER_SIZE, MAX_VNI, WIREGUARD, GeneveHeader, decode, header

GOLDEN = [
    (GeneveHeader(DISCO, 1, True), "0080 7a11 000001 00"),
    (GeneveHeader(DISCO, 0x010203, False), "0000 7a11 010203 00"),
    (GeneveHeader(WIREGUARD, MAX_VNI, False), "0000 7a12 ffffff 00"),
]


@pytest.mark.parametrize(("value", "text"), GOLDEN)
def test_golden_bytes(value: GeneveHeader, text: str) -> None:
    raw = bytes.fromhex(text)
    assert header(value.protocol, value.vni, is_control=value.is_control) == raw
    assert decode(raw) == value
    assert decode(raw + b"more") == value


@pytest.mark.parametrize("size", range(HEADER_SIZE))
def test_a_shorter_one_is_none(size: int) -> None:
    assert decode(header(WIREGUARD, 5)[:size]) is None


@pytest.mark.parametrize("bit", range(8 * HEADER_SIZE))
def test_a_flipped_bit_is_another_session_or_no_header(bit: int) -> None:
    raw = bytearray(header(WIREGUARD, 0x808080))
    raw[bit // 8] ^= 128 >> bit % 8
    found, byte = decode(bytes(raw)), bit // 8
    if byte in (4, 5, 6):
        assert found is not None
        assert found.vni != 0x808080
    elif bit == 8:
        assert found == GeneveHeader(WIREGUARD, 0x808080, True)
    else:
        assert found is None


def test_there_is_no_session_0_and_no_other_protocol() -> None:
    assert decode(header(DISCO, 0)) is None
    assert decode(header(0x6558, 1)) is None


def test_whole_headers_are_of_the_size_that_is_said() -> None:
    assert len(header(geneve.DISCO, 1)) == HEADER_SIZE
