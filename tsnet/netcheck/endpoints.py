"""Our own endpoints: where control and our peers are told that this node's UDP port may be reached.

| order | kind              | what                                                                                    |
|-------|-------------------|-----------------------------------------------------------------------------------------|
| 1     | PORT_MAPPED       | what a router has mapped for us                                                         |
| 2     | STUN              | what STUN servers see: v4, then v6 (`mappings`)                                         |
| 3     | STUN_LOCAL_PORT   | behind a hard NAT, if the port was configured: the v4 address seen, with that port      |
| 4     | as they were      | those of the last 5 min 10 s that are not seen now, at most six of one IP               |
| 5     | LOCAL             | this machine's own addresses (`base.network.choose`), with the port; unless omitted     |
| 6     | EXPLICIT          | what the environment pretends (`config`)                                                |

An address stands once, by its first kind. Loopback is offered only where nothing else is. Local addresses are never
kept: the system tells all of them. Those that were seen are kept for a while, so that an endpoint that comes and goes
is not taken back and told anew each time; but not on another network, where they lead to somebody else.

Source: Go wgengine/magicsock/magicsock.go (determineEndpoints), endpoint_tracker.go; tailcfg.EndpointType.
Not here: when they are found out (`engine.surroundings`), who is told (`control.client.publisher`, `disco.paths`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

from tsnet.base.addresses import UdpAddress
from tsnet.base.network import Network
from tsnet.netcheck.mappings import Mappings

LIFETIME = 310.0
"""Seconds for which an address is still offered that is not seen any more."""

MAX_PER_IP = 6
MAX_KEPT = 32
"""How many are kept in all: servers may claim to see us at any address."""


class Kind(enum.IntEnum):
    """How an endpoint was found, by control's numbers."""

    LOCAL = 1
    STUN = 2
    PORT_MAPPED = 3
    STUN_LOCAL_PORT = 4
    EXPLICIT = 5


Found = tuple[UdpAddress, int]
"""An address and its `Kind`."""


class Endpoints:
    """fixed_port: the port that was configured; 0 if any was good enough. mapped: what a router has mapped for us.

    omit_local, pretended: knobs of the environment. The addresses of this machine are not offered; these ones are.

    found: as last determined.
    """

    def __init__(
        self, fixed_port: int = 0, *, omit_local: bool = False, pretended: tuple[UdpAddress, ...] = ()
    ) -> None:
        self.found: tuple[Found, ...] = ()
        self.mapped: tuple[UdpAddress, ...] = ()
        self._fixed_port, self._omit_local, self._pretended = fixed_port, omit_local, pretended
        self._kept: dict[UdpAddress, tuple[int, float]] = {}
        """The kind of each that was seen lately, and until when it is offered; those seen last are last."""

    def set_mapped(self, mapped: tuple[UdpAddress, ...]) -> None:
        """What a router maps for us now. What it maps no more is not offered any longer."""
        for address in self.mapped:
            self._kept.pop(address, None)
        self.mapped = mapped

    def forget(self) -> None:
        """This is another network: what was seen in the one before is void. `set_mapped` tells of the router."""
        self._kept.clear()

    def determine(self, network: Network | None, port: int, seen: Mappings, now: float) -> tuple[Found, ...]:
        """All endpoints, in order. port: of the UDP socket, 0 if there is none yet."""
        found: dict[UdpAddress, int] = {}
        for address in self.mapped:
            found.setdefault(address, Kind.PORT_MAPPED)
        for address in (*seen.offered(4), *seen.offered(6)):
            found.setdefault(address, Kind.STUN)
        if seen.v4 is not None and seen.varies and self._fixed_port:
            found.setdefault(UdpAddress(seen.v4.host, self._fixed_port), Kind.STUN_LOCAL_PORT)
        self._keep(found.items(), now)
        for address, (kind, _until) in self._kept.items():
            found.setdefault(address, kind)
        for address in () if self._omit_local else local_endpoints(network, port, is_last_resort=not found):
            found.setdefault(address, Kind.LOCAL)
        for address in self._pretended:
            found.setdefault(address, Kind.EXPLICIT)
        self.found = tuple(found.items())
        return self.found

    def _keep(self, seen: Iterable[Found], now: float) -> None:
        for address, kind in seen:
            self._kept.pop(address, None)
            self._kept[address] = int(kind), now + LIFETIME
        self._kept = {address: kept for address, kept in self._kept.items() if now < kept[1]}
        by_ip: dict[str, int] = {}
        for count, address in enumerate(reversed(list(self._kept)), 1):
            by_ip[address.host] = by_ip.get(address.host, 0) + 1
            if by_ip[address.host] > MAX_PER_IP or count > MAX_KEPT:
                del self._kept[address]


def local_endpoints(network: Network | None, port: int, *, is_last_resort: bool) -> list[UdpAddress]:
    """This machine's own addresses with that port. is_last_resort: there is no other endpoint, so that loopback is
    better than nothing."""
    if network is None or not port:
        return []
    addresses = network.reachable_at
    return [UdpAddress(str(address), port) for address in addresses if is_last_resort or not address.is_loopback]
