"""PCP messages, both ways: ANNOUNCE, which asks whether anybody is there, and MAP.

    request   2 , opcode     , 0 u16      , lifetime u32 , own address 16
    reply     2 , opcode+128 , 0 , result , lifetime u32 , epoch u32 , 0 x 12
    MAP       nonce 12 , protocol (17 UDP) , 0 x 3 , internal port u16 , external port u16 , external address 16

An IPv4 address is written as a v4-mapped one; none is ::ffff:0.0.0.0. A lifetime of 0 deletes. The nonce that made a
mapping is wanted to renew and to delete it, so that nobody else can. Options may follow a MAP and are skipped.

Source: RFC 6887 §7, §11, §14.
Not here: when to ask (`asks`), what a changed epoch means (`epoch`), which addresses count (`external`).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from struct import Struct

import attrs

from tsnet.base.addresses import IPAddress
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record

VERSION = 2
ANNOUNCE, MAP = 0, 1
REPLY = 0x80
UDP = 17
NONCE_SIZE = 12
MAX_SIZE = 1100
"""Bytes of the longest message."""

UNSUPPORTED_VERSION, NOT_AUTHORISED, ADDRESS_MISMATCH = 1, 2, 12
RESULTS = {
    UNSUPPORTED_VERSION: "unsupported version",
    NOT_AUTHORISED: "not authorised",
    3: "malformed request",
    4: "unsupported opcode",
    5: "unsupported option",
    6: "malformed option",
    7: "network failure",
    8: "out of resources",
    9: "unsupported protocol",
    10: "over the quota",
    11: "cannot provide that external address",
    ADDRESS_MISMATCH: "another NAT is in between",
    13: "too many remote peers",
}

NO_ADDRESS = IPv4Address(0)

_REQUEST = Struct(">BBHI16s")
_REPLY = Struct(">BBBBII12x")
_MAP = Struct(">12sB3xHH16s")


@record
class PcpAnnounced:
    epoch: int


@record
class PcpMapped:
    """lifetime: seconds; 0 says that the mapping is deleted."""

    epoch: int
    nonce: bytes = attrs.field(repr=False)
    protocol: int
    internal: int
    external: int
    address: IPAddress
    lifetime: int


@record
class PcpRefused:
    """lifetime: seconds for which the router would say so again. nonce: of the request; empty if it is not in there."""

    epoch: int
    operation: int
    result: int
    lifetime: int
    nonce: bytes = attrs.field(default=b"", repr=False)

    @property
    def reason(self) -> str:
        return RESULTS.get(self.result, f"result {self.result}")


PcpReply = PcpAnnounced | PcpMapped | PcpRefused


@record
class PcpMapRequest:
    """suggested: the external port and address that are wished for; 0 and NO_ADDRESS for any."""

    own: IPAddress
    nonce: bytes = attrs.field(repr=False)
    internal: int
    suggested: int
    suggested_address: IPAddress
    lifetime: int


def encode_announce(own: IPAddress) -> bytes:
    return _REQUEST.pack(VERSION, ANNOUNCE, 0, 0, _mapped(own))


def encode_map_request(request: PcpMapRequest) -> bytes:
    head = _REQUEST.pack(VERSION, MAP, 0, request.lifetime, _mapped(request.own))
    suggested = _mapped(request.suggested_address)
    return head + _MAP.pack(request.nonce, UDP, request.internal, request.suggested, suggested)


def encode_reply(reply: PcpReply) -> bytes:
    """What a router sends."""
    match reply:
        case PcpAnnounced(epoch):
            return _REPLY.pack(VERSION, REPLY | ANNOUNCE, 0, 0, 0, epoch)
        case PcpMapped(epoch, nonce, protocol, internal, external, address, lifetime):
            head = _REPLY.pack(VERSION, REPLY | MAP, 0, 0, lifetime, epoch)
            return head + _MAP.pack(nonce, protocol, internal, external, _mapped(address))
        case PcpRefused(epoch, operation, result, lifetime, nonce):
            head = _REPLY.pack(VERSION, REPLY | operation, 0, result, lifetime, epoch)
            return head + (_MAP.pack(nonce, UDP, 0, 0, bytes(16)) if nonce else b"")


def decode_request(datagram: bytes) -> PcpMapRequest | None:
    """What a router reads; None for an ANNOUNCE."""
    if len(datagram) < _REQUEST.size or datagram[0] != VERSION:
        raise MalformedError("no PCP request")
    _version, operation, _reserved, lifetime, own = _REQUEST.unpack_from(datagram)
    if operation == ANNOUNCE:
        return None
    if operation != MAP or len(datagram) < _REQUEST.size + _MAP.size:
        raise MalformedError("a PCP request of an unknown kind, or cut short")
    nonce, _protocol, internal, suggested, address = _MAP.unpack_from(datagram, _REQUEST.size)
    return PcpMapRequest(_unmapped(own), nonce, internal, suggested, _unmapped(address), lifetime)


def decode_reply(datagram: bytes) -> PcpReply:
    if not _REPLY.size <= len(datagram) <= MAX_SIZE or len(datagram) % 4:
        raise MalformedError("PCP reply of a length that there is not")
    version, operation, _reserved, result, lifetime, epoch = _REPLY.unpack_from(datagram)
    if version != VERSION or not operation & REPLY:
        raise MalformedError("no PCP reply")
    operation &= ~REPLY
    has_map = operation == MAP and len(datagram) >= _REPLY.size + _MAP.size
    nonce, protocol, internal, external, address = _MAP.unpack_from(datagram, _REPLY.size) if has_map else _NO_MAP
    if result:
        return PcpRefused(epoch, operation, result, lifetime, nonce)
    if operation == ANNOUNCE:
        return PcpAnnounced(epoch)
    if has_map:
        return PcpMapped(epoch, nonce, protocol, internal, external, _unmapped(address), lifetime)
    raise MalformedError("PCP reply of an unknown kind, or cut short")


_NO_MAP = (b"", 0, 0, 0, bytes(16))


def _mapped(address: IPAddress) -> bytes:
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def _unmapped(packed: bytes) -> IPAddress:
    address = IPv6Address(packed)
    return address if address.ipv4_mapped is None else address.ipv4_mapped
