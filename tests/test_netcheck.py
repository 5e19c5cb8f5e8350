"""Netcheck behind every kind of router, in the simulated internet: what it finds is what is there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.house import House
from tsnet.edge.run.handle import Handle
from tsnet.edge.run.host import host_for
from tsnet.engine.facts import NetcheckDone
from tsnet.testing import EASY, HARD, SimulatedWorld, Tailnet
from tsnet.testing.internethost import InternetHost


def shown(done: NetcheckDone) -> NetcheckDone:
    return done


CONTROLS, NEAR, FAR = 900, 901, 902


class Abroad(House):
    """A tailnet on the internet: control and a relay on one host, a nearer relay on another, a far one on a third."""

    def __init__(self, seed: int = 0, *, over_v6: bool = False) -> None:
        self._environ = {}
        self.world = SimulatedWorld(seed)
        self.net = self.world.internet
        server = self.net.host("server")
        server.cable.latency = 0.030
        self.tailnet = Tailnet(world=server, host=server.v6 if over_v6 else server.v4)
        self.host = host_for(self.world)
        self.finish(self.tailnet._begin())
        for name, latency in (("near", 0.010), ("far", 0.060)):
            place = self.net.host(name)
            place.cable.latency = latency
            self.tailnet.add_region(name, world=place)

    def up_at(self, place: InternetHost) -> Handle:
        handle = self.handle(place.name)
        handle._world = place
        self.finish(handle.reachable(60))
        return handle

    def look(self, handle: Handle) -> NetcheckDone:
        return self.finish(handle.netcheck(10, shown))


@pytest.mark.parametrize(
    ("router", "hard"),
    [
        ({"nat": EASY}, False),
        ({"nat": HARD}, True),
        ({"nat": None, "lan": "203.0.113.0/24"}, False),
    ],
    ids=["easy", "hard", "no nat"],
)
def test_what_kind_of_nat_there_is(router: dict[str, Any], hard: bool) -> None:
    house = Abroad()
    home = house.net.router("home", **router)
    handle = house.up_at(home.host("laptop"))
    done = house.look(handle)
    report = done.report
    assert (report.udp, report.ipv4, report.mapping_varies_by_dest_ip) == (True, True, hard)
    assert report.global_v4 is not None
    assert report.global_v4.host == (home.wan_v4 if router["nat"] else house.net.hosts["laptop"].v4)
    assert report.global_v4 in done.endpoints
    nearest_first = sorted(report.region_latency, key=report.region_latency.__getitem__)
    assert nearest_first == [NEAR, CONTROLS, FAR]
    assert report.preferred_region == handle.node.home.region == NEAR
    assert handle.node.home.net_info()["MappingVariesByDestIP"] is hard


def test_a_nat_behind_a_nat_is_as_hard_as_the_harder() -> None:
    house = Abroad()
    isp = house.net.router("isp", nat=HARD, lan="100.64.0.0/10")
    done = house.look(house.up_at(isp.router("home", nat=EASY).host("laptop")))
    assert done.report.mapping_varies_by_dest_ip
    assert done.report.global_v4 is not None
    assert done.report.global_v4.host == isp.wan_v4


def test_where_udp_is_blocked_regions_are_measured_over_https() -> None:
    house = Abroad()
    handle = house.up_at(house.net.router("office", blocks_udp=True).host("desk"))
    house.run(10)
    report = house.look(handle).report
    assert not report.udp
    assert report.mapping_varies_by_dest_ip is None
    nearest_first = sorted(report.region_latency, key=report.region_latency.__getitem__)
    assert nearest_first == [NEAR, CONTROLS, FAR]
    assert handle.node.home.region == NEAR
    assert not handle.node.home.net_info()["WorkingUDP"]


def test_on_ipv6_alone() -> None:
    house = Abroad(over_v6=True)
    handle = house.up_at(house.net.host("phone", v4=False))
    report = house.look(handle).report
    assert (report.udp, report.ipv4, report.ipv6) == (True, False, True)
    assert report.global_v6 is not None
    assert report.global_v6.host == house.net.hosts["phone"].v6


def test_a_home_is_left_for_one_that_has_become_much_nearer_and_for_no_other() -> None:
    house = Abroad()
    handle = house.up_at(house.net.router("home").host("laptop"))
    house.look(handle)
    assert handle.node.home.region == NEAR
    house.net.hosts["server"].cable.latency = 0.008
    house.look(handle)
    assert handle.node.home.region == NEAR, "not by 10 ms"
    house.net.hosts["near"].cable.latency = 0.100
    house.look(handle)
    house.until(lambda: handle.node.home.region == CONTROLS, 10)
    house.run(5)
    assert handle.node.control._publisher._net_info["PreferredDERP"] == CONTROLS


def test_a_laptop_that_moves_is_measured_anew_and_has_other_endpoints() -> None:
    house = Abroad()
    laptop = house.net.router("home").host("laptop")
    handle = house.up_at(laptop)
    house.run(2)
    before = set(handle.node.engine.paths.endpoints)
    cafe = house.net.router("cafe", nat=HARD, lan="192.168.77.0/24")
    laptop.move(cafe)
    house.run(3)
    endpoints = handle.node.surroundings.endpoints.found
    assert not {address for address, _ in endpoints} & before
    assert endpoints[0][0].host == cafe.wan_v4
    assert handle.node.surroundings.checker.last is not None
    assert handle.node.surroundings.checker.last.mapping_varies_by_dest_ip
