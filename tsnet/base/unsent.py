"""Datagrams that the system refused to send: where none can go now, and which sizes are too large for the way there.

| what the system says                              | what it means                  | size                  |
|---------------------------------------------------|--------------------------------|-----------------------|
| EHOSTUNREACH, ENETUNREACH, EADDRNOTAVAIL, EINVAL … | no way leads there now         | 0                     |
| EPERM, EACCES                                     | a firewall here is against it  | 0                     |
| EMSGSIZE                                          | the way carries smaller ones   | of the refused one    |
| ENOBUFS, ECONNREFUSED and others                  | nothing about the way          | not told, but counted |

Bounds: MAX_UNSENT addresses at a time; what comes after them is forgotten, and is refused again when it is sent again.

Source: Linux udp(7), ip(7).
Not here: what follows for a path (`tsnet.disco.directpaths`), the counts (`tsnet.edge.io.udp`).
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from tsnet.base.addresses import UdpAddress

MAX_UNSENT = 64

NO_WAY_THERE = frozenset(
    (
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EADDRNOTAVAIL,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.ENODEV,
        errno.EINVAL,
        errno.EPERM,
        errno.EACCES,
    )
)


class Unsent(NamedTuple):
    """size: 0 if nothing can be sent there now; or else datagrams of so many bytes, and larger ones, cannot."""

    address: UdpAddress
    size: int = 0


class SendRefusals:
    """What a port has to tell of the datagrams that it could not send."""

    __slots__ = ("_sizes",)

    def __init__(self) -> None:
        self._sizes: dict[UdpAddress, int] = {}

    def __bool__(self) -> bool:
        return bool(self._sizes)

    def note(self, number: int | None, address: UdpAddress, size: int) -> None:
        """The system refused a datagram of that size with this error number."""
        if number in NO_WAY_THERE:
            size = 0
        elif number != errno.EMSGSIZE:
            return
        if address in self._sizes or len(self._sizes) < MAX_UNSENT:
            self._sizes[address] = min(size, self._sizes.get(address, size))

    def take(self) -> list[Unsent]:
        """One for each address since the last call: the least size that was refused."""
        if not self._sizes:
            return []
        sizes, self._sizes = self._sizes, {}
        return [Unsent(address, size) for address, size in sizes.items()]
