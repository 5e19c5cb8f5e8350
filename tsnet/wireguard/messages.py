"""The four messages, bytes <-> fields. All integers are little-endian; bytes 1-3 are zero.

| type | message     | bytes | offset: field size (of sealed ones: plain + tag)                                      |
|------|-------------|-------|---------------------------------------------------------------------------------------|
| 1    | Initiation  | 148   | 4: sender 8: ephemeral 32 40: static 32+16 88: timestamp 12+16 116: mac1 132: mac2    |
| 2    | Response    | 92    | 4: sender 8: receiver 12: ephemeral 32 44: empty 0+16 60: mac1 76: mac2               |
| 3    | CookieReply | 64    | 4: receiver 8: nonce 24 32: cookie 16+16                                              |
| 4    | transport   | >= 32 | 4: receiver 8: counter u64 16: packet n+16                                            |

`encode` of a handshake message stops before mac1: the MACs cover what precedes them and are put on, and checked,
by `cookie`. Transport messages have no class: `session` reads and writes them a run at a time.

Source: WireGuard §5.4.
"""

from __future__ import annotations

from struct import Struct
from typing import Self

from tsnet.base.malformed import MalformedError
from tsnet.base.records import record

INITIATION, RESPONSE, COOKIE_REPLY, TRANSPORT = 1, 2, 3, 4

MAC_SIZE = 16
INITIATION_SIZE = 148
RESPONSE_SIZE = 92
COOKIE_REPLY_SIZE = 64
TRANSPORT_HEADER_SIZE = 16
TRANSPORT_OVERHEAD = 32
"""Header and tag: also the size of a keepalive, the smallest transport message."""

_INITIATION = Struct("<II32s48s28s")
_RESPONSE = Struct("<III32s16s")
_COOKIE_REPLY = Struct("<II24s32s")
_TRANSPORT_PREFIX = Struct("<II")
_TYPE = Struct("<I")


@record
class Initiation:
    sender: int
    ephemeral: bytes
    static: bytes
    timestamp: bytes

    def encode(self) -> bytes:
        """The 116 bytes before mac1."""
        return _INITIATION.pack(INITIATION, self.sender, self.ephemeral, self.static, self.timestamp)

    @classmethod
    def decode(cls, datagram: bytes) -> Self:
        _expect(datagram, INITIATION, INITIATION_SIZE)
        _, *fields = _INITIATION.unpack_from(datagram)
        return cls(*fields)


@record
class Response:
    sender: int
    receiver: int
    ephemeral: bytes
    empty: bytes

    def encode(self) -> bytes:
        """The 60 bytes before mac1."""
        return _RESPONSE.pack(RESPONSE, self.sender, self.receiver, self.ephemeral, self.empty)

    @classmethod
    def decode(cls, datagram: bytes) -> Self:
        _expect(datagram, RESPONSE, RESPONSE_SIZE)
        _, *fields = _RESPONSE.unpack_from(datagram)
        return cls(*fields)


@record
class CookieReply:
    receiver: int
    nonce: bytes
    cookie: bytes

    def encode(self) -> bytes:
        return _COOKIE_REPLY.pack(COOKIE_REPLY, self.receiver, self.nonce, self.cookie)

    @classmethod
    def decode(cls, datagram: bytes) -> Self:
        _expect(datagram, COOKIE_REPLY, COOKIE_REPLY_SIZE)
        _, *fields = _COOKIE_REPLY.unpack(datagram)
        return cls(*fields)


def message_type(datagram: bytes) -> int:
    """The first four bytes as one number: reserved bytes that are not zero make an unknown type; 0 if short."""
    return int(_TYPE.unpack_from(datagram)[0]) if len(datagram) >= _TYPE.size else 0


def transport_prefix(receiver: int) -> bytes:
    """The first eight bytes of every transport message to that index: the key of the session table."""
    return _TRANSPORT_PREFIX.pack(TRANSPORT, receiver)


def _expect(datagram: bytes, kind: int, size: int) -> None:
    if len(datagram) != size:
        raise MalformedError(f"message of type {kind} has {len(datagram)} bytes, not {size}")
    if message_type(datagram) != kind:
        raise MalformedError(f"message is not of type {kind}")
