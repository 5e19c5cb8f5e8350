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

What a report finds goes to `Home` when it is whole; without a home, each answer goes there at once. Control learns of
it if it says anything new but latencies. Our own address, as the regions see it, is told. Together with this machine's
addresses that makes our endpoints, which control and the paths are told as soon as they are settled:

| settled                          | why                                                                              |
|----------------------------------|----------------------------------------------------------------------------------|
| STUN is over (`Checker`)         | more does not come                                                               |
| 0.3 s after the first answer     | a peer waits, and the rest would bring little                                    |
| 1 s after the first request      | UDP does not pass, or not now: this machine's own addresses are offered          |

| endpoints are measured again                                    | because                                           |
|-----------------------------------------------------------------|---------------------------------------------------|
| when the network or control's map of the regions is another     | all that was measured is void                     |
| when our UDP socket was bound anew, to another port             | the same                                          |
| when a peer is to be told of them (`Paths.wants_endpoints`)     | NATs forget within half a minute                  |
| every 20 to 26 s while some peer is sent to                     | a NAT may have changed its mapping                |
| every 20 to 26 s with the node attribute `debug-always-stun`    | control wants it                                  |
| when a relay has broken                                         | that may be the first sign of another network     |

Otherwise nothing is measured while no peer is sent to.

Source: Go wgengine/userspace.go (linkChange), wgengine/magicsock (Rebind, ReSTUN, updateEndpoints), derp/derphttp
(LinkChange).
Not here: how a report is made (`netcheck.checker`), which endpoints there are (`netcheck.endpoints`), how a change is
seen (`edge.io.netwatch`), the UDP port (the pump binds it anew when it cannot send).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs

from tsnet.base.addresses import UdpAddress
from tsnet.base.links import Effect, Event
from tsnet.base.network import Network
from tsnet.base.trace import Trace
from tsnet.config import Config
from tsnet.control.client.client import Client
from tsnet.disco.modes import DiscoModes
from tsnet.engine import facts
from tsnet.engine.attributes import NodeAttributes
from tsnet.engine.derprelays import Relays
from tsnet.engine.engine import Engine
from tsnet.engine.when_due import WhenDue
from tsnet.netcheck.checker import Checker
from tsnet.netcheck.endpoints import Endpoints
from tsnet.netcheck.home import Home
from tsnet.netcheck.probes import Measurement
from tsnet.netcheck.report import Report, net_info
from tsnet.netmap.model import DerpMap
from tsnet.portmap.facts import ServicesSeen

SETTLED_AFTER_ANSWER, SETTLED_AFTER = 0.3, 1.0
AGAIN_AFTER, AGAIN_SPREAD = 20.0, 6.0
FRESH_FOR = 2.0
"""Seconds after a measurement in which no other one begins only because somebody wants its result."""


class Surroundings:
    """network: as last told; None before that. mapped: our UDP port's address as others see it, by IP version.

    config: the UDP port that was configured, and knobs of the environment. told: where facts are added.
    """

    def __init__(
        self,
        engine: Engine,
        relays: Relays,
        home: Home,
        control: WhenDue[Client],
        entropy: Callable[[int], bytes],
        config: Config,
        *,
        told: list[facts.Fact],
        trace: Trace | None = None,
    ) -> None:
        self.network: Network | None = None
        self.mapped: dict[int, UdpAddress] = {}
        self.checker: Checker = Checker(entropy, use_http=config.derp_over_http)
        self.endpoints: Endpoints = Endpoints(
            config.port, omit_local=config.omit_local_addresses, pretended=config.pretended_endpoints
        )
        self._port = 0
        self._engine, self._relays, self._home, self._control = engine, relays, home, control
        self._entropy = entropy
        self._told, self._trace = told, trace
        self.attributes: NodeAttributes = NodeAttributes()
        self._config, self._is_asked = config, False
        self._derp_map = DerpMap()
        self._has_settled = self._fragments_anyway = False
        self._settled_at = -math.inf
        self._settles_at = self._again_at = math.inf

    # --- what changes ---------------------------------------------------------------------------------------

    def changed(self, network: Network, now: float) -> None:
        """The network is this one now. The first one is no change."""
        before, self.network = self.network, network
        if before is not None and network == before:
            return
        self._set_modes(now)
        if before is None:
            return
        anew = network.leads_elsewhere(before)
        if self._trace is not None:
            v4, v6 = (None if way is None else way.interface for way in (network.gateway_v4, network.gateway_v6))
            self._trace("network changed", other_way=anew, v4=v4, v6=v6)
        self._find_out(now, anew=anew)

    def set_attributes(self, attributes: NodeAttributes, now: float) -> None:
        """What control asks of this node now."""
        before, self.attributes = self.attributes, attributes
        if attributes == before:
            return
        if self._trace is not None:
            self._trace("node attributes", are=attributes.names or "none")
        self._set_modes(now)
        if attributes.only_tcp_443 != before.only_tcp_443 and self._has_settled:
            self._measure(now, full=True)

    def _set_modes(self, now: float) -> None:
        config, attributes = self._config, self.attributes
        udp, direct = not (config.always_use_derp or attributes.only_tcp_443), not config.never_direct_udp
        silent = config.silent_disco or attributes.silent_disco
        loopback = self.network is not None and not self.network.is_connected
        mtu = attributes.peer_mtu_enable if config.path_mtu is None else config.path_mtu
        relays = not attributes.disable_relay_client
        mtu = mtu and not self._fragments_anyway
        modes = DiscoModes(udp=udp, direct=direct, silent=silent, relays=relays, loopback=loopback, mtu=mtu)
        if modes != self._engine.paths.modes:
            self._engine.set_modes(modes, now)

    def fragments_anyway(self, now: float) -> None:
        """This system cannot send datagrams that are not to be cut up, so that no path says what it carries."""
        self._fragments_anyway = True
        self._set_modes(now)

    def suspended(self, now: float) -> None:
        """The machine slept, or was copied: no key from before may seal anything, and no connection is sure."""
        self._engine.suspended(now)
        self._find_out(now, anew=True)

    def relay_lost(self, now: float) -> None:
        """A relay that was connected has broken, or cannot be reached any more."""
        if self._may_measure:
            self._measure(now)

    def port_mapped(self, external: UdpAddress | None, now: float) -> None:
        """A router has mapped a port for us, or does so no more."""
        self.endpoints.set_mapped(() if external is None else (external,))
        self._tell_endpoints(now)
        self._tell_control(now)

    def router_speaks(self, services: ServicesSeen, now: float) -> None:
        """Which protocols our router has to map ports, so far as they were asked."""
        self.checker.set_router(upnp=services.upnp, pmp=services.nat_pmp, pcp=services.pcp)
        self._tell_control(now)

    def _find_out(self, now: float, *, anew: bool) -> None:
        """anew: the internet is reached by another way."""
        self._relays.network_changed(now, anew=anew)
        self._control.wake().network_changed(now, anew=anew)
        if anew:
            self.checker.forget()
            self._forget_measured(now)
        if anew and self._may_measure:
            self._home.measure_all(now)
            self.mapped.clear()
            self._measure(now, full=True)
        else:
            self._home.hurry(now)
            self._tell_endpoints(now)

    def _forget_measured(self, now: float) -> None:
        """What was seen of us, and what reached peers, is void."""
        self._settled_at = -math.inf
        self.endpoints.forget()
        self._engine.paths.network_changed(now)

    @property
    def _may_measure(self) -> bool:
        return self.network is None or self.network.is_connected

    def apply(self, derp_map: DerpMap, now: float) -> None:
        """Control has sent another map of the regions."""
        before, self._derp_map = self._derp_map, derp_map
        if derp_map.regions != before.regions:
            self._measure(now, full=True)

    def _measure(self, now: float, *, full: bool = False) -> None:
        """Begin a report. One that is under way is begun anew if this is to be a full one."""
        if full or not self.checker.is_under_way:
            udp = not self.attributes.only_tcp_443
            self.checker.begin(
                self._derp_map, self.network, self._home.region, now, full=full, thorough=self._is_asked, udp=udp
            )
            self._settles_at = now + SETTLED_AFTER

    # --- what somebody asks for -----------------------------------------------------------------------------

    def ask_report(self, now: float) -> None:
        """Somebody wants a report on all regions. NetcheckDone follows within some seconds."""
        if not self._is_asked:
            self._is_asked = True
            self._measure(now, full=True)

    def report_so_far(self, now: float) -> facts.NetcheckDone:
        """For somebody who cannot wait. The report that was asked for goes on."""
        return self._shown(self.checker.so_far(now))

    def _shown(self, report: Report) -> facts.NetcheckDone:
        preferred = self._home.region or self._home.nearest(report.region_latency)
        endpoints = tuple(address for address, _kind in self.endpoints.found)
        report = attrs.evolve(report, preferred_region=preferred)
        return facts.NetcheckDone(report, endpoints, self._derp_map.regions)

    # --- the verbs ------------------------------------------------------------------------------------------

    def receive(self, event: Event, now: float) -> None:
        """Of a link of the room "netcheck"."""
        self.checker.receive(event, now)

    def transmit(self, now: float, port: int) -> tuple[list[tuple[UdpAddress, list[bytes]]], list[Effect]]:
        """The requests that are due. port: of our UDP socket, now. Call this after `Engine.transmit`."""
        if port != self._port:
            self._port_changed(port, now)
        self._follow_peers(now)
        down = self.checker.transmit(now)
        if self._settles_at != math.inf and (now >= self._settles_at or not self.checker.awaits_stun):
            self._settle(now)
        for report in self.checker.take_reports():
            self._reported(report, now)
        return down

    def _port_changed(self, port: int, now: float) -> None:
        """Our UDP socket has that port now. No router knows it: what was seen of the one before is void."""
        was_bound, self._port = self._port != 0, port
        if not was_bound or not self._has_settled or not self._may_measure:
            self._tell_endpoints(now)
            return
        self._forget_measured(now)
        self._measure(now, full=True)

    def is_wanted(self, now: float) -> bool:
        """Whether a peer is sent to, and no time is set when to measure again."""
        return self._again_at == math.inf and self._engine.paths.is_active(now)

    def deadline(self) -> float:
        return min(self.checker.deadline(), self._settles_at, self._again_at)

    def _follow_peers(self, now: float) -> None:
        """Measure again if a peer is to be told of our endpoints, and every now and then while one is sent to."""
        paths = self._engine.paths
        if paths.wants_endpoints and self._settles_at == math.inf:
            if now < self._settled_at + FRESH_FOR or not self._may_measure:
                self._settle(now)
            else:
                self._measure(now)
        if not (self.attributes.always_stun or paths.is_active(now)):
            self._again_at = math.inf
        elif self._again_at == math.inf:
            self._again_at = now + AGAIN_AFTER + AGAIN_SPREAD * self._entropy(1)[0] / 255
        elif now >= self._again_at:
            self._again_at = math.inf
            self._measure(now)
            self._follow_peers(now)

    def _settle(self, now: float) -> None:
        """What is known now are our endpoints."""
        self._settles_at, self._settled_at, self._has_settled = math.inf, now, True
        self._tell_endpoints(now)

    def _tell_endpoints(self, now: float) -> None:
        """Tell the paths, and control if they are others than before; nobody before the first are settled."""
        if not self._has_settled:
            return
        before = self.endpoints.found
        found = self.endpoints.determine(self.network, self._port, self.checker.draft.seen, now)
        if self._trace is not None and found != before:
            self._trace("endpoints", are=tuple(address for address, _kind in found) or "none")
        self._engine.paths.set_endpoints([address for address, _kind in found], now, measured_at=self._settled_at)
        if found != before:
            self._control.wake().set_endpoints(found, now)

    def take_answers(self, now: float) -> None:
        """Call this after `Engine.receive`."""
        datagrams = self._engine.take_stun()
        if not datagrams:
            return
        found = self.checker.receive_stun(datagrams, now)
        for measured in found:
            self._take(measured, now)
        if found and self._settles_at == math.inf:  # later than the others
            self._tell_endpoints(now)
        elif found:
            self._settles_at = min(self._settles_at, now + SETTLED_AFTER_ANSWER)

    def _take(self, measured: Measurement, now: float) -> None:
        region, latency, mapped = measured
        if self._trace is not None:
            self._trace("region measured", region=region, latency=latency, sees=mapped)
        self._home.udp_answers = True
        if self._home.is_lost:
            self._home.answered(region, latency, now, over_udp=True)
        version = 6 if ":" in mapped.host else 4
        if self.mapped.get(version) != mapped:
            self.mapped[version] = mapped
            self._told.append(facts.EndpointMapped(mapped, region))

    def _reported(self, report: Report, now: float) -> None:
        """A report is whole: it may move our home, and control may not know all of it."""
        if self._trace is not None:
            self._trace("netcheck", udp=report.udp, hard_nat=report.mapping_varies_by_dest_ip, full=report.is_full)
        self._home.measured(report.region_latency, now)
        if self._is_asked:
            self._is_asked = False
            self._told.append(self._shown(report))
        self._tell_control(now)

    def _tell_control(self, now: float) -> None:
        """What the last report says, so far as it is news; a new home is told with all that is known."""
        report = self.checker.last
        if report is not None:
            self._home.about = net_info(report, port_mapped=bool(self.endpoints.mapped))
        if report is not None and self._home.region:
            self._control.wake().set_net_info(self._home.net_info(), now)
