"""What follows for a node when the network around it changes: in a simulated world, whose cables can be pulled."""

from __future__ import annotations

import math
from collections.abc import Callable
from ipaddress import ip_address

import attrs
import pytest

from tests.house import House, events_of
from tsnet.base.addresses import UdpAddress
from tsnet.base.network import Network
from tsnet.derp.client import Client
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.run.handle import Handle
from tsnet.engine import facts
from tsnet.engine.node import SUSPENDED_AFTER, Node
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
        return len(self.node.surroundings.probes._asked)


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
    lab.house.run(0.2)
    assert not lab.is_up()
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
    assert handle.node.surroundings.probes.deadline() == math.inf


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
    assert lab.stun_requests() == 0


def test_an_idle_node_asks_nobody_over_udp(lab: Lab) -> None:
    lab.house.run(60)
    sent = lab.house.world.counts["sent"]
    lab.house.run(600)
    assert lab.house.world.counts["sent"] == sent
