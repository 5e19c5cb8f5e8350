"""The router of a simulated world's machines: a machine at the address of their gateway, with `router.Router` in it."""

from __future__ import annotations

from tests.portmap.router import Router
from tsnet.base.addresses import UdpAddress
from tsnet.base.links import Datagrams, Link
from tsnet.portmap.natpmp import PORT
from tsnet.testing.simulated import ROUTER_V4, Machine, SimulatedWorld

LINK = Link("router", "", 1)


class SimulatedRouter:
    """NAT-PMP and PCP only."""

    def __init__(self, world: SimulatedWorld, router: Router) -> None:
        self.router = router
        self._machine: Machine = world.machine("router")
        self._machine.v4 = str(ROUTER_V4)
        world._commons.by_address[str(ROUTER_V4)] = self._machine
        self._port = self._machine.open_udp(PORT, self._ready)

    def _ready(self) -> None:
        now = self._machine.clock()
        for source, datagrams in self._port.receive():
            for datagram in datagrams:
                for event in self.router._answer(LINK, PORT, datagram, now):
                    assert isinstance(event, Datagrams)
                    self._port.send(UdpAddress(*source), event.datagrams)
