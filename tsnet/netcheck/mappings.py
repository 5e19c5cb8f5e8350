"""What STUN servers have seen of our UDP port in one measurement: which addresses, how often, and whether they differ.

| seen over v4                              | varies                                                              |
|-------------------------------------------|---------------------------------------------------------------------|
| one answer, or none                       | None: nobody can tell                                               |
| the same address from two servers         | False: an endpoint-independent mapping, which peers can use as well |
| another address than the first            | True: a hard NAT; each destination gets a mapping of its own        |

Offered to peers are the first v4 address that was seen and the last v6 address, and then whatever was seen twice: some
firewalls move a port to a new mapping while the old one still answers, and traffic reaches only the new one. A mapping
that one server alone has seen is of use to nobody else.

Source: Go net/netcheck/netcheck.go (addNodeLatency, GetGlobalAddrs); RFC 4787 §4.1.
Not here: who is asked (`probes`), for how long an address is offered (`endpoints`).
"""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

from tsnet.base.addresses import UdpAddress

MAX_SEEN = 64
"""How many addresses are counted: hostile servers may answer with any."""


class Mappings:
    """v4: the first address seen. v6: the last. varies: whether the mapping depends on who is spoken to (v4)."""

    __slots__ = ("_counts", "v4", "v6", "varies")

    def __init__(self) -> None:
        self.v4: UdpAddress | None = None
        self.v6: UdpAddress | None = None
        self.varies: bool | None = None
        self._counts: Counter[UdpAddress] = Counter()

    def add(self, mapped: UdpAddress) -> None:
        if mapped in self._counts or len(self._counts) < MAX_SEEN:
            self._counts[mapped] += 1
        if ":" in mapped.host:
            self.v6 = mapped
        elif self.v4 is None:
            self.v4 = mapped
        elif self.v4 != mapped:
            self.varies = True
        elif self.varies is None:
            self.varies = False

    def offered(self, version: int) -> list[UdpAddress]:
        """The addresses of that family under which peers may reach us, the best first."""
        first = self.v4 if version == 4 else self.v6
        if first is None:
            return []
        of_family = [seen for seen, count in self._counts.items() if count > 1 and (":" in seen.host) == (version == 6)]
        return [first, *(seen for seen in of_family if seen != first)]


def is_believable(mapped: UdpAddress) -> bool:
    """Whether a server may see us there: an address of one machine, and a port."""
    host = ip_address(mapped.host)
    is_nobodys = host.is_multicast or host.is_unspecified or host.is_link_local or mapped.host == "255.255.255.255"
    return mapped.port > 0 and not is_nobodys
