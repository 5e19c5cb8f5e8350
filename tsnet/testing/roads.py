"""The way of a byte stream through the simulated internet: found when it is dialled, gone when what it needs is gone.

| on the way                             | a dial                             | a stream that is open              |
|----------------------------------------|------------------------------------|------------------------------------|
| a NAT or a firewall, outward           | passes; the source is the NAT's    | passes, until the router restarts  |
| a NAT or a firewall, inward            | runs into its timeout, unless the  | likewise                           |
|                                        | port is forwarded                  |                                    |
| a cable that is down, a host unplugged | goes on once it is back            | goes on once it is back            |
| a host that has moved                  |                                    | nothing passes any more            |

Datagram loss, MTU and jitter do not touch byte streams.

Not here: the streams themselves (`bytestreams`), datagrams (`router`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tsnet.base.addresses import UdpAddress, parse_address
from tsnet.testing.bytestreams import Road, SimulatedListener
from tsnet.testing.cable import Cable
from tsnet.testing.computer import LOOPBACK
from tsnet.testing.internethost import InternetHost
from tsnet.testing.router import Router
from tsnet.testing.timeline import Timeline
from tsnet.testing.wire import Wire

UNREACHABLE, REFUSED, TIMEOUT, UNKNOWN = "unreachable", "refused", "timeout", "dns"


class Backbone(Protocol):
    """What a road asks of the internet itself."""

    timeline: Timeline
    wire: Wire
    routes: dict[str, InternetHost | Router]
    hosts: dict[str, InternetHost]


class InternetRoad:
    """own, seen: the dialler's address as it knows it, and as the listener sees it. At home own is ""."""

    def __init__(self, dialler: InternetHost, address: str, timeline: Timeline) -> None:
        self.listener: SimulatedListener
        self.own: str = ""
        self.seen: str = address
        self._dialler, self._timeline = dialler, timeline
        self._ends: list[tuple[InternetHost, str]] = []
        self._upward: list[Cable] = []
        self._downward: list[Cable] = []
        self._trusting: list[tuple[Router, int]] = []
        self._wire: Wire | None = None

    @property
    def passes(self) -> bool:
        """Whether what is sent now arrives."""
        return (
            all(cable.is_up for cable in self._upward)
            and all(cable.is_up for cable in self._downward)
            and all(host.owns(address) for host, address in self._ends)
            and all(router.forgotten == forgotten for router, forgotten in self._trusting)
        )

    def delay(self, size: int, *, outward: bool) -> float:
        """Seconds until that many bytes are at the other end. outward: from the dialler."""
        now = self._timeline.now
        total = 0.0 if self._wire is None else self._wire.latency
        for cables, upward in ((self._upward, outward), (self._downward, not outward)):
            total += sum(cable.queue(size, now, upward=upward) for cable in cables)
        return total

    # --- how it is found -----------------------------------------------------------------------------------------

    def lead(self, address: str, port: int, net: Backbone) -> str:
        """Find the listener. Returns why there is none, or ""."""
        dialler = self._dialler
        if dialler.owns(address):
            return self._end_at(dialler, address, port)
        self.own = self.seen = dialler.source_for(address)
        if not dialler.owns(self.own):
            return UNREACHABLE
        self._ends.append((dialler, self.own))
        self._upward.append(dialler.cable)
        place = dialler.place
        while isinstance(place, Router):
            if address in place.routes:
                return self._descend(place.routes[address], address, port)
            if address == place.wan_v4:
                return self._enter(place, address, port)
            self._trust(place)
            if place.table is not None and ":" not in address:
                self.seen = place.wan_v4
            self._upward.append(place.cable)
            place = place.place
        self._wire = net.wire
        target = net.routes.get(address)
        return UNREACHABLE if target is None else self._descend(target, address, port)

    def _descend(self, target: InternetHost | Router, address: str, port: int) -> str:
        self._downward.append(target.cable)
        if isinstance(target, InternetHost):
            return self._end_at(target, address, port)
        return self._enter(target, address, port)

    def _enter(self, router: Router, address: str, port: int) -> str:
        """Past that router's NAT or firewall, if it lets strangers in."""
        if router.table is not None and ":" not in address:
            opened = router.table.opened(port, self._timeline.now)
        else:
            opened = UdpAddress(address, port) if router.firewall is None else None
        child = None if opened is None else router.routes.get(opened.host)
        if opened is None or child is None:
            return TIMEOUT
        self._trust(router)
        return self._descend(child, *opened)

    def _trust(self, router: Router) -> None:
        if router.table is not None or router.firewall is not None:
            self._trusting.append((router, router.forgotten))

    def _end_at(self, host: InternetHost, address: str, port: int) -> str:
        listener = host.listener_at((address,), port)
        if listener is None:
            return REFUSED
        self.listener = listener
        if host is not self._dialler:
            self._ends.append((host, address))
        return ""


def find_road(net: Backbone, dialler: InternetHost, names: Sequence[str], port: int) -> Road | str:
    """To the first of these hosts, by address or by name, that has a listener there; else the last reason against."""
    reason = UNKNOWN
    for name in names:
        for address in _addresses(net, name):
            road = InternetRoad(dialler, address, net.timeline)
            reason = road.lead(address, port, net)
            if not reason:
                return road
    return reason


def _addresses(net: Backbone, name: str) -> Sequence[str]:
    address = parse_address(name)
    if address is not None:
        return [str(address)]
    if name == "localhost":
        return LOOPBACK[:1]
    host = net.hosts.get(name)
    return [] if host is None else [own for own in (host.v4, host.v6) if own]
