"""PCP: golden bytes both ways, and what is no message."""

from __future__ import annotations

import contextlib
from ipaddress import ip_address

import pytest

from tests.fuzzing import flipped_bits
from tsnet.base.malformed import MalformedError
from tsnet.portmap.pcp import (
    ADDRESS_MISMATCH,
    ANNOUNCE,
    MAP,
    MAX_SIZE,
    NO_ADDRESS,
    UDP,
    PcpAnnounced,
    PcpMapped,
    PcpMapRequest,
    PcpRefused,
    PcpReply,
    decode_reply,
    decode_request,
    encode_announce,
    encode_map_request,
    encode_reply,
)

OWN = ip_address("192.168.7.20")
NONCE = bytes.fromhex("074790920a465337034 6b8b2".replace(" ", ""))
OUTSIDE = ip_address("20.7.0.1")

ANNOUNCED = "02800000 00000000 00000003 000000000000000000000000"
MAPPED = (
    "02810000 00001c20 00000003 000000000000000000000000"
    "074790920a4653370346b8b2 11 000000 9c41 9c41 00000000000000000000ffff14070001"
)
REPLIES: list[tuple[PcpReply, str]] = [
    (PcpAnnounced(3), ANNOUNCED),
    (PcpMapped(3, NONCE, UDP, 40_001, 40_001, OUTSIDE, 7200), MAPPED),  # both of miniupnpd
    (
        PcpRefused(3, MAP, ADDRESS_MISMATCH, 1800, NONCE),
        "0281000c 00000708 00000003 000000000000000000000000"
        "074790920a4653370346b8b2 11 000000 0000 0000 00000000000000000000000000000000",
    ),
    (PcpRefused(3, ANNOUNCE, 2, 0), "02800002 00000000 00000003 000000000000000000000000"),
]


@pytest.mark.parametrize(("reply", "golden"), REPLIES)
def test_golden_replies_both_ways(reply: PcpReply, golden: str) -> None:
    assert encode_reply(reply) == bytes.fromhex(golden)
    assert decode_reply(bytes.fromhex(golden)) == reply


def test_golden_requests_both_ways() -> None:
    announce = bytes.fromhex("02000000 00000000 00000000000000000000ffffc0a80714")
    assert encode_announce(OWN) == announce
    assert decode_request(announce) is None
    request = PcpMapRequest(OWN, NONCE, 40_001, 0, NO_ADDRESS, 7200)
    golden = bytes.fromhex(
        "02010000 00001c20 00000000000000000000ffffc0a80714"
        "074790920a4653370346b8b2 11 000000 9c41 0000 00000000000000000000ffff00000000"
    )
    assert encode_map_request(request) == golden
    assert decode_request(golden) == request


@pytest.mark.parametrize("length", range(60))
def test_a_reply_that_is_cut_is_malformed(length: int) -> None:
    with pytest.raises(MalformedError):
        decode_reply(bytes.fromhex(MAPPED)[:length])


@pytest.mark.parametrize("length", range(60))
def test_a_request_that_is_cut_is_malformed(length: int) -> None:
    request = encode_map_request(PcpMapRequest(OWN, NONCE, 1, 2, NO_ADDRESS, 3))
    with pytest.raises(MalformedError):
        decode_request(request[:length])


def test_options_behind_a_map_are_skipped() -> None:
    assert decode_reply(bytes.fromhex(MAPPED) + bytes(12)) == REPLIES[1][0]
    assert decode_reply(bytes.fromhex(MAPPED) + bytes(MAX_SIZE - 60)) == REPLIES[1][0]


@pytest.mark.parametrize(
    "datagram",
    [
        bytes.fromhex(MAPPED) + bytes(MAX_SIZE - 56),
        bytes.fromhex(MAPPED) + b"\0",
        encode_announce(OWN),
        b"\0" + bytes.fromhex(MAPPED)[1:],
        b"\2\x82" + bytes(58),
        b"\2\x81" + bytes(22),
    ],
)
def test_what_is_no_reply(datagram: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_reply(datagram)


def test_flipped_bits_never_raise_anything_else() -> None:
    for _reply, golden in REPLIES:
        for flipped in flipped_bits(bytes.fromhex(golden)):
            with contextlib.suppress(MalformedError):
                decode_reply(flipped)


def test_a_v6_address_stays_one() -> None:
    address = ip_address("2001:db8::5")
    reply = PcpMapped(1, NONCE, UDP, 2, 3, address, 4)
    assert decode_reply(encode_reply(reply)) == reply


def test_the_nonce_is_not_shown() -> None:
    assert NONCE.hex() not in repr(REPLIES[1][0])
    assert "nonce" not in repr(PcpMapRequest(OWN, NONCE, 1, 2, NO_ADDRESS, 3))


def test_a_refusal_in_words() -> None:
    assert PcpRefused(0, MAP, 2, 0).reason == "not authorised"
    assert PcpRefused(0, MAP, 99, 0).reason == "result 99"
