"""What the mapper tells the node."""

from __future__ import annotations

from collections.abc import Mapping

from tsnet.base.addresses import UdpAddress
from tsnet.base.records import record
from tsnet.portmap.lease import Protocol


@record
class Mapped:
    """From now on, what is sent to this address from outside arrives at the node's UDP port. It replaces any before."""

    external: UdpAddress
    protocol: Protocol


@record
class Unmapped:
    """The mapping is no more. why: words for a log."""

    external: UdpAddress
    why: str


@record
class ServicesSeen:
    """Which protocols the router speaks; None is not known, or was not asked."""

    nat_pmp: bool | None = None
    pcp: bool | None = None
    upnp: bool | None = None

    def updated(self, speaks: Mapping[Protocol, bool | None]) -> ServicesSeen:
        """With what a new attempt has found out so far."""
        before = {Protocol.NAT_PMP: self.nat_pmp, Protocol.PCP: self.pcp, Protocol.UPNP: self.upnp}
        return ServicesSeen(*(known if speaks.get(each) is None else speaks[each] for each, known in before.items()))


Fact = Mapped | Unmapped | ServicesSeen
