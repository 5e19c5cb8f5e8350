"""How a peer is reached, as applications see it.

| its routes   | PeerPath                       | as text                                   |
|--------------|--------------------------------|-------------------------------------------|
| none         | NO_PATH                        | none                                      |
| relay        | region, region_code            | relay 1 (nyc)                             |
| UDP          | address                        | direct 192.0.2.7:41641                    |
| UDP, relay   | address, region, region_code   | direct 192.0.2.7:41641 and relay 1 (nyc)  |
| peer relay   | address, vni                   | peer relay 192.0.2.9:7777 (session 5)     |

A peer that nothing was sent to has NO_PATH, one object for all of them.

Not here: which routes a peer has (`disco.paths`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tsnet.base.addresses import DerpAddress, Destination, PeerRelayAddress, join_host_port
from tsnet.base.records import record

if TYPE_CHECKING:
    from tsnet.netmap.model import DerpMap


@record
class PeerPath:
    """How a peer is reached.

    address: "192.0.2.7:41641", of the direct path; "" without one. region, region_code: the relay region that carries
    what is sent; 0 and "" if none does. With both, each datagram goes both ways, until the direct path has answered.

    vni: not 0 if another peer relays; the address is that peer's then, and this is the number of the session there.
    """

    address: str = ""
    region: int = 0
    region_code: str = ""
    vni: int = 0

    @property
    def is_direct(self) -> bool:
        """Whether no relay is in the way."""
        return bool(self.address) and not self.region and not self.vni

    @property
    def is_peer_relay(self) -> bool:
        """Whether another peer carries it, and no relay region does."""
        return bool(self.vni) and not self.region

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(self.address or self.region)

    def __str__(self) -> str:
        by_peer = f"peer relay {self.address} (session {self.vni})"
        parts = [by_peer if self.vni else f"direct {self.address}"] if self.address else []
        if self.region:
            parts.append(f"relay {self.region}" + (f" ({self.region_code})" if self.region_code else ""))
        return " and ".join(parts) or "none"


NO_PATH = PeerPath()


def path_by(routes: Sequence[Destination], derp_map: DerpMap | None) -> PeerPath:
    """The path that these routes are."""
    if not routes:
        return NO_PATH
    address, region, vni = "", 0, 0
    for one in routes:
        if isinstance(one, DerpAddress):
            region = region or one.region
        elif not address:
            address = join_host_port(one.host, one.port)
            vni = one.vni if type(one) is PeerRelayAddress else 0
    known = derp_map.regions.get(region) if derp_map is not None else None
    return PeerPath(address, region, "" if known is None else known.code, vni)
