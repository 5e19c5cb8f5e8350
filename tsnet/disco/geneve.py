"""Geneve headers, by which a peer relay tells its sessions apart: eight bytes before disco and before WireGuard.

| off | len | field                                                                        |
|-----|-----|------------------------------------------------------------------------------|
| 0   | 1   | version 2 bits, length of options 6 bits: all 0                              |
| 1   | 1   | 0x80: control, a message between a client and the relay itself; else 0       |
| 2   | 2   | protocol: 0x7A11 disco, 0x7A12 WireGuard                                     |
| 4   | 3   | VNI: the number of the session, from 1 on                                    |
| 7   | 1   | 0                                                                            |

    header(DISCO, 5) + datagram ─► on the wire ─► decode -> GeneveHeader(DISCO, 5, is_control=False)

Source: RFC 8926 §3.4; Go net/packet/geneve.go, wgengine/magicsock/magicsock.go packetLooksLike.
Not here: who has which VNI (`peerrelays`).
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

DISCO, WIREGUARD = 0x7A11, 0x7A12
HEADER_SIZE = 8
MAX_VNI = (1 << 24) - 1

_CONTROL = 0x80
_HEADER = Struct(">BBHI")


class GeneveHeader(NamedTuple):
    """is_control: the message is from the relay, or for it, and not from the other client."""

    protocol: int
    vni: int
    is_control: bool


def header(protocol: int, vni: int, *, is_control: bool = False) -> bytes:
    return _HEADER.pack(0, _CONTROL if is_control else 0, protocol, vni << 8)


def decode(datagram: bytes) -> GeneveHeader | None:
    """The header that the datagram begins with; None if that is none of ours."""
    if len(datagram) < HEADER_SIZE or datagram[0]:
        return None
    _version, flags, protocol, number = _HEADER.unpack_from(datagram)
    vni, last = number >> 8, number & 0xFF
    if flags & ~_CONTROL or last or not vni or protocol not in (DISCO, WIREGUARD):
        return None
    return GeneveHeader(protocol, vni, flags == _CONTROL)
