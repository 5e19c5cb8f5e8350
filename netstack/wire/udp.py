"""The UDP header: source port, destination port, length, checksum; 16 bits each.

The checksum covers a pseudo-header (addresses, protocol, length). In IPv4 zero means none was made; in IPv6 zero
is not allowed.

Source: RFC 768, RFC 8200 §8.1.
"""

from __future__ import annotations

from struct import Struct

from netstack.wire import checksum

HEADER_SIZE = 8
PROTOCOL = 17

_HEADER = Struct("!HHHH")


def parse(
    source: bytes, destination: bytes, datagram: bytes, *, verified: bool = False
) -> tuple[int, int, bytes] | str:
    """(source port, destination port, payload), or the reason why the datagram is to be dropped."""
    if len(datagram) < HEADER_SIZE:
        return "udp: truncated"
    source_port, destination_port, length, given = _HEADER.unpack_from(datagram)
    if length < HEADER_SIZE or length > len(datagram):
        return "udp: bad length"
    if not destination_port:
        return "udp: port zero"
    if not given and len(source) == 16:
        return "udp: no checksum"
    if given and not verified:
        pseudo = int.from_bytes(source, "big") + int.from_bytes(destination, "big") + PROTOCOL + length
        if (pseudo + checksum.partial(datagram[:length])) % 65535:
            return "udp: bad checksum"
    return source_port, destination_port, datagram[HEADER_SIZE:length]


def build(source: bytes, source_port: int, destination: bytes, destination_port: int, payload: bytes) -> bytes:
    """Header and payload, to go behind an IP header."""
    length = HEADER_SIZE + len(payload)
    total = int.from_bytes(source, "big") + int.from_bytes(destination, "big") + PROTOCOL + length
    total += source_port + destination_port + length + checksum.partial(payload)
    return _HEADER.pack(source_port, destination_port, length, checksum.finish_udp(total)) + payload
