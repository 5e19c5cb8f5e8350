"""The network around this node, and what follows when it is another: the one path for every reason.

    the edge saw a change ─┐                        ┌► control and relays: waiting ends, silent ones are found out
    the machine slept      ┴─► is it another way? ──┤
                                                    └► (if so) the regions are measured anew, over UDP and by dialling

| what was there                         | what happens to it                                                          |
|----------------------------------------|-----------------------------------------------------------------------------|
| a link whose own address is gone       | the edge has ended it already; it is dialled again at once                  |
| a connection                           | asked for a sign of life; without one it ends, soon, and is dialled again   |
| a dial under way, if the way changed   | begun anew: its packets may have gone to nowhere, and TCP would wait        |
| a wait between two attempts            | is over, and the next one is short again                                    |
| the sessions of WireGuard              | stay; after a sleep they are given up (`Engine.suspended`)                  |

Where no address is left but loopback, nothing is measured: that waits for the network that comes.

STUN answers come back here. They give a region's latency to `Home`; our own address, as the regions see it, is told,
and control learns that UDP works here, if it does not know that.

Source: Go wgengine/userspace.go (linkChange), wgengine/magicsock (Rebind, ReSTUN), derp/derphttp (LinkChange).
Not here: how a change is seen (`edge.io.netwatch`), the UDP port (the pump binds it anew when it cannot send).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tsnet.base.addresses import UdpAddress
from tsnet.base.network import Network
from tsnet.base.trace import Trace
from tsnet.control.client.client import Client
from tsnet.engine import facts
from tsnet.engine.engine import Engine
from tsnet.engine.relays import Relays
from tsnet.engine.when_due import WhenDue
from tsnet.netcheck.home import Home, may_be_home
from tsnet.netcheck.probes import Probes
from tsnet.netmap.model import DerpMap, DerpRegion


class Surroundings:
    """network: as last told; None before that. mapped: our UDP port's address as others see it, by IP version.

    told: where facts are added.
    """

    def __init__(
        self,
        engine: Engine,
        relays: Relays,
        home: Home,
        control: WhenDue[Client],
        entropy: Callable[[int], bytes],
        *,
        told: list[facts.Fact],
        trace: Trace | None = None,
    ) -> None:
        self.network: Network | None = None
        self.mapped: dict[int, UdpAddress] = {}
        self.probes: Probes = Probes(entropy)
        self._engine, self._relays, self._home, self._control = engine, relays, home, control
        self._told, self._trace = told, trace
        self._derp_map = DerpMap()

    # --- what changes ---------------------------------------------------------------------------------------

    def changed(self, network: Network, now: float) -> None:
        """The network is this one now. The first one is no change."""
        before, self.network = self.network, network
        if before is None or network == before:
            return
        anew = network.leads_elsewhere(before)
        if self._trace is not None:
            self._trace("network changed", other_way=anew, v4=network.gateway_v4, v6=network.gateway_v6)
        self._find_out(now, anew=anew)

    def suspended(self, now: float) -> None:
        """The machine slept, or was copied: no key from before may seal anything, and no connection is sure."""
        self._engine.suspended(now)
        self._find_out(now, anew=True)

    def _find_out(self, now: float, *, anew: bool) -> None:
        """anew: the internet is reached by another way."""
        self._relays.network_changed(now, anew=anew)
        self._control.wake().network_changed(now, anew=anew)
        if anew and (self.network is None or self.network.is_connected):
            self._home.measure_all(now)
            self.mapped.clear()
            self._measure(self._derp_map.regions.values(), now)
        else:
            self._home.hurry(now)

    def apply(self, derp_map: DerpMap, now: float) -> None:
        """Measure the regions that are new or have changed."""
        before, self._derp_map = self._derp_map, derp_map
        if derp_map.regions != before.regions:
            regions = derp_map.regions.items()
            self._measure([region for number, region in regions if before.regions.get(number) != region], now)

    def _measure(self, regions: Iterable[DerpRegion], now: float) -> None:
        """Over UDP, so far as control lets us."""
        self.probes.ask([region for region in regions if may_be_home(region)], now)

    # --- the verbs ------------------------------------------------------------------------------------------

    def transmit(self, now: float) -> list[tuple[UdpAddress, list[bytes]]]:
        """The STUN requests that are due."""
        return self.probes.transmit(now)

    def deadline(self) -> float:
        return self.probes.deadline()

    def take_answers(self, now: float) -> None:
        """Call this after `Engine.receive`."""
        datagrams = self._engine.take_stun()
        if not datagrams:
            return
        is_news = not self._home.udp_answers
        for found in self.probes.receive(datagrams, now):
            if self._trace is not None:
                self._trace("region measured", region=found.region, latency=found.latency, sees=found.mapped)
            self._home.answered(found.region, found.latency, now, over_udp=True)
            version = 6 if ":" in found.mapped.host else 4
            if self.mapped.get(version) != found.mapped:
                self.mapped[version] = found.mapped
                self._told.append(facts.EndpointMapped(found.mapped, found.region))
        if is_news and self._home.udp_answers and self._home.region:  # a new home is told with all that is known
            self._control.wake().set_net_info(self._home.net_info(), now)
