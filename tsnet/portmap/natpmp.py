"""NAT-PMP messages, both ways.

| message         | bytes                                                                                            |
|-----------------|--------------------------------------------------------------------------------------------------|
| address request | 0 , 0                                                                                            |
| address reply   | 0 , 128 , result u16 , epoch u32 , IPv4                                                          |
| map request     | 0 , 1 (UDP) , 0 u16 , internal port u16 , suggested external port u16 , lifetime u32             |
| map reply       | 0 , 129 , result u16 , epoch u32 , internal port u16 , external port u16 , lifetime u32          |

A lifetime of 0 deletes the mapping of that internal port. The epoch is the seconds since the router began to keep its
table. In a reply whose result is not 0, what follows the epoch may be missing.

Source: RFC 6886 §3.
Not here: when to ask (`asks`), what a changed epoch means (`epoch`), which addresses count (`external`).
"""

from __future__ import annotations

from ipaddress import IPv4Address
from struct import Struct

from tsnet.base.malformed import MalformedError
from tsnet.base.records import record

PORT = 5351
VERSION = 0
ADDRESS, MAP_UDP = 0, 1
REPLY = 0x80

UNSUPPORTED_VERSION = 1
"""A router that speaks NAT-PMP alone says this to PCP, in a NAT-PMP reply."""

RESULTS = {
    UNSUPPORTED_VERSION: "unsupported version",
    2: "not authorised",
    3: "network failure",
    4: "out of resources",
    5: "unsupported opcode",
}

_HEAD = Struct(">BBHI")
_MAP_REQUEST = Struct(">BBHHHI")
_MAP_REPLY = Struct(">BBHIHHI")


@record
class PmpAddress:
    epoch: int
    address: IPv4Address


@record
class PmpMapped:
    """lifetime: seconds; 0 says that the mapping is deleted."""

    epoch: int
    internal: int
    external: int
    lifetime: int


@record
class PmpRefused:
    """operation: ADDRESS or MAP_UDP, or whatever else the router says that it was asked."""

    epoch: int
    operation: int
    result: int

    @property
    def reason(self) -> str:
        return RESULTS.get(self.result, f"result {self.result}")


PmpReply = PmpAddress | PmpMapped | PmpRefused


def encode_address_request() -> bytes:
    return bytes([VERSION, ADDRESS])


def encode_map_request(internal: int, suggested: int, lifetime: int) -> bytes:
    return _MAP_REQUEST.pack(VERSION, MAP_UDP, 0, internal, suggested, lifetime)


def encode_reply(reply: PmpReply) -> bytes:
    """What a router sends."""
    match reply:
        case PmpAddress(epoch, address):
            return _HEAD.pack(VERSION, REPLY | ADDRESS, 0, epoch) + address.packed
        case PmpMapped(epoch, internal, external, lifetime):
            return _MAP_REPLY.pack(VERSION, REPLY | MAP_UDP, 0, epoch, internal, external, lifetime)
        case PmpRefused(epoch, operation, result):
            return _HEAD.pack(VERSION, REPLY | operation, result, epoch)


def decode_request(datagram: bytes) -> tuple[int, int, int] | None:
    """What a router reads: internal port, suggested external port and lifetime; None if the address is asked for."""
    if len(datagram) == 2 and datagram == encode_address_request():
        return None
    if len(datagram) != _MAP_REQUEST.size or datagram[:2] != bytes([VERSION, MAP_UDP]):
        raise MalformedError("no NAT-PMP request")
    _version, _operation, _reserved, internal, suggested, lifetime = _MAP_REQUEST.unpack(datagram)
    return internal, suggested, lifetime


def decode_reply(datagram: bytes) -> PmpReply:
    if len(datagram) < _HEAD.size:
        raise MalformedError("NAT-PMP reply cut short")
    version, operation, result, epoch = _HEAD.unpack_from(datagram)
    if version != VERSION or not operation & REPLY:
        raise MalformedError("no NAT-PMP reply")
    operation &= ~REPLY
    if result:
        return PmpRefused(epoch, operation, result)
    if operation == ADDRESS and len(datagram) == _HEAD.size + 4:
        return PmpAddress(epoch, IPv4Address(datagram[_HEAD.size :]))
    if operation == MAP_UDP and len(datagram) == _MAP_REPLY.size:
        return PmpMapped(epoch, *_MAP_REPLY.unpack(datagram)[4:])
    raise MalformedError("NAT-PMP reply of an unknown kind, or of a wrong length")
