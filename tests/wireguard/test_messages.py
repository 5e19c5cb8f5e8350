"""The messages against bytes computed elsewhere, both ways, and every way to cut them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.wireguard import vectors
from tsnet.base.malformed import MalformedError
from tsnet.wireguard.messages import (
    TRANSPORT_OVERHEAD,
    CookieReply,
    Initiation,
    Response,
    message_type,
    transport_prefix,
)

INITIATION = Initiation(
    sender=0x01020304,
    ephemeral=vectors.INITIATION[8:40],
    static=vectors.INITIATION[40:88],
    timestamp=vectors.INITIATION[88:116],
)
RESPONSE = Response(
    sender=0x05060708,
    receiver=0x01020304,
    ephemeral=vectors.RESPONSE[12:44],
    empty=vectors.RESPONSE[44:60],
)
COOKIE_BYTES = bytes.fromhex("0300000004030201") + bytes(range(24)) + bytes(range(32))
COOKIE = CookieReply(receiver=0x01020304, nonce=bytes(range(24)), cookie=bytes(range(32)))

MESSAGES: list[tuple[type[Any], Any, bytes, int]] = [
    (Initiation, INITIATION, vectors.INITIATION, 116),
    (Response, RESPONSE, vectors.RESPONSE, 60),
    (CookieReply, COOKIE, COOKIE_BYTES, 64),
]
each_message = pytest.mark.parametrize(
    ("kind", "message", "datagram", "encoded"), MESSAGES, ids=lambda value: getattr(value, "__name__", "")
)


@each_message
def test_decode(kind: type[Any], message: Any, datagram: bytes, encoded: int) -> None:
    assert kind.decode(datagram) == message


@each_message
def test_encode_up_to_mac1(kind: type[Any], message: Any, datagram: bytes, encoded: int) -> None:
    assert message.encode() == datagram[:encoded]


@each_message
def test_every_other_length_is_malformed(kind: type[Any], message: Any, datagram: bytes, encoded: int) -> None:
    for length in (*range(len(datagram)), len(datagram) + 1):
        with pytest.raises(MalformedError):
            kind.decode(datagram.ljust(length, b"\0")[:length])


@each_message
def test_type_and_reserved_bytes_are_checked(kind: type[Any], message: Any, datagram: bytes, encoded: int) -> None:
    for bit in range(32):
        broken = bytearray(datagram)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MalformedError):
            kind.decode(bytes(broken))


@pytest.mark.parametrize(
    ("datagram", "kind"),
    [
        (b"", 0),
        (b"\4\0\0", 0),
        (b"\4\0\0\0", 4),
        (b"\1\0\0\0rest", 1),
        (b"\1\1\0\0", 0x101),
        (b"\0\0\0\4", 0x0400_0000),
    ],
)
def test_message_type(datagram: bytes, kind: int) -> None:
    assert message_type(datagram) == kind


def test_transport_prefix() -> None:
    assert transport_prefix(0x05060708) == vectors.KEEPALIVE[:8]
    assert len(vectors.KEEPALIVE) == TRANSPORT_OVERHEAD
