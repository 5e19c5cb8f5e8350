"""The IPv4 header.

    0       4       8               16      19                      31
    | ver   | ihl   | tos           | total length                  |
    | identification                | flags | fragment offset / 8   |
    | ttl           | protocol      | header checksum               |
    | source address                                                |
    | destination address                                           |
    | options, ihl * 4 - 20 bytes                                   |

Sent headers have no options, DF and identification 0 (RFC 6864) unless they belong to a fragment. Received options
are skipped, but a source route is refused.

Source: RFC 791, RFC 1122 §3.2.1.
Not here: reassembly (`netstack.fragments`), who owns the address (`netstack.ip`).
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from netstack.wire import checksum

HEADER_SIZE = 20
DONT_FRAGMENT = 0x4000
MORE_FRAGMENTS = 0x2000
OFFSET_MASK = 0x1FFF
MIN_MTU = 576
"""What every host reassembles; a smaller path MTU is not believed."""

DEFAULT_TTL = 64

_HEADER = Struct("!BBHHHBBH4s4s")
_SOURCE_ROUTES = (131, 137)
_REFUSED_SOURCES = frozenset((0, 127))


class IPv4Header(NamedTuple):
    header_size: int
    total_length: int
    identification: int
    fragment: int
    """Flags and offset as on the wire; 0 or DONT_FRAGMENT for a whole datagram."""
    ttl: int
    protocol: int
    source: bytes
    destination: bytes


def parse(packet: bytes, *, verified: bool = False) -> IPv4Header | str:
    """The header, or the reason why the packet is to be dropped. Padding after the datagram is allowed."""
    if len(packet) < HEADER_SIZE:
        return "ipv4: truncated"
    first, _, total, ident, fragment, ttl, protocol, _, source, destination = _HEADER.unpack_from(packet)
    size = (first & 15) * 4
    if first >> 4 != 4 or size < HEADER_SIZE:
        return "ipv4: bad header length"
    if total < size or total > len(packet):
        return "ipv4: bad total length"
    if not verified and checksum.partial(packet[:size]) % 65535:
        return "ipv4: bad checksum"
    if size > HEADER_SIZE and _is_source_routed(packet[HEADER_SIZE:size]):
        return "ipv4: source route"
    return IPv4Header(size, total, ident, fragment, ttl, protocol, source, destination)


def header(
    source: bytes,
    destination: bytes,
    protocol: int,
    payload_size: int,
    *,
    identification: int = 0,
    fragment: int = DONT_FRAGMENT,
    ttl: int = DEFAULT_TTL,
) -> bytes:
    """20 bytes, checksum included, for a payload of `payload_size` bytes."""
    total = HEADER_SIZE + payload_size
    addresses = int.from_bytes(source, "big") + int.from_bytes(destination, "big")
    words = 0x4500 + total + identification + fragment + (ttl << 8 | protocol) + addresses
    return _HEADER.pack(
        0x45, 0, total, identification, fragment, ttl, protocol, checksum.finish(words), source, destination
    )


def is_martian(source: bytes) -> bool:
    """A source that no packet from a link may have: this network, loopback, multicast, reserved, broadcast."""
    return source[0] in _REFUSED_SOURCES or source[0] >= 224


def _is_source_routed(options: bytes) -> bool:
    at = 0
    while at < len(options):
        kind = options[at]
        if kind == 0:
            return False
        if kind == 1:
            at += 1
            continue
        if kind in _SOURCE_ROUTES:
            return True
        if at + 1 >= len(options) or options[at + 1] < 2:
            return False
        at += options[at + 1]
    return False
