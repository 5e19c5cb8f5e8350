"""A computer on the simulated internet: a `World` with the addresses and gateways of where it is plugged in.

| what it does                | what happens                                                                         |
|-----------------------------|--------------------------------------------------------------------------------------|
| send without a route        | nothing leaves: `dropped["unreachable"]`; the port is told ENETUNREACH                |
| send to what is `forbidden` | nothing leaves: `dropped["EPERM"]`, as a firewall of its own would have it             |
| send more than the MTU      | nothing leaves: `dropped["EMSGSIZE"]`, which the port is told; the MTU is its cable's, |
|                             | or what a router told                                                                 |
| `move(place)`               | other addresses, another gateway; who watches the network is told                     |
| `unplug`, `plug`            | none of its addresses; the same again                                                 |

Not here: what computers have in common (`computer`), the routers (`router`), byte streams between hosts (`roads`).
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Protocol

from tsnet.base.addresses import IPAddress, UdpAddress
from tsnet.base.network import Gateway, Network
from tsnet.base.unsent import SendRefusals
from tsnet.errors import ConfigError
from tsnet.testing.bytestreams import Road
from tsnet.testing.cable import Cable, on_the_wire
from tsnet.testing.computer import LOOPBACK, LOOPBACK_ADDRESSES, Commons, Computer
from tsnet.testing.parcels import Parcel, cross

MAX_PATH_MTUS = 256


class Around(Protocol):
    """What a host asks of the place that it is plugged into, a router or the internet itself."""

    net: Any
    gateway_v4: str
    gateway_v6: str

    @property
    def chain(self) -> list[str]: ...

    def attach(self, host: Any) -> None:
        """Give the host its addresses here, and lead to it."""

    def detach(self, host: Any) -> None: ...

    def climbed(self, parcel: Parcel, child: Any) -> None:
        """A parcel has come from a child of this place."""


class InternetHost(Computer):
    """has_v4, has_v6: whether it takes addresses of that family where they are offered.

    forbidden: addresses that it may not send to. dropped: its own datagrams that did not leave. path_mtus: what routers
    have told, by destination.
    """

    def __init__(
        self, commons: Commons, name: str, place: Around, *, has_v4: bool, has_v6: bool, cable: Cable | None
    ) -> None:
        super().__init__(commons, name)
        self.place: Around = place
        self.cable: Cable = Cable() if cable is None else cable
        self.has_v4 = has_v4
        self.has_v6 = has_v6
        self.forbidden: set[str] = set()
        self.dropped: Counter[str] = Counter()
        self.path_mtus: dict[str, int] = {}
        place.attach(self)

    @property
    def chain(self) -> list[str]:
        """Its own name, and those of the routers between it and the internet."""
        return [self.name, *self.place.chain]

    def network(self) -> Network:
        if not self.is_plugged:
            return Network(addresses=LOOPBACK_ADDRESSES)
        own = {address.version: address for address in self.interfaces()}
        gateways = {
            version: Gateway(ip_address(gateway), "eth0", own[version])
            for version, gateway in ((4, self.place.gateway_v4), (6, self.place.gateway_v6))
            if version in own and gateway
        }
        return Network(
            addresses=LOOPBACK_ADDRESSES | set(own.values()),
            gateway_v4=gateways.get(4),
            gateway_v6=gateways.get(6),
        )

    def move(self, place: Around | None = None) -> None:
        """Go there, or get other addresses here. Nobody has those from before for a while."""
        if place is not None and not hasattr(place, "attach"):
            raise ConfigError(f"{self.name} moves to a router or to the internet, not to {place!r}")
        self.is_plugged = True
        self.place.detach(self)
        self.place = self.place if place is None else place
        self.place.attach(self)
        self.path_mtus.clear()
        self._tell_watchers()

    # --- the way out --------------------------------------------------------------------------------------------

    def carry_udp(
        self, port: int, destination: UdpAddress, datagrams: Sequence[bytes], refusals: SendRefusals | None = None
    ) -> None:
        wire, host = self._commons.wire, destination.host
        refusals = SendRefusals() if refusals is None else refusals
        wire.counts["sent"] += len(datagrams)
        own = host if host in LOOPBACK else self.source_for(host)
        if host in LOOPBACK or (self.is_plugged and host == own):
            parcel = Parcel(UdpAddress(own, port), destination, list(datagrams), self, destination, self.clock())
            self._timeline.at(self.clock(), lambda: self._deliver(parcel))
            return
        if not own or not self.is_plugged:
            self.dropped["unreachable"] += len(datagrams)
            wire.counts["unreachable"] += len(datagrams)
            refusals.note(errno.ENETUNREACH, destination, 0)
            return
        if host in self.forbidden:
            self.dropped["EPERM"] += len(datagrams)
            refusals.note(errno.EPERM, destination, 0)
            return
        mtu = min(self.cable.mtu, self.path_mtus.get(host, self.cable.mtu))
        fit = [datagram for datagram in datagrams if on_the_wire(len(datagram), host) <= mtu]
        self.dropped["EMSGSIZE"] += len(datagrams) - len(fit)
        if len(fit) < len(datagrams):
            refusals.note(errno.EMSGSIZE, destination, min(set(map(len, datagrams)) - set(map(len, fit))))
        place, net = self.place, self.place.net
        parcel = Parcel(UdpAddress(own, port), destination, fit, self, destination, self.clock())
        cross(parcel, self.cable, self._timeline, net.random, lambda there: place.climbed(there, self), upward=True)

    def told_too_big(self, destination: UdpAddress, mtu: int) -> None:
        self.path_mtus.pop(destination.host, None)
        self.path_mtus[destination.host] = mtu
        if len(self.path_mtus) > MAX_PATH_MTUS:
            del self.path_mtus[next(iter(self.path_mtus))]

    def look_up(self, host: str) -> tuple[IPAddress, ...]:
        named = self if host == "localhost" else self.place.net.hosts.get(host)
        return () if named is None else tuple(ip_address(own) for own in (named.v4, named.v6) if own)

    def find_road(self, hosts: Sequence[str], port: int) -> Road | str:
        road: Road | str = self.place.net.find_road(self, hosts, port)
        return road

    # --- what arrives -------------------------------------------------------------------------------------------

    def arrive(self, parcel: Parcel) -> None:
        """A parcel has come over the cable."""
        if self.owns(parcel.destination.host):
            self._deliver(self.place.net.weighed(parcel, self.name))
        else:
            self._commons.wire.counts["unreachable"] += len(parcel.datagrams)

    def _deliver(self, parcel: Parcel) -> None:
        source, (_, number), datagrams = parcel.source, parcel.destination, parcel.datagrams
        counts, port = self._commons.wire.counts, self._udp.get(number)
        if port is None:
            counts["unreachable"] += len(datagrams)
        elif datagrams:
            counts["delivered"] += len(datagrams)
            self._timeline.record("udp", source, self.name, number, b"".join(datagrams))
            port.arrive(source, datagrams)
