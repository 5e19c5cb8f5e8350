"""A capture file of what a stack sent and received: pcapng, link type RAW, readable by Wireshark and scapy.

    Section Header | Interface Description, one for each side | Enhanced Packet, …

Blocks are `type, length, body padded to 4, length`, little-endian. Times are microseconds.

Source: draft-ietf-opsawg-pcapng §3-4; https://www.tcpdump.org/linktypes.html (101, LINKTYPE_RAW).
"""

from __future__ import annotations

from struct import Struct

LINKTYPE_RAW = 101

_BLOCK = Struct("<II")
_SECTION = Struct("<IHHq")
_INTERFACE = Struct("<HHI")
_PACKET = Struct("<IIIII")
_OPTION = Struct("<HH")
_LENGTH = Struct("<I")
_COMMENT, _NAME = 1, 2


class PcapngWriter:
    """Turns packets into the bytes of a capture file; where those go is the caller's affair."""

    def __init__(self, *interfaces: str) -> None:
        self._header = _block(0x0A0D0D0A, _SECTION.pack(0x1A2B3C4D, 1, 0, -1))
        for name in interfaces or ("netstack",):
            body = _INTERFACE.pack(LINKTYPE_RAW, 0, 0) + _option(_NAME, name) + _END
            self._header += _block(1, body)

    def header(self) -> bytes:
        """What the file begins with."""
        return self._header

    def packet(self, packet: bytes, at: float, *, interface: int = 0, comment: str = "") -> bytes:
        """One packet, seen at time `at` on the interface of that number."""
        micros = max(int(at * 1_000_000), 0)
        body = _PACKET.pack(interface, micros >> 32 & 0xFFFF_FFFF, micros & 0xFFFF_FFFF, len(packet), len(packet))
        body += _padded(packet)
        if comment:
            body += _option(_COMMENT, comment) + _END
        return _block(6, body)


_END = _OPTION.pack(0, 0)


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return _BLOCK.pack(kind, length) + body + _LENGTH.pack(length)


def _option(code: int, text: str) -> bytes:
    value = text.encode()
    return _OPTION.pack(code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
