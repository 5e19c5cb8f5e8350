"""Longest-prefix match over raw addresses: which value belongs to the most specific prefix around an address.

    hosts     {4 or 16 bytes: value}                     whole addresses, one look and done
    ladder    [(shift, {network >> shift: value}), …]    one rung per prefix length in use, longest first

A tailnet has thousands of hosts and a handful of lengths, so a lookup is one dictionary access, or a few. So is a
change: only the first prefix of a length, and the last, move the rungs.

Source: Go net/bart as wgengine/magicsock and net/routemanager use it (equal prefixes are settled by the caller).
Not here: which peer's prefixes count (`tsnet.engine.peers`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Generic, TypeVar

from tsnet.base.addresses import IPPrefix
from tsnet.netmap.model import Node
from tsnet.netmap.packed import raw_prefix, raw_prefixes

T = TypeVar("T")

_Rung = tuple[int, dict[int, T]]


class Routes(Generic[T]):
    """Of equal prefixes the last one given wins. It belongs to one thread."""

    __slots__ = ("_hosts", "_ladders")

    def __init__(self, entries: Iterable[tuple[IPPrefix, T]] = ()) -> None:
        self._hosts: dict[bytes, T] = {}
        self._ladders: dict[int, list[_Rung[T]]] = {4: [], 16: []}
        for prefix, value in entries:
            self.insert(prefix, value)

    def insert(self, prefix: IPPrefix, value: T) -> None:
        """Send the prefix there. One that is in the table already changes its value."""
        self.insert_raw(raw_prefix(prefix), value)

    def delete(self, prefix: IPPrefix) -> None:
        """Forget the prefix, if it is in the table."""
        self.delete_raw(raw_prefix(prefix))

    def insert_raw(self, prefix: bytes, value: T) -> None:
        """prefix: as `packed.raw_prefix` makes it."""
        size, shift = len(prefix) - 1, 8 * len(prefix) - 8 - prefix[-1]
        if shift == 0:
            self._hosts[prefix[:-1]] = value
            return
        ladder = self._ladders[size]
        rung = next((rung for length, rung in ladder if length == shift), None)
        if rung is None:
            rung = {}
            ladder.append((shift, rung))
            ladder.sort(key=_shift)
        rung[int.from_bytes(prefix[:-1], "big") >> shift] = value

    def delete_raw(self, prefix: bytes) -> None:
        size, shift = len(prefix) - 1, 8 * len(prefix) - 8 - prefix[-1]
        if shift == 0:
            self._hosts.pop(prefix[:-1], None)
            return
        for number, (length, rung) in enumerate(self._ladders[size]):
            if length == shift:
                rung.pop(int.from_bytes(prefix[:-1], "big") >> shift, None)
                if not rung:
                    del self._ladders[size][number]
                return

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

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Routes):
            return NotImplemented
        return self._hosts == other._hosts and self._ladders == other._ladders

    __hash__: ClassVar[None]  # type: ignore[assignment]  # it changes

    def __len__(self) -> int:
        return len(self._hosts) + sum(len(rung) for ladder in self._ladders.values() for _, rung in ladder)

    def __repr__(self) -> str:
        return f"<Routes of {len(self)} prefixes>"


def own_prefixes(node: Node) -> list[bytes]:
    """The node's own addresses, raw, so far as they are among its allowed IPs: no subnet routes through it."""
    own = raw_prefixes(node.raw_addresses)
    if node.raw_allowed_ips == node.raw_addresses:
        return own
    allowed = frozenset(raw_prefixes(node.raw_allowed_ips))
    return [prefix for prefix in own if prefix in allowed]


def _shift(rung: tuple[int, object]) -> int:
    return rung[0]
