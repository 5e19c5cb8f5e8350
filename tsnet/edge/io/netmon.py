"""This machine's own addresses, and whether they have changed.

On Linux the addresses come from an rtnetlink dump (RTM_GETADDR, 100 us). Elsewhere they are those that a connected UDP
socket would send from; connecting one sends nothing.

| address                                         | kept                                   |
|-------------------------------------------------|----------------------------------------|
| tailnet ranges; interfaces zt…, wt0; fe80::/10  | never                                  |
| of an interface that is down                    | never                                  |
| global v4 and v6 (v6: two a /64)                | always                                 |
| 169.254/16, ULA                                 | only if there is nothing better        |
| loopback                                        | only if there is nothing at all        |

Source: Go net/netmon/state.go (LocalAddresses); Linux rtnetlink(7).
Not here: who is told of a change (`tsnet.engine`).
"""

from __future__ import annotations

import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import NamedTuple

from tsnet.base.addresses import IPAddress, is_tailnet_address

POLL_INTERVAL = 5.0
MAX_V6_PER_SUBNET = 2

_LINK_LOCAL_V4 = IPv4Network("169.254.0.0/16")
_LINK_LOCAL_V6 = IPv6Network("fe80::/10")
_ULA = IPv6Network("fc00::/7")

_RTM_NEWADDR, _RTM_GETADDR, _NLMSG_DONE, _NLMSG_ERROR = 20, 22, 3, 2
_NLM_REQUEST_DUMP = 0x301
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_UNUSABLE = 0x08 | 0x20 | 0x40  # duplicate, deprecated, not yet checked for duplicates
_IFF_UP = 1
_HEADER = struct.Struct("=IHHII")
_ADDRESS = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")


class InterfaceAddress(NamedTuple):
    interface: str
    address: IPAddress


def local_addresses() -> list[IPAddress]:
    """The addresses under which another machine may reach this one, best first."""
    try:
        found = list(interface_addresses())
    except OSError:
        found = []
    if not found:
        found = [InterfaceAddress("", address) for address in (default_source(4), default_source(6)) if address]
    return choose(found)


def choose(found: Iterable[InterfaceAddress]) -> list[IPAddress]:
    """The addresses that the table above keeps, in their order."""
    good: list[IPAddress] = []
    poor: list[IPAddress] = []
    loopback: list[IPAddress] = []
    subnets: Counter[int] = Counter()
    for interface, address in found:
        if interface.startswith("zt") or interface == "wt0" or is_tailnet_address(address) or address.is_unspecified:
            continue
        if address.is_loopback:
            loopback.append(address)
        elif address.version == 4:
            (poor if address in _LINK_LOCAL_V4 else good).append(address)
        elif address not in _LINK_LOCAL_V6:
            subnet = int(address) >> 64
            subnets[subnet] += 1
            if subnets[subnet] <= MAX_V6_PER_SUBNET:
                (poor if address in _ULA else good).append(address)
    return list(dict.fromkeys(good or poor or loopback))


def default_source(version: int) -> IPAddress | None:
    """The address that this machine would send from to the internet, or None. Nothing is sent."""
    family, target = (socket.AF_INET, "192.0.2.1") if version == 4 else (socket.AF_INET6, "2001:db8::1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((target, 9))
            return ip_address(sock.getsockname()[0])
    except OSError:
        return None


def interface_addresses() -> Iterator[InterfaceAddress]:
    """Every address of an interface that is up, in the kernel's order. Yields nothing where there is no rtnetlink."""
    if sys.platform != "linux":
        return
    names = {index: name for index, name in socket.if_nameindex() if is_up(name)}
    for data in dump_addresses():
        for index, address in parse_dump(data):
            if index in names:
                yield InterfaceAddress(names[index], address)


def is_up(name: str) -> bool:
    try:
        with open(f"/sys/class/net/{name}/flags") as file:
            return bool(int(file.read(), 16) & _IFF_UP)
    except (OSError, ValueError):
        return True  # there is no sysfs: one address too many is better than one too few


def dump_addresses() -> Iterator[bytes]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        body = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        sock.send(_HEADER.pack(_HEADER.size + len(body), _RTM_GETADDR, _NLM_REQUEST_DUMP, 1, 0) + body)
        while True:
            data = sock.recv(65536)
            yield data
            if any(kind in (_NLMSG_DONE, _NLMSG_ERROR) for kind, _ in messages(data)):
                return


def parse_dump(data: bytes) -> Iterator[tuple[int, IPAddress]]:
    """(interface index, address) of each usable address in one read of the dump."""
    for kind, body in messages(data):
        if kind != _RTM_NEWADDR or len(body) < _ADDRESS.size:
            continue
        _, _, flags, _, index = _ADDRESS.unpack_from(body)
        attributes = dict(attributes_of(body[_ADDRESS.size :]))
        flags = int.from_bytes(attributes.get(_IFA_FLAGS, bytes([flags])), sys.byteorder)
        raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
        if raw and len(raw) in (4, 16) and not flags & _IFA_F_UNUSABLE:
            yield index, ip_address(raw)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def attributes_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


class Monitor:
    """Reads the addresses at most every POLL_INTERVAL seconds, and tells when they have changed."""

    def __init__(self, read: Callable[[], list[IPAddress]] = local_addresses) -> None:
        self._read = read
        self._poll_at = 0.0
        self.addresses: list[IPAddress] = []

    def poll(self, now: float) -> bool:
        """Read the addresses if it is time. Returns whether they have changed; the first time it is always True."""
        if now < self._poll_at:
            return False
        is_first, before = not self._poll_at, self.addresses
        self._poll_at = now + POLL_INTERVAL
        self.addresses = self._read()
        return is_first or set(self.addresses) != set(before)

    def deadline(self) -> float:
        return self._poll_at
