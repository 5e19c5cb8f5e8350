"""What every simulated computer has, wherever its network is: the world's time, entropy, UDP ports and byte streams.

    Computer                a `World` for a node: ports and listeners by number, a cable that can be pulled
      Machine               on the flat wire, where everything reaches everything (`simulated`)
      InternetHost          on the simulated internet, behind routers or not (`internethost`)

Not here: who reaches whom (the two above), the faults (`wire`, `cable`), the streams (`bytestreams`).
"""

from __future__ import annotations

import errno
import functools
import itertools
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from tsnet.base.addresses import IPAddress, UdpAddress
from tsnet.base.network import Gateway, Network
from tsnet.base.proxies import NO_PROXIES, Proxies
from tsnet.base.unsent import SendRefusals
from tsnet.edge.io.link_limits import LinkLimits
from tsnet.edge.io.reactor import Reactor
from tsnet.testing.bytestreams import Road, SimulatedLinks, SimulatedListener
from tsnet.testing.timeline import Timeline
from tsnet.testing.wire import SimulatedUdp, Wire

if TYPE_CHECKING:
    import ssl

FIRST_PORT = 40_000
ANYWHERE = ("", "0.0.0.0", "::")
LOOPBACK = ("127.0.0.1", "::1")
LOOPBACK_ADDRESSES = frozenset(map(ip_address, LOOPBACK))

OnReady = Callable[[], None]


class Commons:
    """The time, wire and randomness that the computers of one world share."""

    def __init__(self, seed: object) -> None:
        self.seed = seed
        self.timeline: Timeline = Timeline()
        self.wire: Wire = Wire(self.timeline, seed)
        self.random: random.Random = random.Random(f"entropy {seed}")
        self.machines: dict[str, Any] = {}
        self.by_address: dict[str, Any] = {}
        self.host: object = None


class Computer(ABC):
    """A `World`: one simulated computer. v4, v6: its own addresses; "" for a family that it does not have."""

    is_virtual = True
    counts_sleep: bool = True
    reactor: Reactor | None = None

    def __init__(self, commons: Commons, name: str) -> None:
        self.name = name
        self.v4: str = ""
        self.v6: str = ""
        self.is_plugged: bool = True
        self.link_numbers: Iterator[int] = itertools.count(1)
        self._commons = commons
        self._watchers: list[OnReady] = []
        self._timeline = commons.timeline
        self._udp: dict[int, SimulatedUdp] = {}
        self._listeners: dict[tuple[str, int], SimulatedListener] = {}
        self._next_port = FIRST_PORT

    @property
    def host(self) -> object:
        """The loop that runs the nodes of all computers of this world."""
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

    # --- ports and streams --------------------------------------------------------------------------------------

    def open_udp(
        self, port: int, on_ready: OnReady, *, host: str = "", gso: bool = True, gro: bool = True
    ) -> SimulatedUdp:
        number = port or self._free_port()
        if number in self._udp:
            raise OSError(errno.EADDRINUSE, f"UDP port {number} of {self.name} is taken")
        opened = self._udp[number] = SimulatedUdp(self, number, on_ready, self._commons.wire, self._timeline)
        return opened

    def open_links(
        self, on_ready: OnReady, *, ssl_context: ssl.SSLContext | None = None, proxies: Proxies = NO_PROXIES
    ) -> SimulatedLinks:
        return SimulatedLinks(self, on_ready, self._commons.wire, self._timeline)

    def preconnect(self, hosts: tuple[str, ...], port: int, count: int) -> Callable[[], None]:
        """Nothing: no time passes here between a node's beginning and its first links."""
        return lambda: None

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

    def take_udp(self, number: int, port: SimulatedUdp) -> int:
        number = self._free_port() if not number or number in self._udp else number
        self._udp[number] = port
        return number

    def forget_udp(self, port: SimulatedUdp) -> None:
        self._udp.pop(port.local_port, None)

    def forget_listener(self, listener: SimulatedListener) -> None:
        self._listeners.pop(listener.address, None)

    def listener_at(self, names: Sequence[str], port: int) -> SimulatedListener | None:
        """The one that takes links at one of these addresses, or at any."""
        for name in (*names, *ANYWHERE):
            listener = self._listeners.get((name, port))
            if listener is not None and listener.takes:
                return listener
        return None

    def look_up(self, host: str) -> tuple[IPAddress, ...]:
        """The addresses of the computer of that name; none if there is none."""
        named = self if host == "localhost" else self._commons.machines.get(host)
        return () if named is None else tuple(ip_address(own) for own in (named.v4, named.v6) if own)

    def _free_port(self) -> int:
        self._next_port += 1
        return self._next_port

    # --- the network around it ----------------------------------------------------------------------------------

    @abstractmethod
    def carry_udp(
        self, port: int, destination: UdpAddress, datagrams: Sequence[bytes], refusals: SendRefusals | None = None
    ) -> None:
        """Send datagrams from that port on their way. refusals: where to note those that do not leave."""

    @abstractmethod
    def find_road(self, hosts: Sequence[str], port: int) -> Road | str:
        """The way to a listener on the first of the hosts that has one, or the reason why there is none."""

    @abstractmethod
    def network(self) -> Network: ...

    def interfaces(self) -> list[IPAddress]:
        return [ip_address(own) for own in (self.v4, self.v6) if own] if self.is_plugged else []

    def gateway(self, version: int = 4) -> Gateway | None:
        return self.network().gateway(version)

    def owns(self, address: str) -> bool:
        return address in LOOPBACK or (self.is_plugged and bool(address) and address in (self.v4, self.v6))

    def source_for(self, host: str) -> str:
        """Our own address on the way to `host`."""
        if host in LOOPBACK:
            return host
        return self.v6 if ":" in host else self.v4

    def watch_network(self, on_change: OnReady) -> Callable[[], None]:
        self._watchers.append(on_change)
        return functools.partial(self._unwatch, on_change)

    def _unwatch(self, on_change: OnReady) -> None:
        if on_change in self._watchers:
            self._watchers.remove(on_change)

    def _tell_watchers(self) -> None:
        for on_change in tuple(self._watchers):
            self._timeline.call_soon(on_change)

    def unplug(self) -> None:
        """Pull the cable: its addresses are gone, nothing leaves and nothing arrives."""
        self.is_plugged = False
        self._tell_watchers()

    def plug(self) -> None:
        """Put the cable back, with the addresses from before."""
        self.is_plugged = True
        self._tell_watchers()

    # --- the clock's side ---------------------------------------------------------------------------------------

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

    def abandon(self) -> None:  # noqa: B027
        """Does nothing: a simulated world has no descriptors that a forked child would share."""
