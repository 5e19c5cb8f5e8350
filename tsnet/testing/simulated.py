"""A world in one thread under virtual time: machines, a wire with faults, byte streams, all from one seed.

    world = SimulatedWorld(seed=7)
    world.wire.loss = 0.1
    AsyncServer("shop", world=world)        all nodes on one machine, told apart by their ports
    world.machine("laptop")                 a World of its own: other addresses, the same time and wire

Nothing blocks: `wait` jumps to the next event. `next_event` says when that is, for a driver in a task loop. `trace` is
a hash of all that was delivered, and when. The same program with the same seed has the same trace.

Not here: the faults (`wire`), the streams (`bytestreams`), the clock (`timeline`).
"""

from __future__ import annotations

import errno
import functools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from tsnet.base.addresses import IPAddress, UdpAddress, parse_address
from tsnet.base.network import Gateway, Network
from tsnet.base.proxies import NO_PROXIES, Proxies
from tsnet.edge.io.link_limits import LinkLimits
from tsnet.edge.io.reactor import Reactor
from tsnet.testing.bytestreams import SimulatedLinks, SimulatedListener
from tsnet.testing.timeline import Timeline
from tsnet.testing.wire import SimulatedUdp, Wire

if TYPE_CHECKING:
    import ssl

FIRST_PORT = 40_000
ANYWHERE = ("", "0.0.0.0", "::")
LOOPBACK = ("127.0.0.1", "::1")
ROUTER_V4, ROUTER_V6 = IPv4Address("10.255.255.254"), IPv6Address("2001:db8::ffff:ffff")
STEP = 1 << 16
"""By how much a machine's addresses grow when it moves: no other machine has them."""

OnReady = Callable[[], None]


class Commons:
    """The time, wire and randomness that the machines of one world share."""

    def __init__(self, seed: object) -> None:
        self.timeline: Timeline = Timeline()
        self.wire: Wire = Wire(self.timeline, seed)
        self.random: random.Random = random.Random(f"entropy {seed}")
        self.machines: dict[str, Machine] = {}
        self.by_address: dict[str, Machine] = {}
        self.host: object = None


class Machine:
    """A `World`: one simulated computer, with a v4 and a v6 address, and a cable that can be pulled."""

    is_virtual = True
    reactor: Reactor | None = None

    def __init__(self, commons: Commons, name: str) -> None:
        number = len(commons.machines) + 1
        self.name = name
        self.v4: str = str(IPv4Address("10.0.0.0") + number)
        self.v6: str = str(IPv6Address("2001:db8::") + number)
        self.is_plugged: bool = True
        self._commons = commons
        self._watchers: list[OnReady] = []
        self._timeline = commons.timeline
        self._udp: dict[int, SimulatedUdp] = {}
        self._listeners: dict[tuple[str, int], SimulatedListener] = {}
        self._next_port = FIRST_PORT
        commons.machines[name] = commons.by_address[self.v4] = commons.by_address[self.v6] = self

    # --- the world ----------------------------------------------------------------------------------------------

    @property
    def host(self) -> object:
        """The loop that runs the nodes of all machines."""
        return self._commons.host

    @host.setter
    def host(self, host: object) -> None:
        self._commons.host = host

    def clock(self) -> float:
        return self._timeline.now

    def wall(self) -> float:
        return self._timeline.wall

    def entropy(self, size: int) -> bytes:
        return self._commons.random.randbytes(size)

    def open_udp(self, port: int, on_ready: OnReady, *, host: str = "") -> SimulatedUdp:
        number = port or self._free_port()
        if number in self._udp:
            raise OSError(errno.EADDRINUSE, f"UDP port {number} of {self.name} is taken")
        opened = self._udp[number] = SimulatedUdp(self, number, on_ready, self._commons.wire, self._timeline)
        return opened

    def open_links(
        self, on_ready: OnReady, *, ssl_context: ssl.SSLContext | None = None, proxies: Proxies = NO_PROXIES
    ) -> SimulatedLinks:
        return SimulatedLinks(self, on_ready, self._commons.wire, self._timeline)

    def listen(
        self,
        host: str,
        port: int,
        on_ready: OnReady,
        *,
        ssl_context: ssl.SSLContext | None = None,
        sniff_tls: bool = False,
        limits: LinkLimits | None = None,
    ) -> SimulatedListener:
        if host not in (*ANYWHERE, *LOOPBACK, self.v4, self.v6):
            raise OSError(errno.EADDRNOTAVAIL, f"{self.name} does not own {host}")
        address = (host, port or self._free_port())
        if address in self._listeners:
            raise OSError(errno.EADDRINUSE, f"port {address[1]} of {self.name} is taken")
        listener = SimulatedListener(self, address, on_ready, self._commons.wire, self._timeline, limits)
        self._listeners[address] = listener
        return listener

    def interfaces(self) -> list[IPAddress]:
        return [IPv4Address(self.v4), IPv6Address(self.v6)] if self.is_plugged else []

    def gateway(self, version: int = 4) -> Gateway | None:
        return self.network().gateway(version)

    def network(self) -> Network:
        loopback = frozenset(map(ip_address, LOOPBACK))
        if not self.is_plugged:
            return Network(addresses=loopback)
        v4, v6 = self.interfaces()
        return Network(
            addresses=loopback | {v4, v6},
            gateway_v4=Gateway(ROUTER_V4, "eth0", v4),
            gateway_v6=Gateway(ROUTER_V6, "eth0", v6),
        )

    def watch_network(self, on_change: OnReady) -> Callable[[], None]:
        self._watchers.append(on_change)
        return functools.partial(self._unwatch, on_change)

    def _unwatch(self, on_change: OnReady) -> None:
        if on_change in self._watchers:
            self._watchers.remove(on_change)

    def call_soon(self, function: Callable[[], None]) -> None:
        self._timeline.call_soon(function)

    def wait(self, until: float) -> None:
        self._timeline.wait(until)

    def next_event(self) -> float:
        return self._timeline.next_event()

    def fileno(self) -> int:
        raise OSError(errno.EBADF, "a simulated world has no descriptor: drive it by next_event and wait")

    def close(self) -> None:
        for port in tuple(self._udp.values()):
            port.close()
        for listener in tuple(self._listeners.values()):
            listener.close()

    def abandon(self) -> None:
        """Does nothing: a simulated world has no descriptors that a forked child would share."""

    # --- the network around it --------------------------------------------------------------------------------------

    def unplug(self) -> None:
        """Pull the cable: its addresses are gone, nothing leaves and nothing arrives."""
        self.is_plugged = False
        self._tell_watchers()

    def plug(self) -> None:
        """Put the cable back, with the addresses from before."""
        self.is_plugged = True
        self._tell_watchers()

    def move(self) -> None:
        """Go to another place: the machine has other addresses, and nobody has those from before."""
        self.is_plugged = True
        for old in (self.v4, self.v6):
            del self._commons.by_address[old]
        self.v4, self.v6 = str(IPv4Address(self.v4) + STEP), str(IPv6Address(self.v6) + STEP)
        self._commons.by_address |= {self.v4: self, self.v6: self}
        self._tell_watchers()

    def _tell_watchers(self) -> None:
        for on_change in tuple(self._watchers):
            self._timeline.call_soon(on_change)

    def owns(self, address: str) -> bool:
        return address in LOOPBACK or (self.is_plugged and address in (self.v4, self.v6))

    # --- the way to another machine -----------------------------------------------------------------------------

    def source_for(self, host: str) -> str:
        """Our address as the owner of `host` sees it."""
        if host in LOOPBACK:
            return host
        return self.v6 if ":" in host else self.v4

    def route_udp(self, port: int, destination: UdpAddress) -> tuple[UdpAddress, SimulatedUdp | None]:
        """Our address as the destination sees it, and the port there, if any."""
        source = UdpAddress(self.source_for(destination.host), port)
        machine = self._owner(destination.host)
        return source, None if machine is None else machine._udp.get(destination.port)

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
            names = (str(address), *ANYWHERE) if address else (machine.v4, machine.v6, *names, *ANYWHERE)
            for name in names:
                listener = machine._listeners.get((name, port))
                if listener is not None and listener.takes:
                    return listener
        return reason

    def forget_udp(self, port: SimulatedUdp) -> None:
        self._udp.pop(port.local_port, None)

    def forget_listener(self, listener: SimulatedListener) -> None:
        self._listeners.pop(listener.address, None)

    def _owner(self, address: str) -> Machine | None:
        if address in LOOPBACK:
            return self
        machine = self._commons.by_address.get(address)
        reaches = machine is not None and (machine is self or (machine.is_plugged and self.is_plugged))
        return machine if reaches else None

    def _free_port(self) -> int:
        self._next_port += 1
        return self._next_port


class SimulatedWorld(Machine):
    """The first machine, named "world". It also gives access to the others, to the wire and to the trace."""

    def __init__(self, seed: int | str = 0) -> None:
        super().__init__(Commons(seed), "world")

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

    def machine(self, name: str) -> Machine:
        """The machine of that name, which is also its host name. It is made when it is first asked for."""
        return self._commons.machines.get(name) or Machine(self._commons, name)

    def cut(self, port: int, *, down: float = 0.0) -> int:
        """Restart whatever listens on that port, on any machine: every link is reset, and new ones are refused for
        `down` seconds. Returns how many links were cut."""
        return sum(
            listener.cut(down)
            for machine in self._commons.machines.values()
            for (_, number), listener in tuple(machine._listeners.items())
            if number == port
        )
