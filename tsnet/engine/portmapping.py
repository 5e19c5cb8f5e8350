"""The port that the home router maps for this node: when one is wanted, and who is told of it.

    wanted   while the node runs, UDP is on, and the way to the internet leads through a router at a private address
    not      under TS_DISABLE_PORTMAPPER, where control allows TCP alone, and behind routers with public addresses

    set_place(…)      each turn: costs two comparisons while nothing has changed
    take_changes()    whether `external` or `services` are others than at the last call

UPnP is off unless the configuration turns it on, and control's node attribute `debug-disable-upnp` turns it off again.

Source: Go net/netmon/state.go (LikelyHomeRouterIP), wgengine/magicsock/magicsock.go (portMapper).
Not here: the protocols (`tsnet.portmap`), the endpoints that come of it (`surroundings`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from tsnet.base.addresses import UdpAddress
from tsnet.base.links import Effect, Event
from tsnet.base.network import Network
from tsnet.base.trace import Trace
from tsnet.portmap.external import is_private
from tsnet.portmap.facts import Mapped, ServicesSeen, Unmapped
from tsnet.portmap.lease import ROOM, Place

if TYPE_CHECKING:
    from tsnet.portmap.mapper import Mapper


class PortMapping:
    """external: where peers outside reach the node through the router; None if it maps no port.

    services: which protocols the router speaks, so far as they were asked. enabled, upnp: by the configuration.
    """

    ROOM = ROOM

    def __init__(
        self,
        entropy: Callable[[int], bytes],
        *,
        enabled: bool = True,
        upnp: bool = False,
        trace: Trace | None = None,
    ) -> None:
        self.external: UdpAddress | None = None
        self.services: ServicesSeen = ServicesSeen()
        self._entropy, self._trace = entropy, trace
        self._mapper: Mapper | None = None  # it is imported and made where there is a router to ask
        self._enabled, self._allowed, self._upnp = enabled, True, upnp
        self._upnp_allowed = True
        self._network: Network | None = None
        self._port = 0
        self._has_changed = self._is_over = False

    # --- what it depends on ---------------------------------------------------------------------------------

    def set_place(self, network: Network | None, port: int, now: float) -> None:
        """port: of the node's UDP socket; 0 if it has none, or uses none."""
        if self._is_over or (network is self._network and port == self._port):
            return
        before, self._network, self._port = self._network, network, port
        self._move(now)
        if before is not None and network != before and self._mapper is not None:
            self._mapper.look_again(now)

    def set_modes(self, now: float, *, enabled: bool, upnp: bool) -> None:
        """What control allows: none of it, or no UPnP."""
        self._upnp_allowed = upnp
        if self._mapper is not None:
            self._mapper.set_upnp(upnp and self._upnp, now)
        if enabled != self._allowed:
            self._allowed = enabled
            self._move(now, "control allows TCP alone")

    def suspended(self, now: float) -> None:
        """The machine slept. Meanwhile its router may have restarted, or another one may have its address."""
        if self._mapper is not None:
            self._mapper.look_again(now)

    def release(self, now: float) -> None:
        """Give the port back: the node ends."""
        if not self._is_over:
            self._is_over = True
            if self._mapper is not None:
                self._mapper.release(now)

    def may_end(self, now: float) -> bool:
        """Whether the node's end waits for nothing here: no longer than `RELEASE_PATIENCE` after `release`."""
        return self._mapper is None or self._mapper.may_end(now)

    def take_changes(self) -> bool:
        for fact in () if self._mapper is None else self._mapper.take_facts():
            self._has_changed = True
            match fact:
                case Mapped(external):
                    self.external = external
                case Unmapped():
                    self.external = None
                case ServicesSeen():
                    self.services = fact
                case _:
                    assert_never(fact)
        has_changed, self._has_changed = self._has_changed, False
        return has_changed

    def _move(self, now: float, why: str = "the network has changed") -> None:
        if self._is_over:
            return
        place = _place(self._network, self._port) if self._enabled and self._allowed else None
        if self._mapper is None and place is not None:
            from tsnet.portmap.mapper import Mapper

            self._mapper = Mapper(self._entropy, upnp=self._upnp and self._upnp_allowed, trace=self._trace)
        if self._mapper is not None:
            self._mapper.set_place(place, now, why)

    # --- the verbs ------------------------------------------------------------------------------------------

    def receive(self, event: Event, now: float) -> None:
        """Of a link of ROOM."""
        if self._mapper is not None:
            self._mapper.receive(event, now)

    def transmit(self, now: float) -> list[Effect]:
        return [] if self._mapper is None else self._mapper.transmit(now)

    def deadline(self) -> float:
        return math.inf if self._mapper is None else self._mapper.deadline()


def _place(network: Network | None, port: int) -> Place | None:
    gateway = None if network is None else network.gateway_v4
    if gateway is None or not port:
        return None
    router, own = gateway.address, gateway.own_address
    return Place(router, own, port) if is_private(router) and is_private(own) else None
