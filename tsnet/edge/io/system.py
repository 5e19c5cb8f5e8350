"""The real world: this machine's clocks, entropy, sockets and addresses.

Not here: the protocol that it implements (`world`), what control is told of the machine (`hostinfo`).
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tsnet.base.addresses import IPAddress
from tsnet.base.network import Gateway, Network
from tsnet.base.proxies import NO_PROXIES, Proxies
from tsnet.edge.io.link_limits import LinkLimits
from tsnet.edge.io.links import Links
from tsnet.edge.io.listeners import LinkListener
from tsnet.edge.io.netmon import local_addresses, read_network
from tsnet.edge.io.netwatch import NetworkWatch
from tsnet.edge.io.preconnect import Preconnects
from tsnet.edge.io.reactor import Reactor
from tsnet.edge.io.udp import UdpSockets
from tsnet.edge.io.world import OnReady

if TYPE_CHECKING:
    import ssl


def _boot_clock() -> Callable[[], float]:
    """CLOCK_BOOTTIME, which counts the time that the machine sleeps. Where it is missing, that time is not counted."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    return time.monotonic


_clock = _boot_clock()


class SystemWorld:
    """gso, gro: False forces plain UDP calls, as on a system without UDP_SEGMENT or UDP_GRO."""

    is_virtual = False
    counts_sleep: bool = hasattr(time, "CLOCK_BOOTTIME")

    def __init__(self, *, gso: bool = True, gro: bool = True) -> None:
        self.host: object = None
        self.reactor: Reactor = Reactor(self.clock)
        self._gso, self._gro = gso, gro
        self._watch = NetworkWatch(self.reactor)
        self._preconnects = Preconnects(self.reactor)

    def clock(self) -> float:
        return _clock()

    def wall(self) -> float:
        return time.time()

    def entropy(self, size: int) -> bytes:
        return os.urandom(size)

    def open_udp(
        self, port: int, on_ready: OnReady, *, host: str = "", gso: bool = True, gro: bool = True
    ) -> UdpSockets:
        return UdpSockets(self.reactor, port, on_ready, host=host, gso=self._gso and gso, gro=self._gro and gro)

    def open_links(
        self, on_ready: OnReady, *, ssl_context: ssl.SSLContext | None = None, proxies: Proxies = NO_PROXIES
    ) -> Links:
        return Links(
            self.reactor,
            on_ready,
            self.wall,
            ssl_context=ssl_context,
            proxies=proxies,
            preconnects=self._preconnects,
        )

    def preconnect(self, hosts: tuple[str, ...], port: int, count: int) -> Callable[[], None]:
        return self._preconnects.begin(hosts, port, count)

    def listen(
        self,
        host: str,
        port: int,
        on_ready: OnReady,
        *,
        ssl_context: ssl.SSLContext | None = None,
        sniff_tls: bool = False,
        limits: LinkLimits | None = None,
    ) -> LinkListener:
        return LinkListener(
            self.reactor, host, port, on_ready, ssl_context=ssl_context, sniff_tls=sniff_tls, limits=limits
        )

    def interfaces(self) -> list[IPAddress]:
        return local_addresses()

    def gateway(self, version: int = 4) -> Gateway | None:
        try:
            return read_network().gateway(version)
        except OSError:
            return self._watch.network.gateway(version)

    def network(self) -> Network:
        return self._watch.network

    def watch_network(self, on_change: OnReady) -> Callable[[], None]:
        self._watch.add(on_change)
        return functools.partial(self._watch.remove, on_change)

    def call_soon(self, function: Callable[[], None]) -> None:
        self.reactor.call_soon(function)

    def wait(self, until: float) -> None:
        self.reactor.wait(until)

    def next_event(self) -> float:
        return self.reactor.next_event()

    def fileno(self) -> int:
        return self.reactor.fileno()

    def close(self) -> None:
        self._watch.close()
        self._preconnects.close()
        self.reactor.close()

    def abandon(self) -> None:
        self.reactor.orphan()
        self._preconnects.close()
