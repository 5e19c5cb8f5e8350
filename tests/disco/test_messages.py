"""Disco messages: golden bytes both ways, every truncation, versions and trailing bytes."""

from __future__ import annotations

import contextlib

import attrs
import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import DiscoKey, NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.disco import messages
from tsnet.disco.messages import (
    MAX_ENDPOINTS,
    AllocateUDPRelayEndpointRequest,
    AllocateUDPRelayEndpointResponse,
    BindUDPRelayEndpoint,
    BindUDPRelayEndpointAnswer,
    BindUDPRelayEndpointChallenge,
    CallMeMaybe,
    CallMeMaybeVia,
    Message,
    Ping,
    Pong,
    UDPRelayEndpoint,
    decode,
    decode_endpoint,
    encode_endpoint,
)

TX_ID = bytes(range(1, 13))
NODE_KEY = NodeKey(b"\0\1\2" + bytes(27) + b"\x1e\x1f")
A, B, S = (DiscoKey(bytes([number]) * 32) for number in (1, 2, 3))
V4, V6 = UdpAddress("1.2.3.4", 567), UdpAddress("2001::3456", 789)
V4_HEX, V6_HEX = "00000000000000000000ffff010203040237", "200100000000000000000000000034560315"
RELAY = UDPRelayEndpoint(S, (A, B), 0x0102030405060708, 0x0A0B0C, 30_000_000_000, 300_000_000_000, (V4, V6))
RELAY_HEX = S.hex() + A.hex() + B.hex() + "0102030405060708000a0b0c" + "00000006fc23ac00" + "00000045d964b800"
RELAY_HEX += V4_HEX + V6_HEX
HANDSHAKE = (0x0A0B0C, 9, A, bytes(range(32)))
HANDSHAKE_HEX = "000a0b0c" + "00000009" + A.hex() + bytes(range(32)).hex()

GOLDEN: list[tuple[Message, str]] = [
    (Ping(TX_ID), "0100" + TX_ID.hex()),
    (Ping(TX_ID, NODE_KEY), "0100" + TX_ID.hex() + NODE_KEY.hex()),
    (Ping(TX_ID, NODE_KEY, 3), "0100" + TX_ID.hex() + NODE_KEY.hex() + "000000"),
    (Ping(TX_ID, None, 3), "0100" + TX_ID.hex() + "000000"),
    (Pong(TX_ID, UdpAddress("2.3.4.5", 1234)), "0200" + TX_ID.hex() + "00000000000000000000ffff0203040504d2"),
    (Pong(TX_ID, UdpAddress("fed0::12", 6666)), "0200" + TX_ID.hex() + "fed000000000000000000000000000121a0a"),
    (CallMeMaybe(), "0300"),
    (CallMeMaybe((V4, V6)), "0300" + V4_HEX + V6_HEX),
    (BindUDPRelayEndpoint(*HANDSHAKE), "0400" + HANDSHAKE_HEX),
    (BindUDPRelayEndpointChallenge(*HANDSHAKE), "0500" + HANDSHAKE_HEX),
    (BindUDPRelayEndpointAnswer(*HANDSHAKE), "0600" + HANDSHAKE_HEX),
    (CallMeMaybeVia(RELAY), "0700" + RELAY_HEX),
    (AllocateUDPRelayEndpointRequest((A, B), 7), "0800" + A.hex() + B.hex() + "00000007"),
    (AllocateUDPRelayEndpointResponse(7, RELAY), "0900" + "00000007" + RELAY_HEX),
]
IDS = [f"{type(message).__name__}-{number}" for number, (message, _) in enumerate(GOLDEN)]
SHORTEST = {1: 14, 2: 32, 3: 2, 4: 74, 5: 74, 6: 74, 7: 144, 8: 70, 9: 148}


@pytest.mark.parametrize(("message", "text"), GOLDEN, ids=IDS)
def test_golden_both_ways(message: Message, text: str) -> None:
    assert message.encode().hex() == text
    assert decode(bytes.fromhex(text)) == message
    assert type(decode(bytes.fromhex(text))) is type(message)


@pytest.mark.parametrize(("message", "text"), GOLDEN, ids=IDS)
def test_truncated_anywhere_it_is_malformed_or_a_shorter_message(message: Message, text: str) -> None:
    whole = bytes.fromhex(text)
    for length in range(len(whole)):
        if length < SHORTEST[message.type] or (message.type in (7, 9) and (len(whole) - length) % 18):
            with pytest.raises(MalformedError):
                decode(whole[:length])
        else:
            assert decode(whole[:length]).type == message.type


@pytest.mark.parametrize(("message", "text"), GOLDEN, ids=IDS)
def test_a_flipped_bit_never_raises_anything_else(message: Message, text: str) -> None:
    whole = bytes.fromhex(text)
    for position in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << position % 8
        with contextlib.suppress(MalformedError):
            decode(bytes(flipped)).encode()


@pytest.mark.parametrize(("message", "text"), GOLDEN, ids=IDS)
def test_a_later_version(message: Message, text: str) -> None:
    later = bytearray(bytes.fromhex(text))
    later[1] = 1
    if message.type in (7, 8, 9):
        with pytest.raises(MalformedError):
            decode(bytes(later))
    else:
        assert decode(bytes(later)) == (CallMeMaybe() if message.type == 3 else message)


@pytest.mark.parametrize("kind", [2, 4, 5, 6, 8])
def test_trailing_bytes_are_ignored(kind: int) -> None:
    for message, text in GOLDEN:
        if message.type == kind:
            assert decode(bytes.fromhex(text) + b"later") == message


@pytest.mark.parametrize("plaintext", [b"", b"\1", b"\0\0", b"\x0a\0", b"\xff\0abc"])
def test_no_header_or_an_unknown_type_is_malformed(plaintext: bytes) -> None:
    with pytest.raises(MalformedError):
        decode(plaintext)


@pytest.mark.parametrize("length", [1, 17, 19, 35])
def test_a_list_of_odd_length_is_no_list_and_no_error(length: int) -> None:
    assert decode(b"\3\0" + bytes(length)) == CallMeMaybe()


@pytest.mark.parametrize("endpoint", [V4, V6, UdpAddress("0.0.0.0", 0), UdpAddress("255.255.255.255", 65_535)])
def test_endpoints_both_ways(endpoint: UdpAddress) -> None:
    assert decode_endpoint(encode_endpoint(endpoint)) == endpoint


def test_an_unpadded_ping_is_what_go_sends() -> None:
    assert len(Ping(TX_ID, NODE_KEY).encode()) == 2 + 44


def test_the_table_of_the_docstring_names_the_classes_and_their_types() -> None:
    rows = [line.split("|") for line in (messages.__doc__ or "").splitlines() if line.startswith("| 0x")]
    assert {row[2].strip(): int(row[1], 16) for row in rows} == {
        type(message).__name__: message.type for message, _ in GOLDEN
    }


def test_a_call_of_any_length_is_read_so_far() -> None:
    endpoints = tuple(UdpAddress("192.0.2.1", port) for port in range(1, 3600))
    assert decode(CallMeMaybe(endpoints).encode()) == CallMeMaybe(endpoints[:MAX_ENDPOINTS])
    found = decode(CallMeMaybeVia(attrs.evolve(RELAY, endpoints=endpoints)).encode())
    assert found == CallMeMaybeVia(attrs.evolve(RELAY, endpoints=endpoints[:MAX_ENDPOINTS]))
