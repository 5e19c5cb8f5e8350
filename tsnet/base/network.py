"""The network around this machine, as the edge sees it: its own addresses, and the way to the internet.

Not here: how it is read and watched (`edge.io.netmon`, `edge.io.netwatch`), what a change means for a node
(`engine.surroundings`).
"""

from __future__ import annotations

import attrs

from tsnet.base.addresses import IPAddress
from tsnet.base.records import record


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
    """

    addresses: frozenset[IPAddress] = frozenset()
    silent: frozenset[IPAddress] = frozenset()
    gateway_v4: Gateway | None = None
    gateway_v6: Gateway | None = None
    carrier_changes: int = 0
    links: frozenset[int] = attrs.field(default=frozenset(), eq=False)
    is_complete: bool = True

    def gateway(self, version: int = 4) -> Gateway | None:
        return self.gateway_v4 if version == 4 else self.gateway_v6

    @property
    def is_connected(self) -> bool:
        """Whether there is an address by which another machine may be reached."""
        return any(not address.is_loopback for address in self.addresses)

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
