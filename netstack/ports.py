"""Which ports are bound, and which one is free.

A binding is (own address or b"" for all of them, port). The wildcard conflicts with every binding of its port.
Ephemeral ports come from 32768-60999, starting at an offset that depends on the remote end and a secret, so that an
outsider cannot guess the next one and ports are not reused at once.

Source: RFC 6056 §3.3.3 (algorithm 3), RFC 6335 §6, Linux ip_local_port_range.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2s
from typing import Generic, TypeVar

FIRST_EPHEMERAL, LAST_EPHEMERAL = 32768, 60999
_COUNT = LAST_EPHEMERAL - FIRST_EPHEMERAL + 1
ANY = b""

T = TypeVar("T")


class Ports(Generic[T]):
    """The bindings of one protocol."""

    __slots__ = ("_bound", "_counter", "_secret")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._counter = 0
        self._bound: dict[int, dict[bytes, T]] = {}

    def bind(self, address: bytes, port: int, holder: T) -> bool:
        """Enter a binding; False if another one is in its way."""
        holders = self._bound.setdefault(port, {})
        if ANY in holders or address in holders or (address == ANY and holders):
            return False
        holders[address] = holder
        return True

    def release(self, address: bytes, port: int) -> None:
        holders = self._bound.get(port)
        if holders is not None:
            holders.pop(address, None)
            if not holders:
                del self._bound[port]

    def lookup(self, address: bytes, port: int) -> T | None:
        """Who gets what arrives at this own address and port."""
        holders = self._bound.get(port)
        if holders is None:
            return None
        return holders.get(address) or holders.get(ANY)

    def holders(self) -> list[T]:
        return [holder for holders in self._bound.values() for holder in holders.values()]

    def is_bound(self, port: int) -> bool:
        return port in self._bound

    def ephemeral(self, remote: bytes, is_free: Callable[[int], bool]) -> int | None:
        """A port for which `is_free` says so, or None when all are taken. `remote`: whatever names the other end."""
        offset = int.from_bytes(blake2s(remote, key=self._secret, digest_size=4).digest(), "big")
        for _ in range(_COUNT):
            port = FIRST_EPHEMERAL + (offset + self._counter) % _COUNT
            self._counter += 1
            if is_free(port):
                return port
        return None

    def __len__(self) -> int:
        return sum(map(len, self._bound.values()))
