"""What follows for a node when the network around it changes: in a simulated world, whose cables can be pulled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

import attrs
import pytest

from tests.house import House, events_of
from tsnet.base.addresses import UdpAddress
from tsnet.base.network import Network
from tsnet.config import configure
from tsnet.control.client.facts import NetMapChanged
from tsnet.derp.client import Client
from tsnet.disco.modes import DiscoModes
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.run.handle import Handle
from tsnet.engine import facts
from tsnet.engine.attributes import NodeAttributes
from tsnet.engine.node import Node
from tsnet.engine.sleep import SUSPENDED_AFTER
from tsnet.netcheck.endpoints import Kind
from tsnet.netcheck.stun import decode_request, encode_response
from tsnet.netmap.model import DerpMap
from tsnet.testing.simulated import Machine

WITHIN = 1.0


@attrs.define
class Lab:
    """A stream from a node, whose machine has a cable, to another node."""

    house: House
    handle: Handle
    machine: Machine
    stream: Pipe
    other: Pipe

    @property
    def node(self) -> Node:
        return self.handle.node

    @property
    def relay(self) -> Client:
        return self.node.relays.clients[self.node.home.region]

    def exchange(self) -> None:
        """Bytes go both ways, over the stream of before."""
        for there, here in ((self.stream, self.other), (self.other, self.stream)):
            there.give(b"hello")
            self.house.until(lambda here=here: here.has_news, 30)  # type: ignore[misc]
            assert here.take(100) == b"hello"

    def is_up(self) -> bool:
        return self.node.is_reachable and self.node.control._is_ready

    def up_after(self) -> float:
        """How long it takes until peers can reach it again, and control."""
        begun = self.house.now
        self.house.until(self.is_up, 60)
        return self.house.now - begun

    def tell(self, network: Network) -> None:
        """The node's machine has another network, which the world itself does not know of."""
        self.node.network_changed(network, self.house.now)
        self.handle.pump.mark()

    def stun_requests(self) -> int:
        """How many sets of them are under way."""
        probes = self.node.surroundings.checker._probes
        return 0 if probes is None else len(probes._sets)


@pytest.fixture
def lab() -> Lab:
    house = House()
    handle, other = house.up("mobile"), house.up("fixed")
    stream, accepted, _ = house.connect(handle, other)
    lab = Lab(house, handle, house.world.machine("mobile"), stream, accepted)
    lab.exchange()
    return lab


@pytest.mark.parametrize("seconds", [0.5, 7.0, 100.0])
def test_a_cable_that_is_pulled_and_put_back(lab: Lab, seconds: float) -> None:
    lab.machine.unplug()
    lab.house.run(seconds)
    assert not lab.is_up()
    assert not lab.node.home.region or lab.node.reachability.trouble(None, lab.house.now)
    lab.machine.plug()
    assert lab.up_after() < WITHIN
    lab.exchange()


def test_a_machine_that_moves_while_nothing_is_lost(lab: Lab) -> None:
    events = lab.handle.subscribe()
    lab.machine.move()
    lab.house.run(0.001)
    assert not lab.is_up()
    assert lab.up_after() < WITHIN
    lab.exchange()
    lost = [event for event in events_of(events) if isinstance(event, facts.RelayChanged) and not event.connected]
    assert [event.reason for event in lost] == ["own address lost"]


def test_a_cable_that_is_pulled_again_and_again(lab: Lab) -> None:
    for _ in range(20):
        lab.machine.unplug()
        lab.house.run(0.3)
        lab.machine.plug()
        lab.house.run(0.3)
    assert lab.up_after() < WITHIN
    lab.exchange()


def test_a_connection_that_is_still_good_is_asked_and_kept(lab: Lab) -> None:
    relay, control = lab.relay.link, lab.node.control._uplink
    lab.tell(attrs.evolve(lab.machine.network(), gateway_v6=None))
    lab.house.run(5)
    assert lab.relay.link == relay
    assert lab.node.control._uplink is control
    assert control is not None
    assert control.heard_by == math.inf


def test_connections_that_have_become_silent_are_found_out_and_replaced(lab: Lab) -> None:
    """As when a router on the way has forgotten them: this machine itself has lost nothing."""
    for end in lab.handle.pump._links.ends.values():  # type: ignore[attr-defined]
        end.source = "10.99.0.1"  # nothing passes any more
    lab.tell(attrs.evolve(lab.machine.network(), gateway_v6=None))
    lab.house.run(0.4)
    assert lab.relay.is_connected
    lab.house.until(lambda: not lab.is_up(), 0.3)
    assert lab.up_after() < WITHIN
    lab.exchange()


def test_a_bridge_for_containers_measures_nothing(lab: Lab) -> None:
    here = lab.machine.network()
    lab.tell(attrs.evolve(here, addresses=here.addresses | {ip_address("172.17.0.1")}))
    assert lab.stun_requests() == 0
    lab.tell(attrs.evolve(here, gateway_v6=None))
    assert lab.stun_requests() == 1


def test_the_same_network_again_is_no_change_and_none_is_measured_without_one(lab: Lab) -> None:
    lab.tell(lab.machine.network())
    assert lab.stun_requests() == 0
    lab.tell(Network(addresses=frozenset({ip_address("127.0.0.1")})))
    assert lab.stun_requests() == 0


def test_a_sleep_goes_the_same_way(lab: Lab) -> None:
    told: list[tuple[str, bool]] = []

    def note(what: str) -> Callable[..., None]:
        return lambda now, *, anew: told.append((what, anew))

    lab.node.relays.network_changed = note("relays")  # type: ignore[method-assign]
    lab.node.control.network_changed = note("control")  # type: ignore[method-assign]
    lab.node.engine.suspended = lambda now: told.append(("engine", True))  # type: ignore[method-assign]
    while lab.node.deadline() <= lab.house.now:
        lab.node.transmit(lab.house.now, 1 << 20)
    lab.node._clamp(lab.node.deadline() + 2 * SUSPENDED_AFTER)
    assert told == [("engine", True), ("relays", True), ("control", True)]
    assert lab.stun_requests() == 1


# --- STUN -------------------------------------------------------------------------------------------------------


def test_regions_are_measured_over_udp_and_our_own_address_is_told(lab: Lab) -> None:
    mapped = UdpAddress(lab.machine.v4, lab.handle.pump._udp.local_port)
    region, latency = lab.node.home.region, 2 * lab.house.world.wire.latency
    assert lab.node.surroundings.mapped == {4: mapped}
    info = lab.node.home.net_info()
    assert info["WorkingUDP"]
    assert info["DERPLatency"] == {f"{region}-v4": pytest.approx(latency)}
    told: list[facts.Fact] = []
    pass_on = lab.handle.pump._on_facts

    def on_facts(found: list[facts.Fact]) -> None:
        told.extend(found)
        pass_on(found)

    lab.handle.pump._on_facts = on_facts
    lab.machine.move()
    lab.house.run(1)
    moved = UdpAddress(lab.machine.v4, mapped.port)
    assert moved != mapped
    assert [fact for fact in told if isinstance(fact, facts.EndpointMapped)] == [facts.EndpointMapped(moved, region)]


def test_where_udp_does_not_pass_a_node_gets_up_all_the_same() -> None:
    house = House()
    house.world.wire.loss = 1.0
    handle = house.up("a")
    house.run(10)
    assert not handle.node.home.net_info()["WorkingUDP"]
    assert handle.node.surroundings.mapped == {}
    assert handle.node.surroundings.checker.deadline() == math.inf


def test_control_learns_whether_udp_works_here() -> None:
    house = House()
    house.world.wire.loss = 1.0
    handle = house.up("a")
    house.run(10)
    publisher, machine = handle.node.control._publisher, house.world.machine("a")
    assert not publisher._net_info["WorkingUDP"]
    house.world.wire.loss = 0.0
    machine.move()
    house.run(10)
    assert publisher._net_info["WorkingUDP"]
    assert not publisher._changed, "control has it"
    home = handle.node.home.region
    house.world.wire.loss = 1.0
    machine.move()
    house.run(10)
    assert handle.node.home.region == home
    assert not handle.node.home.net_info()["WorkingUDP"]


def test_what_control_wants_left_alone_is_not_measured(lab: Lab) -> None:
    [region] = lab.node.relays._regions.values()
    other = attrs.evolve(region, region_id=7, no_measure_no_home=True)
    lab.node.surroundings.apply(DerpMap({region.region_id: region, 7: other}), lab.house.now)
    probes = lab.node.surroundings.checker._probes
    assert probes is not None
    assert {number for number, _version in probes._sets} == {region.region_id}


def test_an_idle_node_asks_nobody_over_udp(lab: Lab) -> None:
    lab.house.run(80)  # a peer is idle 45 s after the last datagram for it, WireGuard's keepalives among them
    sent = lab.house.world.counts["sent"]
    lab.house.run(200)
    assert lab.house.world.counts["sent"] == sent


# --- our endpoints ----------------------------------------------------------------------------------------------


def endpoints(lab: Lab) -> set[UdpAddress]:
    """What the node's machine can be reached at, in a world without NAT."""
    port = lab.handle.pump._udp.local_port
    return {UdpAddress(lab.machine.v4, port), UdpAddress(lab.machine.v6, port)}


def published(lab: Lab) -> tuple[UdpAddress, ...]:
    return tuple(address for address, _ in lab.node.control._publisher._endpoints)


def test_control_and_the_paths_are_told_our_endpoints(lab: Lab) -> None:
    found = lab.node.surroundings.endpoints.found
    assert {address for address, _ in found} == endpoints(lab)
    assert found[0] == (UdpAddress(lab.machine.v4, lab.handle.pump._udp.local_port), 2), "seen by STUN, and first"
    assert published(lab) == lab.node.engine.paths.endpoints == tuple(address for address, _ in found)
    assert not lab.node.control._publisher._changed, "control has them"


def test_a_machine_that_moves_has_other_endpoints_and_offers_none_of_those_before(lab: Lab) -> None:
    before = endpoints(lab)
    lab.machine.move()
    lab.house.run(1)
    assert set(published(lab)) == set(lab.node.engine.paths.endpoints) == endpoints(lab)
    assert not endpoints(lab) & before


def test_where_udp_does_not_pass_the_machines_own_addresses_are_offered_within_a_second() -> None:
    house = House()
    house.world.wire.loss = 1.0
    handle = house.up("a")
    house.run(1.1)
    machine, port = house.world.machine("a"), handle.pump._udp.local_port
    assert handle.node.engine.paths.endpoints == (UdpAddress(machine.v4, port), UdpAddress(machine.v6, port))


def test_a_new_address_of_this_machine_is_offered_although_nothing_is_measured(lab: Lab) -> None:
    here, bridge = lab.machine.network(), ip_address("172.17.0.1")
    lab.tell(attrs.evolve(here, addresses=here.addresses | {bridge}))
    assert lab.stun_requests() == 0
    offered = UdpAddress(str(bridge), lab.handle.pump._udp.local_port)
    assert offered in published(lab)
    assert offered in lab.node.engine.paths.endpoints


def test_another_port_is_another_endpoint(lab: Lab) -> None:
    lab.handle.pump._udp.local_port = 999  # type: ignore[misc]
    lab.handle.pump.mark()
    lab.house.run(1)
    assert UdpAddress(lab.machine.v4, 999) in published(lab)


def test_on_another_port_all_is_measured_anew_and_nothing_is_offered_of_the_one_before(lab: Lab) -> None:
    lab.house.run(10)
    surroundings, router = lab.node.surroundings, UdpAddress("198.51.100.7", 20_000)
    surroundings.checker.draft.seen.v4 = router
    surroundings._tell_endpoints(lab.house.now)
    assert router in lab.node.engine.paths.endpoints
    lab.handle.pump._udp.local_port = 999  # type: ignore[misc]
    lab.handle.pump.mark()
    lab.house.until(lambda: lab.stun_requests(), 0.01)
    lab.house.run(2)
    assert router not in lab.node.engine.paths.endpoints
    assert router not in published(lab)
    assert UdpAddress(lab.machine.v4, 999) in lab.node.engine.paths.endpoints


def test_while_a_peer_is_sent_to_endpoints_are_measured_every_20_to_26_seconds(lab: Lab) -> None:
    asked: list[float] = []
    begin = lab.node.surroundings.checker.begin

    def note(derp_map: DerpMap, network: Network, home: int, now: float, **options: bool) -> None:
        asked.append(now)
        begin(derp_map, network, home, now, **options)

    lab.node.surroundings.checker.begin = note  # type: ignore[method-assign,assignment]
    lab.node.engine.paths.is_active = lambda now: True  # type: ignore[method-assign]
    begun = lab.house.now
    lab.handle.pump.mark()
    lab.house.run(200)
    gaps = [later - earlier for earlier, later in zip([begun, *asked], asked, strict=False)]
    assert 8 <= len(gaps) <= 10
    assert all(20 <= gap <= 26.1 for gap in gaps)
    assert len(set(gaps)) > 1
    lab.node.engine.paths.is_active = lambda now: False  # type: ignore[method-assign]
    lab.house.run(60)
    assert len(asked) == len(gaps)


class Wanting:
    """Paths of which one peer is to be told our endpoints."""

    def __init__(self, lab: Lab) -> None:
        self.told: list[float] = []
        self.wants = True
        paths = lab.node.engine.paths
        set_endpoints = paths.set_endpoints

        def note(endpoints: Sequence[UdpAddress], now: float, *, measured_at: float | None = None) -> None:
            self.told.append(now)
            self.wants = False
            set_endpoints(endpoints, now, measured_at=measured_at)

        paths.set_endpoints = note  # type: ignore[method-assign]
        wants = property(lambda _: self.wants)
        paths.__class__ = type("WantingPaths", (type(paths),), {"wants_endpoints": wants})
        lab.handle.pump.mark()


def test_who_wants_our_endpoints_gets_measured_ones(lab: Lab) -> None:
    lab.house.run(10)
    wanting, begun = Wanting(lab), lab.house.now
    lab.house.run(1)
    [told] = wanting.told
    assert told == pytest.approx(begun + 2 * lab.house.world.wire.latency)


def test_who_wants_our_endpoints_gets_what_there_is_if_nobody_answers(lab: Lab) -> None:
    lab.house.run(10)
    lab.house.world.wire.loss = 1.0
    wanting, begun = Wanting(lab), lab.house.now
    lab.house.run(2)
    [told] = wanting.told
    assert told == pytest.approx(begun + 1.0)
    wanting.wants = True
    lab.handle.pump.mark()
    lab.house.run(0.01)
    assert len(wanting.told) == 2, "the last measurement is fresh enough"


def test_what_is_told_again_is_not_taken_for_measured(lab: Lab) -> None:
    lab.house.run(100)
    paths, settled_at = lab.node.engine.paths, lab.node.surroundings._settled_at
    lab.node.surroundings.port_mapped(UdpAddress("198.51.100.1", 5), lab.house.now)
    assert UdpAddress("198.51.100.1", 5) in paths.endpoints
    assert paths._measured_at == settled_at < lab.house.now - 27


def test_a_relay_that_breaks_is_a_reason_to_measure(lab: Lab) -> None:
    lab.house.run(10)
    sent = lab.house.world.counts["sent"]
    lab.house.tailnet.restart_derp()
    lab.house.until(lambda: lab.stun_requests(), 5)
    lab.house.run(5)
    assert lab.house.world.counts["sent"] > sent


def test_a_cable_that_is_pulled_takes_all_endpoints_but_loopback(lab: Lab) -> None:
    assert not lab.node.engine.paths.modes.loopback
    lab.machine.unplug()
    lab.house.run(0.1)
    port = lab.handle.pump._udp.local_port
    assert lab.node.engine.paths.endpoints == (UdpAddress("127.0.0.1", port), UdpAddress("::1", port))
    assert lab.node.engine.paths.modes.loopback


def test_stun_of_strangers_changes_nothing(lab: Lab) -> None:
    """Forged, replayed, reflected and oversized: none of it is answered, and all of it is counted."""
    surroundings, pump = lab.node.surroundings, lab.handle.pump
    lab.house.run(10)
    found = surroundings.endpoints.found
    liar = UdpAddress("198.51.100.66", 6666)
    surroundings._measure(lab.house.now)
    [(server, [request]), *_], _ = surroundings.checker.transmit(lab.house.now)
    tx_id = decode_request(request)
    hostile = [
        (server, encode_response(bytes(12), liar)),  # a TxID that nobody has used
        (liar, encode_response(tx_id, liar)),  # right, but from somebody else
        (server, encode_response(tx_id, UdpAddress("0.0.0.0", 0))),
        (server, request),  # our own, reflected
        (server, encode_response(tx_id, liar)[:-1]),
        (server, request[:20] + bytes(65_000)),
    ]
    for source, datagram in hostile:
        lab.node.receive([(source, [datagram])], (), lab.house.now)
    runs, _ = lab.node.transmit(lab.house.now, 1 << 20)
    assert not [run for run in runs if run[0] == liar]
    assert sum(surroundings.checker.dropped.values()) == len(hostile)
    assert surroundings.endpoints.found == found
    pump.mark()
    answer = encode_response(tx_id, found[0][0])
    for _ in range(3):
        lab.node.receive([(server, [answer])], (), lab.house.now)
    assert surroundings.checker.dropped["stun unasked"] == 3, "one of its kind is taken, and the others come too late"
    assert surroundings.endpoints.found == found


def test_a_port_that_a_router_has_mapped_is_the_first_endpoint(lab: Lab) -> None:
    external = UdpAddress("203.0.113.9", 4242)
    lab.node.surroundings.port_mapped(external, lab.house.now)
    assert lab.node.surroundings.endpoints.found[0] == (external, 3)
    assert lab.node.engine.paths.endpoints[0] == published(lab)[0] == external
    assert lab.node.home.net_info()["HavePortMap"]
    lab.node.surroundings.port_mapped(None, lab.house.now)
    assert "HavePortMap" not in lab.node.home.net_info()


# --- what control asks, and the environment -----------------------------------------------------------------------


def ask(lab: Lab, **attributes: bool) -> None:
    lab.node.surroundings.set_attributes(NodeAttributes(**attributes), lab.house.now)
    lab.node._touch()
    lab.handle.pump.mark()


def test_control_may_switch_udp_off_and_on_again(lab: Lab) -> None:
    lab.house.run(80)  # the peer has no more heartbeats to send
    sent = lab.house.world.counts["sent"]
    ask(lab, only_tcp_443=True)
    assert not lab.node.engine.paths.modes.udp
    lab.house.run(10)
    assert lab.house.world.counts["sent"] == sent, "no STUN either"
    assert not lab.node.home.net_info()["WorkingUDP"]
    assert lab.node.surroundings.checker.last is not None
    assert lab.node.surroundings.checker.last.region_latency, "measured over HTTPS"
    ask(lab)
    lab.house.run(10)
    assert lab.node.engine.paths.modes.udp
    assert lab.node.home.net_info()["WorkingUDP"]


def test_what_is_traced_can_be_shown(lab: Lab) -> None:
    told: dict[str, dict[str, object]] = {}

    def trace(event: str, /, **fields: object) -> None:
        told[event] = fields

    lab.node.surroundings._trace = trace
    here = lab.machine.network()
    lab.tell(attrs.evolve(here, gateway_v4=None, addresses=here.addresses | {ip_address("172.17.0.1")}))
    lab.node.surroundings.set_attributes(NodeAttributes(silent_disco=True), lab.house.now)
    lab.house.run(5)
    assert here.gateway_v6 is not None
    assert told["network changed"] == {"other_way": True, "v4": None, "v6": here.gateway_v6.interface}
    assert told["node attributes"] == {"are": ("silent-disco",)}
    assert {"region measured", "endpoints", "netcheck"} <= told.keys()
    lab.node.surroundings.set_attributes(NodeAttributes(), lab.house.now)
    assert told["node attributes"] == {"are": "none"}


def test_silent_disco_is_passed_on(lab: Lab) -> None:
    ask(lab, silent_disco=True)
    assert lab.node.engine.paths.modes == DiscoModes(silent=True)
    lab.machine.unplug()
    lab.house.run(1)
    assert lab.node.engine.paths.modes == DiscoModes(silent=True, loopback=True)


def test_paths_are_asked_what_they_carry_if_control_or_the_environment_wants_it(lab: Lab) -> None:
    ask(lab, peer_mtu_enable=True)
    assert lab.node.engine.paths.modes == DiscoModes(mtu=True)
    assert lab.node.engine.stack._ip.receive_mtu == 8920
    ask(lab)
    assert lab.node.engine.paths.modes == DiscoModes()
    assert lab.node.engine.stack._ip.receive_mtu == 1280
    for asked in (True, False):
        lab.node.surroundings._config = attrs.evolve(lab.node.config, path_mtu=asked)
        ask(lab, peer_mtu_enable=asked)
        ask(lab, peer_mtu_enable=not asked)
        assert lab.node.engine.paths.modes.mtu is asked


def test_where_the_system_cuts_datagrams_up_no_path_is_asked(lab: Lab) -> None:
    lab.node.surroundings.fragments_anyway(lab.house.now)
    ask(lab, peer_mtu_enable=True)
    assert not lab.node.wants_whole_datagrams


def test_endpoints_are_measured_all_the_time_if_control_wants_it(lab: Lab) -> None:
    lab.house.run(60)
    ask(lab, always_stun=True)
    sent = lab.house.world.counts["sent"]
    lab.house.run(100)
    assert lab.house.world.counts["sent"] >= sent + 4


def test_control_grants_attributes_with_the_netmap() -> None:
    house = House()
    handle = house.up("a")
    assert handle.node.netmap is not None
    own = attrs.evolve(handle.node.netmap.self_node, capabilities={"silent-disco": ()})
    changed = attrs.evolve(handle.node.netmap, self_node=own)
    handle.node.word.tell(NetMapChanged(changed), house.now)
    assert handle.node.surroundings.attributes == NodeAttributes(silent_disco=True)


@pytest.mark.parametrize("knob", ["always_use_derp", "never_direct_udp"])
def test_a_knob_of_the_environment_forbids_direct_paths(knob: str) -> None:
    house = House()
    assert getattr(configure(environ={f"TS_DEBUG_{knob.upper()}": "1"}), knob)
    handle = house.handle("a")
    knobs: dict[str, Any] = {knob: True}
    handle.config = attrs.evolve(handle.config, **knobs)
    house.finish(handle.reachable(10))
    modes = handle.node.engine.paths.modes
    assert not (modes.udp and modes.direct)
    assert modes.udp is (knob == "never_direct_udp")
    assert handle.node.home.net_info()["WorkingUDP"], "regions are measured as ever"


def test_other_knobs_steer_disco_and_what_is_offered() -> None:
    house, pretended = House(), UdpAddress("198.51.100.9", 9)
    handle = house.handle("a")
    handle.config = attrs.evolve(
        handle.config, silent_disco=True, omit_local_addresses=True, pretended_endpoints=(pretended,)
    )
    house.finish(handle.reachable(10))
    house.run(5)
    assert handle.node.engine.paths.modes.silent
    port = handle.pump._udp.local_port
    own = {UdpAddress(str(address), port) for address in house.world.machine("a").interfaces()}
    found = dict(handle.node.surroundings.endpoints.found)
    assert found[pretended] == Kind.EXPLICIT
    assert Kind.LOCAL not in found.values()
    assert own
