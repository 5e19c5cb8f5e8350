"""NAT-PMP: golden bytes both ways, and what is no message."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address

import pytest

from tests.fuzzing import flipped_bits
from tsnet.base.malformed import MalformedError
from tsnet.portmap.natpmp import (
    ADDRESS,
    MAP_UDP,
    PmpAddress,
    PmpMapped,
    PmpRefused,
    PmpReply,
    decode_reply,
    decode_request,
    encode_address_request,
    encode_map_request,
    encode_reply,
)

REPLIES: list[tuple[PmpReply, str]] = [
    (PmpAddress(3, IPv4Address("20.7.0.1")), "00800000 00000003 14070001"),
    (PmpMapped(3, 40_000, 40_000, 7200), "00810000 00000003 9c409c40 00001c20"),  # of miniupnpd
    (PmpRefused(0x01020304, MAP_UDP, 2), "00810002 01020304"),
    (PmpRefused(0, ADDRESS, 3), "00800003 00000000"),
]


@pytest.mark.parametrize(("reply", "golden"), REPLIES)
def test_golden_replies_both_ways(reply: PmpReply, golden: str) -> None:
    assert encode_reply(reply) == bytes.fromhex(golden)
    assert decode_reply(bytes.fromhex(golden)) == reply


def test_golden_requests_both_ways() -> None:
    assert encode_address_request() == b"\0\0"
    assert decode_request(b"\0\0") is None
    golden = bytes.fromhex("00010000 9c40 1770 00001c20")
    assert encode_map_request(40_000, 6000, 7200) == golden
    assert decode_request(golden) == (40_000, 6000, 7200)


@pytest.mark.parametrize("golden", [golden for _reply, golden in REPLIES[:2]])
def test_a_reply_that_is_cut_or_longer_is_malformed(golden: str) -> None:
    whole = bytes.fromhex(golden)
    for datagram in [*(whole[:length] for length in range(len(whole))), whole + b"\0", whole + bytes(2000)]:
        with pytest.raises(MalformedError):
            decode_reply(datagram)


@pytest.mark.parametrize("length", range(8))
def test_a_refusal_needs_its_epoch_and_no_more(length: int) -> None:
    whole = bytes.fromhex(REPLIES[2][1])
    with pytest.raises(MalformedError):
        decode_reply(whole[:length])
    assert decode_reply(whole + bytes(8)) == REPLIES[2][0]


@pytest.mark.parametrize("datagram", [b"\0\0", b"\0\1" + bytes(14), b"\2\x81" + bytes(14), b"\0\x82" + bytes(14)])
def test_what_is_no_reply(datagram: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_reply(datagram)


@pytest.mark.parametrize("datagram", [b"", b"\0", b"\0\1", b"\0\2" + bytes(10), bytes(12), b"\0\1" + bytes(11)])
def test_what_is_no_request(datagram: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_request(datagram)


def test_flipped_bits_never_raise_anything_else() -> None:
    for _reply, golden in REPLIES:
        for flipped in flipped_bits(bytes.fromhex(golden)):
            with contextlib.suppress(MalformedError):
                decode_reply(flipped)


def test_a_refusal_in_words() -> None:
    assert PmpRefused(0, 1, 2).reason == "not authorised"
    assert PmpRefused(0, 1, 77).reason == "result 77"
