"""STUN: golden bytes, what a server answers, what a client believes."""

from __future__ import annotations

import contextlib
from zlib import crc32

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.malformed import MalformedError
from tsnet.disco.box import looks_like_disco
from tsnet.netcheck.stun import COOKIE, decode_request, decode_response, encode_request, encode_response, is_stun

TX_ID = bytes(range(1, 13))
REQUEST = bytes.fromhex("000100142112a4420102030405060708090a0b0c802200087461696c6e6f646580280004b32c370f")
RESPONSE = bytes.fromhex("0101000c2112a4420102030405060708090a0b0c00200008000183bbea12d54b")
SOURCE = UdpAddress("203.0.113.9", 41_641)


def response(*attributes: bytes) -> bytes:
    body = b"".join(attributes)
    return b"\1\1" + len(body).to_bytes(2, "big") + COOKIE + TX_ID + body


def attribute(kind: int, value: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)


def request(*attributes: bytes, fingerprint: bool = True) -> bytes:
    body = b"".join(attributes)
    before = b"\0\1" + (len(body) + 8).to_bytes(2, "big") + COOKIE + TX_ID + body
    return before + attribute(0x8028, (crc32(before) ^ 0x5354554E).to_bytes(4, "big")) if fingerprint else before


def test_golden_request_both_ways() -> None:
    assert encode_request(TX_ID) == REQUEST
    assert decode_request(REQUEST) == TX_ID


def test_golden_response_both_ways() -> None:
    assert encode_response(TX_ID, SOURCE) == RESPONSE
    assert decode_response(RESPONSE) == (TX_ID, SOURCE)


def test_v6_response_both_ways() -> None:
    source = UdpAddress("2001:db8::1:2:3", 1)
    datagram = encode_response(TX_ID, source)
    assert (len(datagram), datagram[2:4]) == (44, b"\0\x18")
    assert decode_response(datagram) == (TX_ID, source)


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        (REQUEST, True),
        (RESPONSE, True),
        (REQUEST[:20], True),
        (REQUEST[:19], False),
        (b"", False),
        (b"\x40" + REQUEST[1:], False),
        (b"\x3f" + REQUEST[1:], True),
        (REQUEST[:4] + b"\0" + REQUEST[5:], False),
        (b"\1\0\0\0" + bytes(144), False),  # a WireGuard initiation
    ],
)
def test_what_looks_like_stun(datagram: bytes, expected: bool) -> None:
    assert is_stun(datagram) is expected
    assert not looks_like_disco(datagram)


@pytest.mark.parametrize("length", range(len(REQUEST)))
def test_a_truncated_request_is_malformed(length: int) -> None:
    with pytest.raises(MalformedError):
        decode_request(REQUEST[:length])


@pytest.mark.parametrize("position", range(len(REQUEST)))
def test_a_request_with_a_flipped_bit_is_malformed(position: int) -> None:
    flipped = bytearray(REQUEST)
    flipped[position] ^= 1
    with pytest.raises(MalformedError):
        decode_request(bytes(flipped))


@pytest.mark.parametrize(
    "datagram",
    [
        RESPONSE,
        request(),
        request(attribute(0x8022, b"other")),
        request(attribute(0x8022, b"tailnode"), fingerprint=False),
        REQUEST + attribute(0x8022, b"tailnode"),
    ],
)
def test_a_stranger_gets_no_answer(datagram: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_request(datagram)


def test_a_request_with_more_attributes_is_answered() -> None:
    assert decode_request(request(attribute(0x1234, b"odd"), attribute(0x8022, b"tailnode"))) == TX_ID


@pytest.mark.parametrize("length", range(len(RESPONSE)))
def test_a_truncated_response_is_malformed(length: int) -> None:
    with pytest.raises(MalformedError):
        decode_response(RESPONSE[:length])


def test_flipped_bits_of_a_response_never_raise_anything_else() -> None:
    for position in range(len(RESPONSE) * 8):
        flipped = bytearray(RESPONSE)
        flipped[position // 8] ^= 1 << position % 8
        with contextlib.suppress(MalformedError):
            decode_response(bytes(flipped))


PLAIN = attribute(0x0001, b"\0\1\x04\xd2\1\2\3\4")
XORED = RESPONSE[20:]


@pytest.mark.parametrize(
    ("datagram", "source"),
    [
        (response(PLAIN), UdpAddress("1.2.3.4", 1234)),
        (response(PLAIN, XORED), SOURCE),
        (response(XORED, PLAIN), SOURCE),
        (response(b"\x80" + XORED[1:]), SOURCE),
        (response(attribute(0x8022, b"odd"), XORED), SOURCE),
        (response(XORED) + b"trailing", SOURCE),
        (response(attribute(1, b"\0\2\0\1" + bytes(10) + b"\xff\xff\1\2\3\4")), UdpAddress("1.2.3.4", 1)),
    ],
)
def test_which_address_of_a_response_counts(datagram: bytes, source: UdpAddress) -> None:
    assert decode_response(datagram) == (TX_ID, source)


@pytest.mark.parametrize(
    "datagram",
    [
        REQUEST,
        response(),
        response(attribute(0x0020, b"")),
        response(attribute(0x0020, b"\0\3\0\1\1\2\3\4")),
        response(attribute(0x0020, b"\0\2\0\1\1\2\3\4")),
        response(XORED)[:-4] + b"\0\0",
        response(b"\0\x20\0"),
    ],
)
def test_a_response_without_a_whole_address_is_malformed(datagram: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_response(datagram)
