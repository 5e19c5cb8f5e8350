"""Longest-prefix match over raw addresses: which value belongs to the most specific prefix around an address.

    hosts     {4 or 16 bytes: value}                     whole addresses, one look and done
    ladder    [(shift, {network >> shift: value}), …]    one rung per prefix length in use, longest first

A tailnet has thousands of hosts and a handful of lengths, so a lookup is one dictionary access, or a few.
The table never changes: a new netmap builds a new one, and whoever holds the old one keeps a whole one.

Source: Go net/bart as wgengine/magicsock and net/routemanager use it (equal prefixes are settled by the caller).
Not here: which peer's prefixes count (`tsnet.engine.egress`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from tsnet.base.addresses import IPPrefix

T = TypeVar("T")

_Ladder = list[tuple[int, dict[int, T]]]


class Routes(Generic[T]):
    """Immutable. Of equal prefixes the last one given wins."""

    __slots__ = ("_hosts", "_ladders", "_prefixes")

    def __init__(self, entries: Iterable[tuple[IPPrefix, T]] = ()) -> None:
        self._prefixes: dict[IPPrefix, T] = dict(entries)
        self._hosts: dict[bytes, T] = {}
        rungs: dict[int, dict[int, dict[int, T]]] = {4: {}, 16: {}}
        for prefix, value in self._prefixes.items():
            network = prefix.network_address
            shift = prefix.max_prefixlen - prefix.prefixlen
            if shift == 0:
                self._hosts[network.packed] = value
            else:
                rungs[prefix.max_prefixlen // 8].setdefault(shift, {})[int(network) >> shift] = value
        self._ladders: dict[int, _Ladder[T]] = {size: sorted(rung.items()) for size, rung in rungs.items()}

    def lookup(self, address: bytes) -> T | None:
        """address: 4 or 16 bytes as they stand in a packet; any other length belongs to no prefix."""
        value = self._hosts.get(address)
        if value is not None:
            return value
        number = int.from_bytes(address, "big")
        for shift, networks in self._ladders.get(len(address), ()):
            value = networks.get(number >> shift)
            if value is not None:
                return value
        return None

    def __len__(self) -> int:
        return len(self._prefixes)

    def __repr__(self) -> str:
        return f"<Routes of {len(self)} prefixes>"
