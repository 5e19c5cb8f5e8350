"""What a router does beside translating, which is in test_punching."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from tests.testing.punching import STUN, Socket, new_internet, settle
from tsnet.base.addresses import UdpAddress
from tsnet.errors import ConfigError
from tsnet.testing.nat import EASY
from tsnet.testing.router import Pool


def test_a_pool_gives_in_turn_and_takes_back() -> None:
    pool = Pool("192.168.7.0/29", skip=2)
    taken = [pool.take() for _ in range(5)]
    assert taken == [f"192.168.7.{number}" for number in (2, 3, 4, 5, 6)]
    with pytest.raises(ConfigError, match=r"no address of 192\.168\.7\.0/29"):
        pool.take()
    pool.give_back("192.168.7.4")
    assert pool.take() == "192.168.7.4"


@pytest.mark.parametrize("lan", ["home", "192.168.1.1/24", "fd00::/64", "10.0.0.0/31", "10.0.0.1/32", None])
def test_a_lan_that_has_no_addresses_for_hosts(lan: Any) -> None:
    with pytest.raises(ConfigError, match="hosts get no addresses"):
        new_internet().router("home", lan=lan)


def test_a_router_that_translates_nothing_maps_no_port_and_is_not_there() -> None:
    net = new_internet()
    with pytest.raises(ConfigError, match="maps no port"):
        net.router("home", nat=None, maps_ports=True)
    assert net.routers == {}


def test_two_hosts_of_one_home_reach_each_other_without_leaving_it() -> None:
    net = new_internet()
    home = net.router("home")
    first, second = Socket(home.host("first")), Socket(home.host("second"))
    home.cable.is_up = False
    first.send(UdpAddress(second.host.v4, second.port))
    settle(net)
    assert second.take() == [(UdpAddress(first.host.v4, first.port), b"ping")]


def test_homes_use_the_same_addresses() -> None:
    net = new_internet()
    hosts = [net.router(name).host(f"in-{name}") for name in ("one", "two")]
    assert {host.v4 for host in hosts} == {"192.168.1.2"}
    sockets = [Socket(host) for host in hosts]
    sockets[0].send(UdpAddress("192.168.1.2", sockets[1].port + 1))
    sockets[0].send(UdpAddress("192.168.1.3", sockets[1].port))
    settle(net)
    assert not sockets[1].heard


@pytest.mark.parametrize("firewall", [True, False])
def test_without_nat_hosts_have_public_addresses_behind_a_firewall_or_none(firewall: bool) -> None:
    net = new_internet()
    office = net.router("office", nat=None, firewall=firewall, v6=True)
    desk, caller = Socket(office.host("desk")), Socket(net.host("caller"))
    assert desk.outside() == UdpAddress(desk.host.v4, desk.port)
    for address in (desk.host.v4, desk.host.v6):
        caller.send(UdpAddress(address, desk.port))
        settle(net)
        assert bool(desk.take()) is not firewall
    assert office.counts["filtered"] == (2 if firewall else 0)
    with pytest.raises(ConfigError, match="no outside address"):
        office.renumber()
    with pytest.raises(ConfigError, match="forwards no port"):
        office.forward(80, desk.host)


def test_a_firewall_forgets_at_a_restart() -> None:
    net = new_internet()
    office = net.router("office", nat=None)
    desk = Socket(office.host("desk"))
    assert desk.outside() is not None
    office.restart()
    Socket(net.hosts["stun"], 5000)
    net.hosts["stun"]._udp[STUN].send(UdpAddress(desk.host.v4, desk.port), [b"late"])
    settle(net)
    assert not desk.heard


def test_a_forwarded_port() -> None:
    net = new_internet()
    home = net.router("home")
    server, caller = Socket(home.host("server"), 4000), Socket(net.host("caller"))
    home.forward(80, server.host, 4000)
    caller.send(UdpAddress(home.wan_v4, 80))
    settle(net)
    ((source, _),) = server.take()
    server.send(source)
    settle(net)
    assert [source for source, _ in caller.heard] == [UdpAddress(home.wan_v4, 80)]


def test_a_service_of_the_router_answers_those_within() -> None:
    net = new_internet()
    home = net.router("home")
    home.serve(5351, lambda source, datagram: [datagram + b" for " + source.host.encode()])
    socket = Socket(home.host("laptop"))
    for to in (home.gateway_v4, "239.255.255.250"):
        socket.send(UdpAddress(to, 5351), b"port")
        socket.send(UdpAddress(to, 5352), b"nobody")
        settle(net)
        assert socket.take() == [(UdpAddress(home.gateway_v4, 5351), b"port for 192.168.1.2")]


def test_a_full_table_drops_and_counts() -> None:
    net = new_internet()
    home = net.router("home", nat=attrs.evolve(EASY, max_mappings=1))
    host = home.host("laptop")
    assert Socket(host).outside() is not None
    assert Socket(host).outside() is None
    assert home.counts == {"no mapping left": 1}


def test_udp_blocked_in_the_midst_and_freed() -> None:
    net = new_internet()
    home = net.router("home")
    socket = Socket(home.host("laptop"))
    found = []
    for blocks in (False, True, False):
        home.blocks_udp = blocks
        found.append(socket.outside())
    assert found[1] is None
    assert found[0] == found[2] is not None


def test_a_router_offers_only_what_it_is_offered() -> None:
    net = new_internet()
    old = net.router("old")
    with pytest.raises(ConfigError, match="old does not offer what router 'new' wants"):
        old.router("new", v6=True)
    mobile = net.router("mobile", v4=False, v6=True)
    assert mobile.host("phone").v4 == ""
    socket = Socket(net.hosts["phone"])
    assert socket.outside() is None
    assert socket.outside(version=6) == UdpAddress(socket.host.v6, socket.port)


def test_v6_through_two_routers() -> None:
    net = new_internet()
    isp = net.router("isp", lan="100.64.0.0/10", v6=True)
    socket = Socket(isp.router("home", v6=True).host("laptop"))
    assert socket.outside(version=6) == UdpAddress(socket.host.v6, socket.port)
