"""The network around this machine, as the edge sees it: its own addresses, and the way to the internet.

| address                                                    | `choose` keeps it                |
|------------------------------------------------------------|----------------------------------|
| tailnet ranges; interfaces zt…, wt0, tailscale…; fe80::/10 | never                            |
| global v4 and v6 (v6: two a /64)                           | always                           |
| 169.254/16, ULA                                            | only if there is nothing better  |
| loopback                                                   | only if there is nothing at all  |

Source: Go net/netmon/state.go (LocalAddresses).
Not here: how it is read and watched (`edge.io.netmon`, `edge.io.netwatch`), what a change means for a node
(`engine.surroundings`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

import attrs

from tsnet.base.addresses import IPAddress, is_tailnet_address
from tsnet.base.records import record

MAX_V6_PER_SUBNET = 2

_LINK_LOCAL_V4 = IPv4Network("169.254.0.0/16")
_LINK_LOCAL_V6 = IPv6Network("fe80::/10")
_ULA = IPv6Network("fc00::/7")
_OVERLAYS = ("zt", "tailscale")
"""How the interfaces of other overlay networks are named: what they lead to is no way to this machine."""


class InterfaceAddress(NamedTuple):
    """interface: its name; "" if nobody can tell."""

    interface: str
    address: IPAddress


@record
class Gateway:
    """The default route of one address family.

    address: the router's; None if the route leads straight onto the link, as that of a tunnel does.
    interface: the link that leads there. own_address: ours on that link; None if it has none of that family.
    """

    address: IPAddress | None
    interface: str
    own_address: IPAddress | None = None


@record
class Network:
    """addresses: this machine's own, of links that carry; without fe80::/10. silent: those where nothing new can begin,
    although what has begun may go on: of links without a carrier, and IPv6 addresses that the system is giving up.

    gateway_v4, gateway_v6: the default routes; None if there is none, or nobody can tell.
    carrier_changes: how often the carriers of those links have come or gone, since a cable may be out and in again
    between two looks. links: their numbers. is_complete: whether an address that is missing here is not this machine's.
    interfaces: which address is whose, in the system's order; empty if nobody can tell.
    """

    addresses: frozenset[IPAddress] = frozenset()
    silent: frozenset[IPAddress] = frozenset()
    gateway_v4: Gateway | None = None
    gateway_v6: Gateway | None = None
    carrier_changes: int = 0
    links: frozenset[int] = attrs.field(default=frozenset(), eq=False)
    is_complete: bool = True
    interfaces: tuple[InterfaceAddress, ...] = attrs.field(default=(), eq=False)

    def gateway(self, version: int = 4) -> Gateway | None:
        return self.gateway_v4 if version == 4 else self.gateway_v6

    @property
    def is_connected(self) -> bool:
        """Whether there is an address by which another machine may be reached."""
        return any(not address.is_loopback for address in self.addresses)

    @property
    def reachable_at(self) -> list[IPAddress]:
        """The addresses under which another machine may reach this one, best first (`choose`)."""
        if self.interfaces:
            return choose(self.interfaces)
        by_value = sorted(self.addresses, key=lambda address: (address.version, int(address)))
        return choose(InterfaceAddress("", address) for address in by_value)

    def lacks(self, address: IPAddress) -> bool:
        """Whether this is certainly no address of this machine, so that nothing reaches a socket bound to it."""
        is_own = address in self.addresses or address in self.silent or address.is_loopback or address.is_link_local
        return self.is_complete and not is_own

    def leads_elsewhere(self, before: Network) -> bool:
        """Whether the internet is reached by another way than before, so that whatever was measured there is void.

        A bridge that comes up for containers is no such change. Without a default route, any address is.
        """
        routes = (self.gateway_v4, self.gateway_v6)
        if routes != (before.gateway_v4, before.gateway_v6):
            return True
        return routes == (None, None) and self.addresses != before.addresses


def choose(found: Iterable[InterfaceAddress]) -> list[IPAddress]:
    """The addresses that the table above keeps, in their order."""
    good: list[IPAddress] = []
    poor: list[IPAddress] = []
    loopback: list[IPAddress] = []
    subnets: Counter[int] = Counter()
    for interface, address in found:
        is_overlay = interface.startswith(_OVERLAYS) or interface == "wt0"
        if is_overlay or is_tailnet_address(address) or address.is_unspecified:
            continue
        if address.is_loopback:
            loopback.append(address)
        elif address.version == 4:
            (poor if address in _LINK_LOCAL_V4 else good).append(address)
        elif address not in _LINK_LOCAL_V6:
            subnet = int(address) >> 64
            subnets[subnet] += 1
            if subnets[subnet] <= MAX_V6_PER_SUBNET:
                (poor if address in _ULA else good).append(address)
    return list(dict.fromkeys(good or poor or loopback))
