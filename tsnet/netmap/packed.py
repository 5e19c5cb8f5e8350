"""What a netmap has much of, packed: one value of bytes or text in the place of many objects.

The interpreter's garbage collector looks at every object that may be part of a cycle, and holds all threads meanwhile.
It never looks at text, numbers and `bytes`; it does at each instance of a subclass of these. So a node or a rule of a
netmap keeps its parts packed, and makes objects of them for who asks.

| what      | packed                                                                                   |
|-----------|------------------------------------------------------------------------------------------|
| key       | its 32 bytes, without their type; nothing for no key                                     |
| prefix    | 4 or 16 bytes of address, one of length: "raw", the key by which tables know it          |
| prefixes  | before each raw prefix, a byte that says how long it is                                  |
| endpoints | text, a space between two: `192.0.2.1:41641 [2001:db8::1]:41641`                         |
| object    | JSON in UTF-8 without spaces, names in order: two that are equal are the same bytes      |

Each `pack` function takes what is packed already as it is, so that a copy of a node costs no unpacking.

Not here: whose parts these are (`model`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from tsnet.base.addresses import IPAddress, IPPrefix, UdpAddress, join_host_port

NO_KEY = b""
NO_MEMBERS = b"{}"


def pack_key(key: bytes | None) -> bytes:
    return NO_KEY if key is None else bytes(key)


def raw_prefix(prefix: IPPrefix) -> bytes:
    return prefix.network_address.packed + bytes((prefix.prefixlen,))


def prefix_of(raw: bytes) -> IPPrefix:
    network = (raw[:-1], raw[-1])
    return IPv4Network(network) if len(raw) == 5 else IPv6Network(network)


def pack_prefixes(prefixes: bytes | Iterable[IPPrefix]) -> bytes:
    if isinstance(prefixes, bytes):
        return prefixes
    return b"".join(bytes((len(raw),)) + raw for raw in map(raw_prefix, prefixes))


def raw_prefixes(packed: bytes) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while at < len(packed):
        begin, at = at + 1, at + 1 + packed[at]
        found.append(packed[begin:at])
    return found


def prefixes_of(packed: bytes) -> tuple[IPPrefix, ...]:
    return tuple(map(prefix_of, raw_prefixes(packed)))


def addresses_of(packed: bytes) -> tuple[IPAddress, ...]:
    """Those of the prefixes, without their lengths."""
    return tuple(IPv4Address(raw[:-1]) if len(raw) == 5 else IPv6Address(raw[:-1]) for raw in raw_prefixes(packed))


def pack_endpoints(endpoints: str | Iterable[UdpAddress]) -> str:
    """No host may have a space in it."""
    return endpoints if isinstance(endpoints, str) else " ".join(join_host_port(*where) for where in endpoints)


def endpoints_of(packed: str) -> tuple[UdpAddress, ...]:
    return tuple(map(_endpoint, packed.split(" "))) if packed else ()


def _endpoint(text: str) -> UdpAddress:
    host, _colon, port = text.rpartition(":")
    return UdpAddress(host[1:-1] if host.startswith("[") else host, int(port))


def pack_object(members: bytes | Mapping[str, Any]) -> bytes:
    """members: of JSON. Half a surrogate pair is kept."""
    if isinstance(members, bytes):
        return members
    if not members:
        return NO_MEMBERS
    text = json.dumps(dict(members), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text.encode("utf-8", "surrogatepass")


def object_of(packed: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(packed)
    return found


def lists_of(packed: bytes) -> dict[str, tuple[Any, ...]]:
    """Of an object whose members are lists, as capabilities are."""
    return {name: tuple(values) for name, values in object_of(packed).items()}
