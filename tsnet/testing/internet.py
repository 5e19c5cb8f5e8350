"""A simulated internet: public hosts, and routers with NATs and firewalls before the others.

    world = SimulatedWorld(seed=1)
    net = world.internet
    server = net.host("server")                         public: a v4 and a v6 address
    isp = net.router("isp", lan="100.64.0.0/10")        a provider that shares one address: CGNAT
    home = isp.router("home", nat=HARD)                 a router behind it
    laptop = home.host("laptop")                        192.168.1.2
    AsyncServer("laptop", world=laptop)

    home.cable.loss = 0.1          home.restart()       home.renumber()       home.blocks_udp = True
    laptop.move(net)               laptop.unplug()      net.way(laptop, server).loss = 1.0

Between the cables lies the world's wire: its latency and faults are those of the way from each to each. Public v4
addresses are of 198.18.0.0/15 and public v6 ones of 2001:db8::/32, which no real network has.

Not here: one router (`router`), one host (`internethost`), one link (`cable`), byte streams (`roads`).
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address

import attrs

from tsnet.errors import ConfigError
from tsnet.testing.bytestreams import Road
from tsnet.testing.computer import Commons
from tsnet.testing.internethost import InternetHost
from tsnet.testing.parcels import Parcel
from tsnet.testing.roads import find_road
from tsnet.testing.router import GATEWAY_V6, Pool, Router, Site
from tsnet.testing.timeline import Timeline
from tsnet.testing.wire import Wire

PUBLIC_V4 = "198.18.0.0/15"
PUBLIC_V6 = IPv6Address("2001:db8:1::")
PREFIX = 1 << 64


class Way:
    """What happens to datagrams from one to another, beside what cables do. loss: the probability for each. udp: False
    loses them all. drops: which of them it loses, looked at one by one. It may be changed at any time."""

    def __init__(self) -> None:
        self.loss: float = 0.0
        self.udp: bool = True
        self.drops: Callable[[bytes], bool] | None = None

    @property
    def is_plain(self) -> bool:
        return self.udp and not self.loss and self.drops is None

    def passes(self, datagram: bytes, draw: random.Random) -> bool:
        """Whether that one arrives."""
        return self.udp and draw.random() >= self.loss and not (self.drops is not None and self.drops(datagram))


class Internet(Site):
    """hosts, routers: all there are, by name. Names of hosts are found by those that dial."""

    def __init__(self, commons: Commons) -> None:
        super().__init__(self)
        self.name = "internet"
        self.commons = commons
        self.timeline: Timeline = commons.timeline
        self.wire: Wire = commons.wire
        self.random: random.Random = random.Random(f"internet {commons.seed}")
        self.hosts: dict[str, InternetHost] = {}
        self.routers: dict[str, Router] = {}
        self.has_v4: bool = True
        self.has_v6: bool = True
        self._pool = Pool(PUBLIC_V4, skip=2)
        self._prefixes = 0
        self.gateway_v4: str = self._pool[1]
        self.gateway_v6: str = GATEWAY_V6
        self._ways: dict[tuple[str, str], Way] = {}

    @property
    def chain(self) -> list[str]:
        return []

    # --- faults between two --------------------------------------------------------------------------------------

    def way(self, source: InternetHost | Router, target: InternetHost | Router) -> Way:
        """From the one, or whoever is behind it, to the other, or through it."""
        return self._ways.setdefault((source.name, target.name), Way())

    def set_udp(self, one: InternetHost | Router, other: InternetHost | Router, *, passes: bool) -> None:
        """Whether datagrams pass between these two, both ways."""
        self.way(one, other).udp = self.way(other, one).udp = passes

    def weighed(self, parcel: Parcel, target: str) -> Parcel:
        """What is left of a parcel that arrives at this host or router."""
        if not self._ways:
            return parcel
        for name in parcel.origin.chain:
            way = self._ways.get((name, target))
            if way is not None and not way.is_plain:
                left = [each for each in parcel.datagrams if way.passes(each, self.random)]
                self.wire.counts["lost"] += len(parcel.datagrams) - len(left)
                parcel = attrs.evolve(parcel, datagrams=left)
        return parcel

    # --- addresses -----------------------------------------------------------------------------------------------

    def check_name(self, name: str) -> None:
        if not name or name in self.hosts or name in self.routers:
            raise ConfigError(f"{name!r} cannot be the name of another host or router of this internet")

    def take_v4(self) -> str:
        return self._pool.take()

    def give_back_v4(self, address: str) -> None:
        self._pool.give_back(address)

    def take_prefix(self) -> IPv6Address:
        """A /64 of its own for a router, or for a host that has none."""
        self._prefixes += 1
        return PUBLIC_V6 + self._prefixes * PREFIX

    def take_v6(self) -> str:
        return str(self.take_prefix() + 2)

    def publish(self, address: str, child: InternetHost | Router) -> None:
        self.routes[address] = child

    def withdraw(self, address: str) -> None:
        self.routes.pop(address, None)

    # --- between the cables --------------------------------------------------------------------------------------

    def climbed(self, parcel: Parcel, child: InternetHost | Router) -> None:
        target = self.routes.get(parcel.destination.host)
        if target is None:
            self.wire.counts["unreachable"] += len(parcel.datagrams)
            return
        together: dict[float, list[bytes]] = {}
        for datagram in parcel.datagrams:
            for extra in self.wire.fates():
                together.setdefault(extra, []).append(datagram)
        for extra, datagrams in together.items():
            part = attrs.evolve(parcel, datagrams=datagrams)
            hand_down = functools.partial(self._hand_down, part, target)
            self.timeline.at(self.timeline.now + self.wire.latency + extra, hand_down)

    def find_road(self, host: InternetHost, names: Sequence[str], port: int) -> Road | str:
        return find_road(self, host, names, port)
