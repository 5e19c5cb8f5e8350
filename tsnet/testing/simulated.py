"""A world in one thread under virtual time: machines, a wire with faults, byte streams, all from one seed.

    world = SimulatedWorld(seed=7)
    world.wire.loss = 0.1
    AsyncServer("shop", world=world)        all nodes on one machine, told apart by their ports
    world.machine("laptop")                 a World of its own: other addresses, the same time and wire
    world.internet.host("server")           one on an internet with routers, NATs and firewalls (see `internet`)

Nothing blocks: `wait` jumps to the next event. `next_event` says when that is, for a driver in a task loop. `trace` is
a hash of all that was delivered, and when. The same program with the same seed has the same trace.

Not here: what all computers have (`computer`), the faults (`wire`), the streams (`bytestreams`), the clock
(`timeline`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from tsnet.base.addresses import UdpAddress, parse_address
from tsnet.base.network import Gateway, Network
from tsnet.base.unsent import SendRefusals
from tsnet.testing.bytestreams import FlatRoad, Road, SimulatedListener
from tsnet.testing.computer import LOOPBACK, LOOPBACK_ADDRESSES, Commons, Computer
from tsnet.testing.internet import Internet
from tsnet.testing.wire import SimulatedUdp, Wire

ROUTER_V4, ROUTER_V6 = IPv4Address("10.255.255.254"), IPv6Address("2001:db8::ffff:ffff")
STEP = 1 << 16
"""By how much a machine's addresses grow when it moves: no other machine has them."""


class Machine(Computer):
    """A computer on the flat wire, with a v4 and a v6 address: every other machine reaches it."""

    def __init__(self, commons: Commons, name: str) -> None:
        super().__init__(commons, name)
        number = len(commons.machines) + 1
        self.v4: str = str(IPv4Address("10.0.0.0") + number)
        self.v6: str = str(IPv6Address("2001:db8::") + number)
        commons.machines[name] = commons.by_address[self.v4] = commons.by_address[self.v6] = self

    def network(self) -> Network:
        if not self.is_plugged:
            return Network(addresses=LOOPBACK_ADDRESSES)
        v4, v6 = self.interfaces()
        return Network(
            addresses=LOOPBACK_ADDRESSES | {v4, v6},
            gateway_v4=Gateway(ROUTER_V4, "eth0", v4),
            gateway_v6=Gateway(ROUTER_V6, "eth0", v6),
        )

    def move(self) -> None:
        """Go to another place: the machine has other addresses, and nobody has those from before."""
        self.is_plugged = True
        for old in (self.v4, self.v6):
            del self._commons.by_address[old]
        self.v4, self.v6 = str(IPv4Address(self.v4) + STEP), str(IPv6Address(self.v6) + STEP)
        self._commons.by_address |= {self.v4: self, self.v6: self}
        self._tell_watchers()

    # --- the way to another machine -----------------------------------------------------------------------------

    def carry_udp(
        self, port: int, destination: UdpAddress, datagrams: Sequence[bytes], refusals: SendRefusals | None = None
    ) -> None:
        source, there = self.route_udp(port, destination)
        self._commons.wire.carry(source, there, datagrams)

    def route_udp(self, port: int, destination: UdpAddress) -> tuple[UdpAddress, SimulatedUdp | None]:
        """Our address as the destination sees it, and the port there, if any."""
        source = UdpAddress(self.source_for(destination.host), port)
        machine = self._owner(destination.host)
        return source, None if machine is None else machine._udp.get(destination.port)

    def find_road(self, hosts: Sequence[str], port: int) -> Road | str:
        listener = self.route_stream(hosts, port)
        if isinstance(listener, str):
            return listener
        own = "" if listener.machine is self else self.source_for(hosts[0])
        return FlatRoad(listener, own, self.source_for(listener.address[0]), self._commons.wire)

    def route_stream(self, hosts: Sequence[str], port: int) -> SimulatedListener | str:
        """The listener of the first host that has one, or the reason why there is none."""
        reason = "dns"
        for host in hosts:
            address = parse_address(host)
            named = self if host == "localhost" else self._commons.machines.get(host)
            target = str(address) if named is None else named.v4
            machine = named if named is self else self._owner(target)
            if machine is None:
                reason = reason if address is None and named is None else "unreachable"
                continue
            reason = "refused"
            names = LOOPBACK if machine is self else ()
            listener = machine.listener_at((str(address),) if address else (machine.v4, machine.v6, *names), port)
            if listener is not None:
                return listener
        return reason

    def _owner(self, address: str) -> Machine | None:
        if address in LOOPBACK:
            return self
        machine: Machine | None = self._commons.by_address.get(address)
        reaches = machine is not None and (machine is self or (machine.is_plugged and self.is_plugged))
        return machine if reaches else None


class SimulatedWorld(Machine):
    """The first machine, named "world". It also gives access to the others, to the wire and to the trace."""

    def __init__(self, seed: int | str = 0) -> None:
        super().__init__(Commons(seed), "world")
        self._internet: Internet | None = None

    @property
    def wire(self) -> Wire:
        return self._commons.wire

    @property
    def counts(self) -> Counter[str]:
        """What the wire has done, counted (see Wire)."""
        return self._commons.wire.counts

    @property
    def trace(self) -> str:
        return self._timeline.trace

    @property
    def internet(self) -> Internet:
        """The internet of this world, empty at first. Its hosts and these machines do not reach each other."""
        if self._internet is None:
            self._internet = Internet(self._commons)
        return self._internet

    def machine(self, name: str) -> Machine:
        """The machine of that name, which is also its host name. It is made when it is first asked for."""
        return self._commons.machines.get(name) or Machine(self._commons, name)

    def cut(self, port: int, *, down: float = 0.0) -> int:
        """Restart whatever listens on that port, on any machine: every link is reset, and new ones are refused for
        `down` seconds. Returns how many links were cut."""
        hosts: list[Computer] = [*self._commons.machines.values()]
        if self._internet is not None:
            hosts += self._internet.hosts.values()
        return sum(
            listener.cut(down)
            for machine in hosts
            for (_, number), listener in tuple(machine._listeners.items())
            if number == port
        )
