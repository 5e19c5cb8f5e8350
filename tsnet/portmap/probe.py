"""Which port-mapping protocols a router speaks: all are asked at once, and each has the same second to answer.

    0 s, 0.25 s, 0.5 s      what is not answered yet is asked again
    1 s                     what has not answered is not there

| protocol | asked                    | it is there if the answer is                  |
|----------|--------------------------|-----------------------------------------------|
| NAT-PMP  | its external address     | an address; a refusal says no                 |
| PCP      | ANNOUNCE                 | ANNOUNCE; a refusal says no                   |
| UPnP     | M-SEARCH, if it is on    | a gateway, and a description at the router    |

Source: Go net/portmapper/portmapper.go (Probe).
Not here: what follows (`attempt`).
"""

from __future__ import annotations

import math

from tsnet.base.addresses import UdpAddress
from tsnet.base.malformed import MalformedError
from tsnet.http1.url import Url
from tsnet.portmap import natpmp, pcp, ssdp
from tsnet.portmap.lease import Place, Protocol
from tsnet.portmap.location import of_router
from tsnet.portmap.tries import Tries

PAUSES = (0.25, 0.25)
PATIENCE = 1.0
MAX_LOCATIONS = 4
GRACE = 0.05
"""Seconds that a protocol waits, after the first answer, for one that comes before it."""


class Probe:
    """speaks: None is not known yet. locations: of the router's descriptions. ready_at: when waiting for a protocol
    that comes before another one ends."""

    __slots__ = ("_tries", "locations", "place", "ready_at", "speaks")

    def __init__(self, place: Place, *, upnp: bool, now: float) -> None:
        self.speaks: dict[Protocol, bool | None] = dict.fromkeys(Protocol)
        if not upnp:
            del self.speaks[Protocol.UPNP]
        self.locations: list[Url] = []
        self.place: Place = place
        self._tries = Tries(PAUSES, PATIENCE, now)
        self.ready_at: float = math.inf

    def transmit(self, now: float) -> list[tuple[UdpAddress, list[bytes]]]:
        """The questions that are due."""
        if self._tries.is_over(now):
            self.end()
        return [self._question(protocol) for protocol in self._open()] if self._tries.take(now) else []

    def deadline(self) -> float:
        return self._tries.deadline() if self._open() else math.inf

    def heard(self, protocol: Protocol, *, there: bool, now: float) -> None:
        """The first answer counts, but for one that finds more of UPnP."""
        if self.speaks.get(protocol, False) is None:
            self.speaks[protocol] = there
            self.ready_at = min(self.ready_at, now + GRACE)

    def found(self, discovered: ssdp.Discovered, now: float) -> None:
        """Raises MalformedError if the description is elsewhere, or in too many places."""
        location = of_router(discovered.location, str(self.place.gateway))
        if location not in self.locations:
            if len(self.locations) >= MAX_LOCATIONS:
                raise MalformedError("too many descriptions")
            self.locations.append(location)
        self.heard(Protocol.UPNP, there=True, now=now)

    def end(self) -> None:
        """Who has not answered is not there."""
        self.speaks = {protocol: bool(there) for protocol, there in self.speaks.items()}

    def may_begin(self, protocol: Protocol, now: float) -> bool:
        """Whether to ask by this protocol, which is there, or to wait for a better one."""
        better = list(self.speaks)[: list(self.speaks).index(protocol)]
        return now >= self.ready_at or all(self.speaks[each] is not None for each in better)

    def _open(self) -> list[Protocol]:
        return [protocol for protocol, there in self.speaks.items() if there is None]

    def _question(self, protocol: Protocol) -> tuple[UdpAddress, list[bytes]]:
        gateway = str(self.place.gateway)
        match protocol:
            case Protocol.NAT_PMP:
                return UdpAddress(gateway, natpmp.PORT), [natpmp.encode_address_request()]
            case Protocol.PCP:
                return UdpAddress(gateway, natpmp.PORT), [pcp.encode_announce(self.place.own)]
            case Protocol.UPNP:
                searches = [ssdp.encode_search(gateway, target) for target in (ssdp.ALL, ssdp.GATEWAY)]
                return UdpAddress(gateway, ssdp.PORT), searches
