"""STUN binding: "what address do I have?", asked and answered, by Tailscale's rules.

    request    00 01 | length 20      | cookie | TxID 12 | SOFTWARE "tailnode" | FINGERPRINT
    response   01 01 | length 12 / 24 | cookie | TxID 12 | XOR-MAPPED-ADDRESS
    attribute  type u16 | length u16 | value, padded to 4

| type           | attribute          | value                                                          |
|----------------|--------------------|----------------------------------------------------------------|
| 0x0001         | MAPPED-ADDRESS     | 0, family (1 v4, 2 v6), port, address                          |
| 0x0020, 0x8020 | XOR-MAPPED-ADDRESS | the same, port and address XOR cookie (then TxID)              |
| 0x8022         | SOFTWARE           | "tailnode": a server answers nobody else, or it were a reflector |
| 0x8028         | FINGERPRINT        | CRC-32 of all before it, XOR 0x5354554e; the last attribute    |

Source: RFC 8489; Go net/stun/stun.go, net/stunserver/stunserver.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from struct import Struct
from zlib import crc32

from tsnet.base.addresses import UdpAddress
from tsnet.base.malformed import MalformedError

COOKIE = b"\x21\x12\xa4\x42"
HEADER_SIZE = 20
TX_ID_SIZE = 12

_REQUEST, _RESPONSE = b"\x00\x01", b"\x01\x01"
_MAPPED_ADDRESS, _XOR_MAPPED_ADDRESS, _XOR_MAPPED_ADDRESS_ALT = 0x0001, 0x0020, 0x8020
_SOFTWARE, _FINGERPRINT = 0x8022, 0x8028
_TAILNODE = b"tailnode"
_FINGERPRINT_XOR = 0x5354554E
_ADDRESS_SIZES = {1: 4, 2: 16}

_ATTRIBUTE = Struct(">HH")


def is_stun(datagram: bytes) -> bool:
    """Whether it belongs here: no WireGuard or disco datagram looks like this."""
    return len(datagram) >= HEADER_SIZE and datagram[0] < 0x40 and datagram[4:8] == COOKIE


def encode_request(tx_id: bytes) -> bytes:
    software = _ATTRIBUTE.pack(_SOFTWARE, len(_TAILNODE)) + _TAILNODE
    before = _REQUEST + (len(software) + 8).to_bytes(2, "big") + COOKIE + tx_id + software
    return before + _ATTRIBUTE.pack(_FINGERPRINT, 4) + _fingerprint(before)


def encode_response(tx_id: bytes, source: UdpAddress) -> bytes:
    """source: where the request came from, v4-mapped v6 unmapped already."""
    address = ip_address(source.host).packed
    port = source.port.to_bytes(2, "big")
    value = bytes([0, 1 if len(address) == 4 else 2]) + _xor(port, COOKIE) + _xor(address, COOKIE + tx_id)
    attribute = _ATTRIBUTE.pack(_XOR_MAPPED_ADDRESS, len(value)) + value
    return _RESPONSE + len(attribute).to_bytes(2, "big") + COOKIE + tx_id + attribute


def decode_request(datagram: bytes) -> bytes:
    """The TxID of a Tailscale node's binding request; anything else is malformed and not answered."""
    if not is_stun(datagram) or datagram[:2] != _REQUEST:
        raise MalformedError("no STUN binding request")
    attributes = list(_attributes(datagram[HEADER_SIZE:]))
    if (_SOFTWARE, _TAILNODE) not in attributes:
        raise MalformedError("a STUN request of somebody else's software")
    if attributes[-1] != (_FINGERPRINT, _fingerprint(datagram[:-8])):
        raise MalformedError("a STUN request without a right fingerprint at its end")
    return datagram[8:HEADER_SIZE]


def decode_response(datagram: bytes) -> tuple[bytes, UdpAddress]:
    """The TxID and our address as the server sees it. XOR-MAPPED-ADDRESS counts, else MAPPED-ADDRESS."""
    if not is_stun(datagram) or datagram[:2] != _RESPONSE:
        raise MalformedError("no STUN success response")
    tx_id = datagram[8:HEADER_SIZE]
    length = int.from_bytes(datagram[2:4], "big")
    if HEADER_SIZE + length > len(datagram):
        raise MalformedError("STUN response cut short")
    mapped = plain = None
    for kind, value in _attributes(datagram[HEADER_SIZE : HEADER_SIZE + length]):
        if kind in (_XOR_MAPPED_ADDRESS, _XOR_MAPPED_ADDRESS_ALT):
            mapped = _address(value, COOKIE + tx_id)
        elif kind == _MAPPED_ADDRESS:
            plain = _address(value, bytes(16))
    found = mapped or plain
    if found is None:
        raise MalformedError("STUN response without an address")
    return tx_id, found


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start < len(data):
        if start + _ATTRIBUTE.size > len(data):
            raise MalformedError("STUN attribute cut short")
        kind, length = _ATTRIBUTE.unpack_from(data, start)
        start += _ATTRIBUTE.size
        end = start + (length + 3 & ~3)
        if end > len(data):
            raise MalformedError("STUN attribute cut short")
        yield kind, data[start : start + length]
        start = end


def _address(value: bytes, mask: bytes) -> UdpAddress:
    size = _ADDRESS_SIZES.get(value[1], 0) if len(value) >= 4 else 0
    if not size or len(value) < 4 + size:
        raise MalformedError("STUN address of an unknown family, or cut short")
    port = int.from_bytes(_xor(value[2:4], mask), "big")
    address = ip_address(_xor(value[4 : 4 + size], mask))
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return UdpAddress(str(address), port)


def _fingerprint(before: bytes) -> bytes:
    return (crc32(before) ^ _FINGERPRINT_XOR).to_bytes(4, "big")


def _xor(data: bytes, mask: bytes) -> bytes:
    return bytes(byte ^ other for byte, other in zip(data, mask, strict=False))
