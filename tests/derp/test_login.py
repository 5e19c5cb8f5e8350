"""The login's boxes: golden bytes, both sides, and everything that is not a login."""

from __future__ import annotations

import pytest

from tsnet.base.crypto import box_seal, node_public
from tsnet.base.keys import NodeKey, NodePrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.derp.login import (
    MAGIC,
    ClientInfo,
    ServerInfo,
    decode_server_key,
    encode_server_key,
    open_client_info,
    open_server_info,
    seal_client_info,
    seal_server_info,
)

CLIENT = NodePrivateKey(b"\x11" * 32)
SERVER = NodePrivateKey(b"\x22" * 32)
CLIENT_KEY, SERVER_KEY = node_public(CLIENT), node_public(SERVER)
NONCE = bytes(range(24))

GOLDEN_CLIENT_INFO = bytes.fromhex(
    "7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13"
    "000102030405060708090a0b0c0d0e0f1011121314151617"
    "a858a062bb55fbd0e565bf952225b5e220ae6ff32ce093a7548f0f9efd7331db8b94711fe4546f1ed0d738121d94abe3"
)


def test_server_key_golden() -> None:
    payload = encode_server_key(SERVER_KEY)
    assert payload.hex() == "44455250f09f9491" + SERVER_KEY.hex()
    assert decode_server_key(payload) == SERVER_KEY
    assert decode_server_key(payload + b"of a later version") == SERVER_KEY


@pytest.mark.parametrize("length", range(40))
def test_a_truncated_greeting_is_malformed(length: int) -> None:
    with pytest.raises(MalformedError):
        decode_server_key(encode_server_key(SERVER_KEY)[:length])


@pytest.mark.parametrize("position", range(len(MAGIC)))
def test_a_greeting_with_another_magic_is_malformed(position: int) -> None:
    payload = bytearray(encode_server_key(SERVER_KEY))
    payload[position] ^= 1
    with pytest.raises(MalformedError):
        decode_server_key(bytes(payload))


def test_client_info_golden() -> None:
    assert seal_client_info(CLIENT, SERVER_KEY, NONCE, ClientInfo()) == GOLDEN_CLIENT_INFO
    assert open_client_info(SERVER, GOLDEN_CLIENT_INFO) == (CLIENT_KEY, ClientInfo())


@pytest.mark.parametrize("length", range(len(GOLDEN_CLIENT_INFO)))
def test_a_truncated_client_info_is_malformed(length: int) -> None:
    with pytest.raises(MalformedError):
        open_client_info(SERVER, GOLDEN_CLIENT_INFO[:length])


@pytest.mark.parametrize("position", range(len(GOLDEN_CLIENT_INFO)))
def test_a_client_info_with_a_flipped_bit_is_malformed(position: int) -> None:
    # the top bit of a Curve25519 point does not count: byte 31 is tried at its lowest bit
    flipped = bytearray(GOLDEN_CLIENT_INFO)
    flipped[position] ^= 1
    with pytest.raises(MalformedError):
        open_client_info(SERVER, bytes(flipped))


def test_a_client_info_of_a_key_that_its_sender_does_not_own_is_malformed() -> None:
    stolen = node_public(NodePrivateKey(b"\x33" * 32)) + GOLDEN_CLIENT_INFO[32:]
    with pytest.raises(MalformedError):
        open_client_info(SERVER, stolen)


def test_a_zero_key_is_malformed() -> None:
    with pytest.raises(MalformedError):
        open_client_info(SERVER, bytes(32) + GOLDEN_CLIENT_INFO[32:])


def sealed(text: bytes, *, to_server: bool) -> bytes:
    if to_server:
        return CLIENT_KEY + NONCE + box_seal(CLIENT, SERVER_KEY, NONCE, text)
    return NONCE + box_seal(SERVER, CLIENT_KEY, NONCE, text)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff", b'"x"', b"[" * 100_000])
def test_a_box_without_a_json_object_is_malformed(text: bytes) -> None:
    with pytest.raises(MalformedError):
        open_client_info(SERVER, sealed(text, to_server=True))
    with pytest.raises(MalformedError):
        open_server_info(CLIENT, SERVER_KEY, sealed(text, to_server=False))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"{}", ClientInfo(version=0, can_ack_pings=False)),
        (b'{"version":null,"CanAckPings":null}', ClientInfo(version=0, can_ack_pings=False)),
        (b'{"version":2,"CanAckPings":true,"meshKey":"","IsProber":true,"new":[1]}', ClientInfo()),
        (b'{"version":"two","CanAckPings":1}', ClientInfo(version=0, can_ack_pings=False)),
        (b'{"protocol_version":2,"can_ack_pings":true}', ClientInfo(version=0, can_ack_pings=False)),  # tailscale-rs
    ],
)
def test_other_clients_members_are_read_or_ignored(text: bytes, expected: ClientInfo) -> None:
    assert open_client_info(SERVER, sealed(text, to_server=True)) == (CLIENT_KEY, expected)


@pytest.mark.parametrize("info", [ServerInfo(), ServerInfo(rate=1000, burst=5000)])
def test_server_info_both_ways(info: ServerInfo) -> None:
    assert open_server_info(CLIENT, SERVER_KEY, seal_server_info(SERVER, CLIENT_KEY, NONCE, info)) == info


def test_server_info_without_a_limit_is_gos_one_member() -> None:
    assert seal_server_info(SERVER, CLIENT_KEY, NONCE, ServerInfo()) == sealed(b'{"version":2}', to_server=False)


@pytest.mark.parametrize("text", [b'{"version":2,"TokenBucketBytesPerSecond":-5}', b'{"version":2,"x":null}'])
def test_a_senseless_limit_is_none(text: bytes) -> None:
    assert open_server_info(CLIENT, SERVER_KEY, sealed(text, to_server=False)) == ServerInfo()


def test_a_truncated_or_forged_server_info_is_malformed() -> None:
    payload = seal_server_info(SERVER, CLIENT_KEY, NONCE, ServerInfo())
    for length in range(len(payload)):
        with pytest.raises(MalformedError):
            open_server_info(CLIENT, SERVER_KEY, payload[:length])
    with pytest.raises(MalformedError):
        open_server_info(CLIENT, NodeKey(CLIENT_KEY), payload)
