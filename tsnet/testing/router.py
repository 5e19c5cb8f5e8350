"""Where hosts are plugged in: a router with a NAT, a firewall or neither, behind which there may be more routers.

    from within:  to a host of ours? ─> its cable      to our own outside address? ─> hairpin
                  a service of ours? ─> answered       else ─> NAT, firewall ─> the cable outward
    from outside: NAT or firewall lets it in? ─> the cable of the host that it is for

v4 is translated, unless `nat` is None: then the hosts have public addresses and only the firewall stands before them.
v6 never is. Every router gives addresses of 192.168.1.0/24 if not told otherwise, as homes do.

Not here: what the NAT does (`nat`), what lies between the routers (`internet`), byte streams through them (`roads`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Address
from typing import Any

import attrs

from tsnet.base.addresses import UdpAddress
from tsnet.errors import ConfigError
from tsnet.portmap import natpmp
from tsnet.testing.cable import Cable
from tsnet.testing.firewall import StatefulFirewall
from tsnet.testing.internethost import InternetHost
from tsnet.testing.nat import EASY, Nat, NatTable
from tsnet.testing.parcels import Parcel, cross
from tsnet.testing.pmp import PmpService

HOME = "192.168.1.0/24"
GATEWAY_V6 = "fe80::1"
SSDP = "239.255.255.250"
"""The group that routers with UPnP listen to."""

Service = Callable[[UdpAddress, bytes], Iterable[bytes]]
"""What a router answers to a datagram from that address within."""


class Pool:
    """The host addresses of a v4 network, given out in turn."""

    def __init__(self, network: str, *, skip: int) -> None:
        self.network: IPv4Network = _network(network)
        self._next = self._skip = skip
        self._taken: set[str] = set()

    def __getitem__(self, number: int) -> str:
        return str(self.network[number])

    def take(self) -> str:
        for _ in range(self.network.num_addresses):
            number, self._next = self._next, self._next + 1
            if self._next >= self.network.num_addresses - 1:
                self._next = self._skip
            address = self[number]
            if address not in self._taken:
                self._taken.add(address)
                return address
        raise ConfigError(f"no address of {self.network} is free in this simulated network")

    def give_back(self, address: str) -> None:
        self._taken.discard(address)


def _network(text: str) -> IPv4Network:
    try:
        network = IPv4Network(str(text))
    except ValueError as error:
        raise ConfigError(f"hosts get no addresses of {text!r}: {error}") from None
    if network.num_addresses < 4:
        raise ConfigError(f"hosts get no addresses of {text!r}: it has room for a router and nobody else")
    return network


class Site(ABC):
    """What hosts and routers are plugged into. routes: who is reached by an address here, itself or through it."""

    name: str
    gateway_v4: str
    gateway_v6: str
    has_v4: bool
    has_v6: bool

    def __init__(self, net: Any) -> None:
        self.net = net
        self.routes: dict[str, InternetHost | Router] = {}

    # --- building ------------------------------------------------------------------------------------------------

    def host(self, name: str, *, v4: bool = True, v6: bool = True, cable: Cable | None = None) -> InternetHost:
        """A new host here, with an address of each family that there is here. v4, v6: whether it takes one."""
        self.net.check_name(name)
        host: InternetHost = InternetHost(self.net.commons, name, self, has_v4=v4, has_v6=v6, cable=cable)
        self.net.hosts[name] = host
        return host

    def router(
        self,
        name: str,
        *,
        nat: Nat | None = EASY,
        firewall: bool = True,
        v4: bool = True,
        v6: bool = False,
        lan: str = HOME,
        blocks_udp: bool = False,
        maps_ports: bool = False,
        cable: Cable | None = None,
    ) -> Router:
        """A new router here. nat: None leaves v4 addresses as they are. firewall: whether what NAT does not guard is
        answered only, and not called. v4, v6: what it offers. blocks_udp: it lets byte streams through alone.
        maps_ports: it speaks NAT-PMP with its hosts."""
        self.net.check_name(name)
        if (v4 and not self.has_v4) or (v6 and not self.has_v6):
            raise ConfigError(
                f"{self.name} does not offer what router {name!r} wants: v4={self.has_v4} v6={self.has_v6}"
            )
        if maps_ports and (nat is None or not v4):
            raise ConfigError(f"router {name!r} translates nothing, so it maps no port")
        router = Router(
            self,
            name,
            nat=nat,
            firewall=firewall,
            v4=v4,
            v6=v6,
            lan=lan,
            blocks_udp=blocks_udp,
            cable=Cable() if cable is None else cable,
        )
        self.net.routers[name] = router
        if maps_ports:
            router.serve_pmp()
        return router

    # --- addresses -----------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def chain(self) -> list[str]:
        """The names of the routers from here to the internet."""

    @abstractmethod
    def take_v4(self) -> str: ...

    @abstractmethod
    def give_back_v4(self, address: str) -> None: ...

    @abstractmethod
    def take_v6(self) -> str: ...

    @abstractmethod
    def publish(self, address: str, child: InternetHost | Router) -> None:
        """That address is reached through this child from now on, from everywhere where it means something."""

    @abstractmethod
    def withdraw(self, address: str) -> None: ...

    @abstractmethod
    def climbed(self, parcel: Parcel, child: InternetHost | Router) -> None:
        """A parcel has come from a child of this place."""

    def attach(self, host: InternetHost) -> None:
        host.v4 = self.take_v4() if host.has_v4 and self.has_v4 else ""
        host.v6 = self.take_v6() if host.has_v6 and self.has_v6 else ""
        for address in filter(None, (host.v4, host.v6)):
            self.publish(address, host)

    def detach(self, host: InternetHost) -> None:
        for address in filter(None, (host.v4, host.v6)):
            self.withdraw(address)
        if host.v4:
            self.give_back_v4(host.v4)

    def _hand_down(self, parcel: Parcel, child: InternetHost | Router) -> None:
        cross(parcel, child.cable, self.net.timeline, self.net.random, child.arrive, upward=False)


class Router(Site):
    """wan_v4: its outside address, "" if v4 is not translated here. table: its NAT, None likewise.

    blocks_udp may be changed at any time. forgotten: how often what it knew of flows was lost.
    counts: "filtered" (nobody inside had asked for it), "udp blocked", "hairpin", "no mapping left", "unreachable".
    """

    def __init__(
        self,
        place: Site,
        name: str,
        *,
        nat: Nat | None,
        firewall: bool,
        v4: bool,
        v6: bool,
        lan: str,
        blocks_udp: bool,
        cable: Cable,
    ) -> None:
        super().__init__(place.net)
        self.name = name
        self.place = place
        self.cable = cable
        self.has_v4: bool = v4
        self.has_v6: bool = v6
        self.blocks_udp = blocks_udp
        self.table: NatTable | None = NatTable(nat, self.net.random) if nat is not None and v4 else None
        lifetime = 120.0 if nat is None else nat.lifetime
        self.firewall: StatefulFirewall | None = StatefulFirewall(lifetime) if firewall else None
        self.forgotten: int = 0
        self.restarted_at: float = self.net.timeline.now
        self.services: dict[int, Service] = {}
        self.counts: Counter[str] = Counter()
        self.wan_v4: str = ""
        self._pool = Pool(lan, skip=2)
        self._v6_hosts = 1
        self._prefix: IPv6Address | None = self.net.take_prefix() if v6 else None
        self.gateway_v6: str = GATEWAY_V6 if v6 else ""
        self.gateway_v4: str = "" if not v4 else self._pool[1] if self.table is not None else place.gateway_v4
        if self.table is not None:
            self._take_wan_address()

    @property
    def chain(self) -> list[str]:
        return [self.name, *self.place.chain]

    # --- what happens to it ----------------------------------------------------------------------------------------

    def restart(self) -> None:
        """It forgets every mapping and flow. Byte streams through it hear nothing any more."""
        self.forgotten += 1
        self.restarted_at = self.net.timeline.now
        if self.table is not None:
            self.table.forget()
        if self.firewall is not None:
            self.firewall.forget()

    def renumber(self) -> None:
        """Its provider gives it another outside address, and what it knew of flows is void. Nobody inside is told."""
        if not self.wan_v4:
            raise ConfigError(f"router {self.name!r} has no outside address of its own")
        self.restart()
        self.place.withdraw(self.wan_v4)
        self.place.give_back_v4(self.wan_v4)
        self._take_wan_address()

    def forward(self, port: int, host: InternetHost, inside_port: int = 0) -> None:
        """Datagrams and dials that come to that outside port go to this host, to the same port if not told otherwise.

        A restart forgets it.
        """
        if self.table is None:
            raise ConfigError(f"router {self.name!r} translates nothing, so it forwards no port")
        self.table.open(port, UdpAddress(host.v4, inside_port or port))

    def serve(self, port: int, service: Service) -> None:
        """Answer datagrams that come from within to that port of ours, or of the group that asks for UPnP routers."""
        self.services[port] = service

    def serve_pmp(self) -> None:
        """Open ports for hosts that ask by NAT-PMP."""
        if self.table is None:
            raise ConfigError(f"router {self.name!r} translates nothing, so it maps no port")
        self.serve(natpmp.PORT, PmpService(self, self.table, self.net.timeline))

    # --- addresses -------------------------------------------------------------------------------------------------

    def _take_wan_address(self) -> None:
        self.wan_v4 = self.place.take_v4()
        self.place.publish(self.wan_v4, self)

    def take_v4(self) -> str:
        return self._pool.take() if self.table is not None else self.place.take_v4()

    def give_back_v4(self, address: str) -> None:
        if self.table is not None:
            self._pool.give_back(address)
        else:
            self.place.give_back_v4(address)

    def take_v6(self) -> str:
        assert self._prefix is not None
        self._v6_hosts += 1
        return str(self._prefix + self._v6_hosts)

    def publish(self, address: str, child: InternetHost | Router) -> None:
        self.routes[address] = child
        if self._is_seen_outside(address):
            self.place.publish(address, self)

    def withdraw(self, address: str) -> None:
        self.routes.pop(address, None)
        if self._is_seen_outside(address):
            self.place.withdraw(address)

    def _is_seen_outside(self, address: str) -> bool:
        return ":" in address or self.table is None

    # --- from within -----------------------------------------------------------------------------------------------

    def climbed(self, parcel: Parcel, child: InternetHost | Router) -> None:
        host, port = parcel.destination
        inside = self.routes.get(host)
        if inside is not None:
            self._hand_down(parcel, inside)
        elif host in (self.gateway_v4, SSDP):
            self._serve(parcel, child, port)
        elif not (self.has_v6 if ":" in host else self.has_v4):
            self.counts["unreachable"] += len(parcel.datagrams)
        elif host == self.wan_v4:
            self._hairpin(parcel)
        elif self.blocks_udp:
            self.counts["udp blocked"] += len(parcel.datagrams)
        else:
            self._leave(parcel)

    def _leave(self, parcel: Parcel) -> None:
        now = self.net.timeline.now
        if self._translates(parcel):
            translated = self._translated(parcel)
            if translated is None:
                return
            parcel = translated
        elif self.firewall is not None:
            self.firewall.outbound(parcel.source, parcel.destination, now)
        place = self.place
        cross(
            parcel,
            self.cable,
            self.net.timeline,
            self.net.random,
            lambda there: place.climbed(there, self),
            upward=True,
        )

    def _translates(self, parcel: Parcel) -> bool:
        return self.table is not None and ":" not in parcel.destination.host

    def _translated(self, parcel: Parcel) -> Parcel | None:
        """As the outside sees it."""
        assert self.table is not None
        port = self.table.outbound(parcel.source, parcel.destination, self.net.timeline.now)
        if port is None:
            self.counts["no mapping left"] += len(parcel.datagrams)
            return None
        return attrs.evolve(parcel, source=UdpAddress(self.wan_v4, port))

    def _hairpin(self, parcel: Parcel) -> None:
        """To our own outside address, from within."""
        assert self.table is not None
        translated = self._translated(parcel) if self.table.nat.hairpin else None
        if translated is None:
            self.counts["hairpin"] += len(parcel.datagrams)
        else:
            self._enter(translated)

    def _serve(self, parcel: Parcel, child: InternetHost | Router, port: int) -> None:
        service = self.services.get(port)
        answers = [] if service is None else [a for data in parcel.datagrams for a in service(parcel.source, data)]
        if answers:
            answer = attrs.evolve(
                parcel, source=UdpAddress(self.gateway_v4, port), destination=parcel.source, datagrams=answers
            )
            self._hand_down(answer, child)

    # --- from outside ----------------------------------------------------------------------------------------------

    def arrive(self, parcel: Parcel) -> None:
        parcel = self.net.weighed(parcel, self.name)
        if self.blocks_udp:
            self.counts["udp blocked"] += len(parcel.datagrams)
        elif parcel.datagrams:
            self._enter(parcel)

    def _enter(self, parcel: Parcel) -> None:
        now = self.net.timeline.now
        if self._translates(parcel):
            assert self.table is not None
            ours = parcel.destination.host == self.wan_v4
            inside = self.table.inbound(parcel.source, parcel.destination.port, now) if ours else None
            parcel = parcel if inside is None else attrs.evolve(parcel, destination=inside)
            admitted = inside is not None
        else:
            admitted = self.firewall is None or self.firewall.admits(parcel.source, parcel.destination, now)
        child = self.routes.get(parcel.destination.host) if admitted else None
        if child is None:
            self.counts["filtered"] += len(parcel.datagrams)
        else:
            self._hand_down(parcel, child)
