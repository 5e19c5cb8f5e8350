"""When a node wants a port mapped, and what it learns of it."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.house import House
from tests.portmap.router import GATEWAY, OUTSIDE, OWN, PLACE, Router
from tests.portmap.simulated import SimulatedRouter
from tsnet.base.addresses import UdpAddress
from tsnet.base.links import Event
from tsnet.base.network import Gateway, Network
from tsnet.base.trace import Trace
from tsnet.engine.portmapping import PortMapping
from tsnet.netcheck.endpoints import Kind
from tsnet.portmap.facts import ServicesSeen

ROOT = Path(__file__).parents[2]
HOME = Network(addresses=frozenset({OWN}), gateway_v4=Gateway(GATEWAY, "eth0", OWN))
EXTERNAL = UdpAddress(str(OUTSIDE), 6000)


def mapping(*, enabled: bool = True, upnp: bool = False, trace: Trace | None = None) -> PortMapping:
    return PortMapping(random.Random(1).randbytes, enabled=enabled, upnp=upnp, trace=trace)


def settle(some: PortMapping, router: Router, now: float) -> None:
    events: list[Event] = []
    for _ in range(50):
        for event in events:
            some.receive(event, now)
        events = [event for effect in some.transmit(now) for event in router.take(effect, now)]
        if not events and some.deadline() > now:
            return
    raise AssertionError("it does not come to rest")


def test_a_port_is_mapped_behind_a_home_router() -> None:
    some, router = mapping(), Router()
    assert some.deadline() == math.inf
    some.set_place(HOME, PLACE.port, 0.0)
    settle(some, router, 0.0)
    assert some.take_changes()
    assert (some.external, some.services) == (EXTERNAL, ServicesSeen(nat_pmp=True, pcp=True))
    assert not some.take_changes()
    some.set_place(HOME, PLACE.port, 1.0)
    assert some.deadline() == 3600.0


@pytest.mark.parametrize(
    "network",
    [
        None,
        Network(),
        Network(gateway_v4=Gateway(None, "tun0", OWN)),
        Network(gateway_v4=Gateway(GATEWAY, "eth0", None)),
        Network(gateway_v4=Gateway(ip_address("198.51.100.1"), "eth0", ip_address("198.51.100.9"))),
        Network(gateway_v4=Gateway(ip_address("100.64.0.1"), "eth0", ip_address("100.64.0.9"))),
        Network(gateway_v4=Gateway(ip_address("169.254.169.1"), "eth0", ip_address("169.254.169.9"))),
        Network(gateway_v6=Gateway(ip_address("fe80::1"), "eth0", ip_address("fd00::9"))),
    ],
)
def test_anywhere_else_nobody_is_asked(network: Network | None) -> None:
    some = mapping(upnp=True)
    some.set_place(network, PLACE.port, 0.0)
    assert (some.transmit(0.0), some.deadline(), some.take_changes()) == ([], math.inf, False)


def test_without_udp_or_permission_nobody_is_asked() -> None:
    for some, port in ((mapping(), 0), (mapping(enabled=False), PLACE.port)):
        some.set_place(HOME, port, 0.0)
        assert (some.transmit(0.0), some.deadline()) == ([], math.inf)


def test_control_may_take_it_back() -> None:
    told: list[tuple[str, object]] = []

    def trace(event: str, /, **fields: object) -> None:
        told.append((event, fields.get("why")))

    some, router = mapping(upnp=True, trace=trace), Router()
    some.set_place(HOME, PLACE.port, 0.0)
    settle(some, router, 0.0)
    some.take_changes()
    some.set_modes(1.0, enabled=False, upnp=True)
    settle(some, router, 1.0)
    assert some.take_changes()
    assert (some.external, router.mappings) == (None, {})
    assert told[-1] == ("port mapping lost", "control allows TCP alone")
    some.set_modes(2.0, enabled=True, upnp=True)
    settle(some, router, 2.0)
    some.take_changes()
    assert some.external is not None


def test_upnp_needs_the_configuration_and_controls_leave() -> None:
    for configured, allowed in ((False, True), (True, False)):
        some, router = mapping(upnp=configured), Router("upnp")
        some.set_modes(0.0, enabled=True, upnp=allowed)
        some.set_place(HOME, PLACE.port, 0.0)
        settle(some, router, 0.0)
        assert not any(asked.startswith("ssdp") for asked in router.asked)


def test_a_change_beside_the_router_makes_it_look_after_the_mapping() -> None:
    some, router = mapping(), Router()
    some.set_place(HOME, PLACE.port, 0.0)
    settle(some, router, 0.0)
    some.set_place(attrs.evolve(HOME, carrier_changes=1), PLACE.port, 100.0)
    assert some.deadline() == 100.0
    settle(some, router, 100.0)
    assert router.asked[-1] == f"pmp map ({PLACE.port}, 6000, 7200)"
    some.take_changes()
    assert some.external == EXTERNAL


def test_after_a_sleep_it_looks_after_the_mapping() -> None:
    some, router = mapping(), Router()
    some.suspended(0.0)
    assert some.deadline() == math.inf
    some.set_place(HOME, PLACE.port, 0.0)
    settle(some, router, 0.0)
    router.mappings.clear()
    some.suspended(1000.0)
    settle(some, router, 1000.0)
    assert list(router.mappings) == [("pmp", PLACE.port)]
    some.release(1001.0)
    settle(some, router, 1001.0)
    some.suspended(2000.0)
    assert some.deadline() == math.inf


def test_the_end_gives_the_port_back_and_nothing_begins_after_it() -> None:
    some, router = mapping(), Router()
    assert some.may_end(0.0)
    some.set_place(HOME, PLACE.port, 0.0)
    settle(some, router, 0.0)
    some.release(1.0)
    settle(some, router, 1.0)
    assert some.may_end(1.0)
    assert router.mappings == {}
    some.set_place(HOME, PLACE.port + 1, 2.0)
    for enabled in (False, True):
        some.set_modes(2.0, enabled=enabled, upnp=True)
    assert (some.transmit(2.0), some.deadline()) == ([], math.inf)


# --- in a node --------------------------------------------------------------------------------------------------


def net_info(house: House) -> dict[str, Any]:
    found: dict[str, Any] = house.tailnet._member("shop").hostinfo.get("NetInfo", {})
    return found


def test_a_node_tells_control_and_gives_the_port_back_when_it_ends() -> None:
    house = House()
    home = SimulatedRouter(house.world, Router("pmp pcp"))
    handle = house.up("shop", maps_port=True)
    house.until(lambda: handle.node.port_mapping.external == EXTERNAL, 5)
    house.run(2)
    assert list(home.router.mappings) == [("pmp", handle.node.udp_port)]
    assert handle.node.surroundings.endpoints.found[0] == (EXTERNAL, Kind.PORT_MAPPED)
    assert house.tailnet._member("shop").endpoints[0] == EXTERNAL
    house.until(lambda: net_info(house).get("HavePortMap"), 10)
    assert (net_info(house).get("PMP"), net_info(house).get("PCP"), net_info(house).get("UPnP")) == (True, True, None)
    before = house.now
    house.finish(handle.close(10))
    house.run(1)
    assert home.router.mappings == {}
    assert house.now - before < 2


def test_a_node_whose_router_is_silent_is_up_as_soon() -> None:
    took = []
    for maps_port in (True, False):
        house = House()
        before = house.now
        house.up("shop", maps_port=maps_port)
        took.append(house.now - before)
    assert took[0] == took[1]


def test_an_idle_node_behind_a_router_wakes_for_its_renewals_alone() -> None:
    house = House()
    home = SimulatedRouter(house.world, Router("pmp pcp"))
    handle = house.up("shop", maps_port=True)
    house.run(30)
    asked, mapping = len(home.router.asked), handle.node.port_mapping
    assert mapping.deadline() > house.now + 3500
    house.run(7000)
    assert len(home.router.asked) - asked == 2  # the address, and the map
    assert mapping.deadline() > house.now
    assert mapping.external == EXTERNAL


def test_another_router_is_asked_when_the_network_is_another() -> None:
    house = House()
    home = SimulatedRouter(house.world, Router("pcp"))
    handle = house.up("shop", maps_port=True)
    house.until(lambda: handle.node.port_mapping.external == EXTERNAL, 5)
    house.world.machine("shop").move()
    house.until(lambda: len(home.router.mappings) == 1 and home.router.asked[-1].endswith("7200"), 10)
    house.run(1)
    assert handle.node.port_mapping.external is not None


def test_a_node_that_slept_is_mapped_again() -> None:
    house = House()
    home = SimulatedRouter(house.world, Router("pmp"))
    handle = house.up("shop", maps_port=True)
    house.until(lambda: handle.node.port_mapping.external == EXTERNAL, 5)
    home.router.mappings.clear()
    node, now = handle.node, house.now + 1000
    node.receive((), (), now)
    assert node.port_mapping.deadline() == now


@pytest.mark.parametrize("attribute", ["only-tcp-443", "debug-disable-upnp"])
def test_control_turns_it_off_by_an_attribute(attribute: str) -> None:
    house = House()
    home = SimulatedRouter(house.world, Router("pmp pcp"))
    handle = house.up("shop", maps_port=True)
    house.until(lambda: handle.node.port_mapping.external == EXTERNAL, 5)
    house.tailnet.set_node_attributes("shop", [attribute])
    house.run(5)
    is_off = attribute == "only-tcp-443"
    assert (handle.node.port_mapping.external is None, home.router.mappings == {}) == (is_off, is_off)


def test_the_protocols_are_imported_where_there_is_a_router_to_ask() -> None:
    """A node begins sooner without them. Whatever else is called meanwhile does nothing."""
    program = """
import sys
from ipaddress import ip_address
from tsnet.base.network import Gateway, Network
from tsnet.engine.portmapping import PortMapping

some = PortMapping(bytes)
some.set_place(Network(), 41641, 0.0)
some.set_modes(0.0, enabled=True, upnp=False)
some.suspended(0.0)
assert not some.transmit(0.0) and not some.take_changes() and some.may_end(0.0)
assert "tsnet.portmap.mapper" not in sys.modules
own, router = ip_address("192.168.1.2"), ip_address("192.168.1.1")
some.set_place(Network(addresses=frozenset({own}), gateway_v4=Gateway(router, "eth0", own)), 41641, 0.0)
assert some.deadline() <= 0.0 and "tsnet.portmap.mapper" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=ROOT)
