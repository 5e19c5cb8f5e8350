"""rtnetlink, as much of it as a node needs: which links, addresses and default routes this machine has.

    message    length u32 | type u16 | flags u16 | sequence u32 | port u32 | body | attributes
    attribute  length u16 | type u16 | value, padded to 4

| message       | body                                                    | attributes read                           |
|---------------|---------------------------------------------------------|-------------------------------------------|
| NEWLINK   16  | family u8, u8, type u16, index i32, flags u32, mask u32 | IFNAME, CARRIER_CHANGES                   |
| NEWADDR   20  | family u8, prefix u8, flags u8, scope u8, index u32     | ADDRESS, LOCAL, FLAGS                     |
| NEWROUTE  24  | family, destination's and source's length, tos, table,  | OIF, GATEWAY, PRIORITY, PREFSRC,          |
|               | protocol, scope, type: u8 each; flags u32               | MULTIPATH, TABLE, VIA                     |

The kernel is trusted to tell the truth, but no read depends on it: what is cut short is left out.

Source: Linux rtnetlink(7), netlink(7), include/uapi/linux/{netlink,rtnetlink,if_link,if_addr}.h.
Not here: what is made of it (`netmon`), the messages about changes (`netwatch`).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from tsnet.base.addresses import IPAddress

NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26

_ERROR, _DONE = 2, 3
_REQUEST, _DUMP = 0x1, 0x300
_DUMP_INTERRUPTED = 0x10
_SOL_NETLINK, _GET_STRICT_CHK = 270, 12

ANSWER_WITHIN = 1.0
"""Seconds. Linux answers at once; something that only looks like it may never do so, and is given up."""

READ_SIZE = 65_536
MAX_READS = 32
"""Of one dump: some 20,000 routes. What lies beyond is not looked at."""

ADDRESS_UNUSABLE = 0x08 | 0x20 | 0x40
"""A duplicate; deprecated, but what has begun there goes on; not yet checked for duplicates."""

LINK_UP, LINK_RUNNING = 0x1, 0x40
ROUTE_DEAD = 0x01 | 0x10  # the link is down, or has no carrier
MAIN_TABLE, UNICAST = 254, 1

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BBHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEXT_HOP = struct.Struct("=HBBi")
_ATTRIBUTE = struct.Struct("=HH")

_IFLA_IFNAME, _IFLA_CARRIER_CHANGES = 3, 35
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA = 4, 5, 6, 7, 9, 15, 18


class LinkState(NamedTuple):
    """One network interface. carrier_changes: how often its carrier has come or gone."""

    number: int
    name: str
    flags: int
    carrier_changes: int = 0

    @property
    def is_up(self) -> bool:
        return bool(self.flags & LINK_UP)

    @property
    def carries(self) -> bool:
        """Whether it is up, and has a carrier."""
        return self.flags & (LINK_UP | LINK_RUNNING) == LINK_UP | LINK_RUNNING


class LinkAddress(NamedTuple):
    """One address of an interface. is_usable: whether something new may begin there."""

    link: int
    address: IPAddress
    prefix_length: int
    is_usable: bool


class Route(NamedTuple):
    """One route of the main table to somewhere. via: the router, None for none. source: our address, if it says so."""

    link: int
    destination_length: int
    via: IPAddress | None
    metric: int
    source: IPAddress | None
    is_dead: bool


# --- asking -----------------------------------------------------------------------------------------------------


def open_netlink(groups: int = 0) -> socket.socket:
    """Raises OSError where there is no rtnetlink, or it is not permitted."""
    if sys.platform != "linux":
        raise OSError("only Linux has rtnetlink")
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        with contextlib.suppress(OSError):  # an old kernel then tells all tables, and all is looked at
            sock.setsockopt(_SOL_NETLINK, _GET_STRICT_CHK, 1)
        sock.settimeout(ANSWER_WITHIN)
        sock.bind((0, groups))
    except OSError:
        sock.close()
        raise
    return sock


def dump_addresses(sock: socket.socket) -> Iterator[bytes]:
    return ask(sock, GETADDR, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0), _DUMP)


def dump_routes(sock: socket.socket, family: int) -> Iterator[bytes]:
    return ask(sock, GETROUTE, _ROUTE.pack(family, 0, 0, 0, MAIN_TABLE, 0, 0, 0, 0), _DUMP)


def ask_link(sock: socket.socket, index: int) -> Iterator[bytes]:
    return ask(sock, GETLINK, _LINK.pack(socket.AF_UNSPEC, 0, 0, index, 0, 0), 0)


def ask(sock: socket.socket, kind: int, body: bytes, flags: int) -> Iterator[bytes]:
    """The kernel's answer, read by read. Raises TimeoutError, an OSError, if none comes."""
    sock.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, 1, 0) + body)
    for _ in range(MAX_READS):
        data = sock.recv(READ_SIZE)
        yield data
        if not flags or not data or any(kind in (_DONE, _ERROR) for kind, _ in messages(data)):
            return


# --- the bytes --------------------------------------------------------------------------------------------------


def parse_link(body: bytes) -> LinkState | None:
    if len(body) < _LINK.size:
        return None
    _, _, _, index, flags, _ = _LINK.unpack_from(body)
    attributes = dict(attributes_of(body[_LINK.size :]))
    name = attributes.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode("utf-8", "replace")
    return LinkState(index, name, flags, _number(attributes.get(_IFLA_CARRIER_CHANGES)))


def parse_address(body: bytes) -> LinkAddress | None:
    if len(body) < _ADDRESS.size:
        return None
    _, length, flags, _, index = _ADDRESS.unpack_from(body)
    attributes = dict(attributes_of(body[_ADDRESS.size :]))
    flags = int.from_bytes(attributes.get(_IFA_FLAGS, bytes([flags])), sys.byteorder)
    address = _ip(attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS))
    return None if address is None else LinkAddress(index, address, length, not flags & ADDRESS_UNUSABLE)


def parse_route(body: bytes) -> Route | None:
    """None if it is none of the main table, or leads nowhere (a blackhole)."""
    if len(body) < _ROUTE.size:
        return None
    _, length, _, _, table, _, _, kind, flags = _ROUTE.unpack_from(body)
    attributes = dict(attributes_of(body[_ROUTE.size :]))
    table = _number(attributes.get(_RTA_TABLE)) or table
    metric, source = _number(attributes.get(_RTA_PRIORITY)), _ip(attributes.get(_RTA_PREFSRC))
    if _RTA_OIF not in attributes and len(hops := attributes.get(_RTA_MULTIPATH, b"")) >= _NEXT_HOP.size:
        size, hop_flags, _, index = _NEXT_HOP.unpack_from(hops)  # the first of several routers stands for all
        attributes |= dict(attributes_of(hops[_NEXT_HOP.size : size]))
        flags |= hop_flags
    else:
        index = _number(attributes.get(_RTA_OIF))
    if table != MAIN_TABLE or kind != UNICAST or not index:
        return None
    via = _ip(attributes.get(_RTA_GATEWAY)) or _ip(attributes.get(_RTA_VIA, b"")[2:])
    return Route(index, length, via, metric, source, bool(flags & ROUTE_DEAD))


def route_length(body: bytes) -> int:
    """How long the prefix is that a route leads to: 0 for a default route, and for what is cut short."""
    return body[1] if len(body) >= _ROUTE.size else 0


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body and attributes) of each message in one read."""
    return ((kind, body) for kind, _flags, body in _messages(data))


def has_ended(reads: Sequence[bytes]) -> bool:
    """Whether a dump came to its end: it was neither refused nor cut off."""
    return any(kind == _DONE for data in reads for kind, _flags, _body in _messages(data))


def is_interrupted(reads: Sequence[bytes]) -> bool:
    """Whether something that a dump shows has changed meanwhile, so that some of it may be missing."""
    return any(flags & _DUMP_INTERRUPTED for data in reads for _kind, flags, _body in _messages(data))


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, *_ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, flags, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def attributes_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def _ip(raw: bytes | None) -> IPAddress | None:
    return ip_address(raw) if raw is not None and len(raw) in (4, 16) else None


def _number(raw: bytes | None) -> int:
    return int.from_bytes(raw, sys.byteorder) if raw else 0
