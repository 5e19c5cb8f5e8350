"""The IPv6 header, and the walk over its extension headers.

    0       4               12                      24              31
    | ver   | traffic class | flow label                            |
    | payload length                | next header   | hop limit     |
    | source address, 16 bytes                                      |
    | destination address, 16 bytes                                 |

    Hop-by-Hop (0, first only), Destination Options (60)     | next | length in 8 bytes, minus 1 | options |
        an option's two highest bits say what becomes of it, if it is unknown: 00 is passed over
    Routing (43)          passed over when no segments are left; type 0 is refused (RFC 5095)
    Fragment (44)         | next | 0 | offset / 8, 13 bits, 00, M | identification |
    No Next Header (59)   dropped without a word

At most eight extension headers are walked.

Source: RFC 8200 §3-4.
Not here: reassembly (`netstack.fragments`), who owns the address (`netstack.ip`).
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

HEADER_SIZE = 40
FRAGMENT_HEADER_SIZE = 8
MIN_MTU = 1280
HOP_BY_HOP, ROUTING, FRAGMENT, NO_NEXT_HEADER, DESTINATION_OPTIONS = 0, 43, 44, 59, 60
MAX_EXTENSIONS = 8
DEFAULT_HOP_LIMIT = 64

_HEADER = Struct("!IHBB16s16s")
_FRAGMENT = Struct("!BxHI")
_LOOPBACK = bytes(15) + b"\x01"


class IPv6Header(NamedTuple):
    header_size: int
    """Of the fixed header and all extension headers that were walked: where the payload begins."""
    total_length: int
    protocol: int
    """What follows at `header_size`."""
    hop_limit: int
    source: bytes
    destination: bytes
    fragment: tuple[int, bool, int, int] | None
    """Of a fragment: (offset in bytes, more follow, identification, where its next-header byte rests)."""
    option: int = 0
    """Where an unknown option is that may not be passed over. The walk ended there."""


def parse(packet: bytes) -> IPv6Header | str:
    """The headers, or the reason why the packet is to be dropped. Padding after the packet is allowed.

    The walk ends at a fragment header: what lies behind it is known only once reassembled.
    """
    if len(packet) < HEADER_SIZE:
        return "ipv6: truncated"
    first, length, following, hop_limit, source, destination = _HEADER.unpack_from(packet)
    end = HEADER_SIZE + length
    if first >> 28 != 6:
        return "ipv6: bad version"
    if end > len(packet):
        return "ipv6: bad payload length"
    at = HEADER_SIZE
    pointer = 6  # where the number of the header at `at` was read
    for _ in range(MAX_EXTENSIONS + 1):
        if following not in (HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS, FRAGMENT):
            if following == NO_NEXT_HEADER:
                return "ipv6: no next header"
            return IPv6Header(at, end, following, hop_limit, source, destination, None)
        if at + 8 > end:
            return "ipv6: truncated extension header"
        if following == FRAGMENT:
            following, offset, identification = _FRAGMENT.unpack_from(packet, at)
            if following == HOP_BY_HOP:  # reassembled, it would look as if it were in its place
                return "ipv6: misplaced hop-by-hop header"
            fragment = (offset & 0xFFF8, bool(offset & 1), identification, pointer)
            return IPv6Header(at + 8, end, following, hop_limit, source, destination, fragment)
        if following == HOP_BY_HOP and at != HEADER_SIZE:
            return "ipv6: misplaced hop-by-hop header"
        if following == ROUTING and (packet[at + 2] == 0 or packet[at + 3]):
            return "ipv6: routing header"
        pointer, kind = at, following
        following, at = packet[at], at + 8 + packet[at + 1] * 8
        if at > end:
            return "ipv6: truncated extension header"
        option = 0 if kind == ROUTING else _unknown_option(packet, pointer + 2, at)
        if option:
            return IPv6Header(at, end, following, hop_limit, source, destination, None, option)
    return "ipv6: too many extension headers"


def _unknown_option(packet: bytes, at: int, stop: int) -> int:
    """The first option in [at, stop) that may not be passed over; 0 if there is none. Known is only padding."""
    while at < stop:
        if packet[at] >> 6:
            return at
        at += 1 if not packet[at] or at + 1 == stop else 2 + packet[at + 1]
    return 0


def header(
    source: bytes, destination: bytes, protocol: int, payload_size: int, *, hop_limit: int = DEFAULT_HOP_LIMIT
) -> bytes:
    """40 bytes for a payload of `payload_size` bytes."""
    return _HEADER.pack(0x6000_0000, payload_size, protocol, hop_limit, source, destination)


def fragment_header(protocol: int, offset: int, *, more: bool, identification: int) -> bytes:
    return _FRAGMENT.pack(protocol, offset | more, identification)


def is_martian(source: bytes) -> bool:
    """A source that no packet from a link may have: unspecified, loopback, multicast."""
    return source[0] == 0xFF or source == _LOOPBACK or not any(source)
