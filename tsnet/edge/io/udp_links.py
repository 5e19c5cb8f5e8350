"""UDP links: the UDP ports that a node's machines open beside its own, for a name server or a router that maps ports.

| effect    | what happens                                  | events                                     |
|-----------|-----------------------------------------------|--------------------------------------------|
| OpenUdp   | a port is bound                               | Opened with its number, or Closed          |
| Datagrams | they are sent, or dropped and counted         | none                                       |
| Close     | the port is closed, with all that waits in it | none                                       |
|           | something arrives                             | Datagrams with their source                |

Bounds: MAX_LINKS a node; what a port takes in one turn and what it keeps for a socket without room are those of `udp`.
What arrives faster than it is read waits in the kernel, which drops what is too much.

Not here: byte streams (`links`), the node's own port (`udp`).
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable

from tsnet.base.addresses import parse_address
from tsnet.base.links import ADDRESS_LOST, Closed, Datagrams, Event, Link, Opened, OpenUdp
from tsnet.base.network import Network
from tsnet.edge.io.descriptors import Descriptors, Lease, is_out
from tsnet.edge.io.world import OnReady, UdpPort

MAX_LINKS = 16
DESCRIPTORS = 2
"""Of one link: v4 and v6."""

MAX_SIZE = 65_507
"""Bytes that one datagram carries at most over IPv4."""

OpenPort = Callable[[int, OnReady, str], UdpPort]


REASONS = {errno.EADDRINUSE: "port taken", errno.EACCES: "not permitted", errno.EADDRNOTAVAIL: ADDRESS_LOST}
"""Why a port cannot be bound, by what the system says."""


class UdpLinks:
    """The UDP links of one node. open_port: as `World.open_udp`. budget: None in a world without descriptors.

    dropped: "closed" (for a link that is not open), "size", "no room". What a port drops itself, it counts.
    """

    def __init__(self, open_port: OpenPort, on_ready: OnReady, *, budget: Descriptors | None = None) -> None:
        self.dropped: Counter[str] = Counter()
        self._open_port, self._on_ready, self._budget = open_port, on_ready, budget
        self._ports: dict[Link, UdpPort] = {}
        self._leases: dict[Link, Lease] = {}
        self._hosts: dict[Link, str] = {}

    def __bool__(self) -> bool:
        """Whether any is open."""
        return bool(self._ports)

    def open(self, effect: OpenUdp) -> Event:
        """What to tell of it."""
        link = effect.link
        if len(self._ports) >= MAX_LINKS:
            return Closed(link, "too many")
        if self._budget is not None:
            lease = self._budget.borrow(None, DESCRIPTORS)
            if lease is None:
                return Closed(link, "no descriptor")
            self._leases[link] = lease
        try:
            port = self._ports[link] = self._open_port(effect.port, self._on_ready, effect.host)
        except OSError as error:
            self._give_back(link)
            return Closed(link, "no descriptor" if is_out(error) else REASONS.get(error.errno or 0, "cannot bind"))
        self._hosts[link] = effect.host
        return Opened(link, local_port=port.local_port)

    def send(self, effect: Datagrams) -> None:
        port = self._ports.get(effect.link)
        fit = [datagram for datagram in effect.datagrams if len(datagram) <= MAX_SIZE]
        self.dropped["size"] += len(effect.datagrams) - len(fit)
        if port is None:
            self.dropped["closed"] += len(fit)
        elif not port.has_room:
            self.dropped["no room"] += len(fit)
        elif fit:
            port.send(effect.address, fit)

    def receive(self) -> list[Event]:
        """What has arrived: of each link a bounded batch, and the rest in the next turn."""
        return [
            Datagrams(link, source, datagrams)
            for link, port in self._ports.items()
            for source, datagrams in port.receive()
        ]

    def without_address(self, network: Network) -> list[Link]:
        """Those that are bound to an address which this machine has lost."""
        bound = ((link, parse_address(host)) for link, host in self._hosts.items())
        return [link for link, address in bound if address is not None and network.lacks(address)]

    def close_link(self, link: Link) -> None:
        port = self._ports.pop(link, None)
        if port is not None:
            port.close()
            del self._hosts[link]
            self._give_back(link)

    def close(self) -> None:
        for link in tuple(self._ports):
            self.close_link(link)

    def _give_back(self, link: Link) -> None:
        lease = self._leases.pop(link, None)
        if lease is not None:
            lease.give_back()
