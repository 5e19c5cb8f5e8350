from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from tests.testing.punching import STUN, Socket, new_internet, settle, sleep
from tsnet.base.addresses import UdpAddress
from tsnet.base.network import Gateway
from tsnet.base.unsent import Unsent
from tsnet.errors import ConfigError
from tsnet.testing.cable import Cable
from tsnet.testing.internethost import MAX_PATH_MTUS


def test_it_tells_its_addresses_and_gateways_as_they_are() -> None:
    net = new_internet()
    laptop = net.router("home", v6=True, lan="10.1.2.0/24").host("laptop")
    network, own = laptop.network(), IPv4Address("10.1.2.2")
    assert network.gateway_v4 == Gateway(IPv4Address("10.1.2.1"), "eth0", own)
    assert network.gateway_v6 == Gateway(IPv6Address("fe80::1"), "eth0", IPv6Address(laptop.v6))
    assert laptop.interfaces() == [own, IPv6Address(laptop.v6)]
    assert IPv6Address(laptop.v6) in network.addresses
    assert (laptop.gateway(4), laptop.gateway(6)) == (network.gateway_v4, network.gateway_v6)
    phone = net.host("phone", v4=False)
    assert (phone.v4, phone.gateway(4)) == ("", None)
    assert phone.gateway(6) is not None
    assert net.host("old", v6=False).interfaces() == [IPv4Address(net.hosts["old"].v4)]


def test_a_host_that_moves_has_other_addresses_and_says_so() -> None:
    net = new_internet()
    home, cafe = net.router("home", lan="192.168.5.0/24"), net.router("cafe")
    laptop, told = home.host("laptop"), list[str]()
    laptop.watch_network(lambda: told.append("changed"))
    socket = Socket(laptop)
    before, outside = laptop.network(), socket.outside()
    laptop.move(cafe)
    settle(net)
    assert told == ["changed"]
    assert laptop.network().leads_elsewhere(before)
    after = socket.outside()
    assert outside is not None
    assert after is not None
    assert (outside.host, after.host) == (home.wan_v4, cafe.wan_v4)
    laptop.move(net)
    assert socket.outside() == UdpAddress(laptop.v4, socket.port)
    old = laptop.v4
    laptop.move()
    assert laptop.v4 != old
    assert laptop.place is net


def test_it_moves_to_places_alone() -> None:
    laptop = new_internet().host("laptop")
    place: Any = "the cafe"
    with pytest.raises(ConfigError, match="not to 'the cafe'"):
        laptop.move(place)
    assert laptop.is_plugged
    assert laptop.v4 in laptop.place.net.routes


def test_pulling_the_cable() -> None:
    net = new_internet()
    socket = Socket(net.host("laptop"))
    socket.host.unplug()
    assert socket.outside() is None
    assert socket.host.dropped["unreachable"] == 1
    assert socket.host.interfaces() == []
    assert not socket.host.network().is_connected
    socket.host.plug()
    assert socket.outside() is not None


def test_what_arrives_at_a_host_that_has_gone_is_lost() -> None:
    net = new_internet()
    socket = Socket(net.host("laptop"))
    sender = Socket(net.host("sender"))
    sender.send(UdpAddress(socket.host.v4, socket.port))
    socket.host.unplug()
    settle(net)
    sender.send(UdpAddress(socket.host.v4, 9))
    socket.host.plug()
    settle(net)
    assert not socket.heard
    assert net.wire.counts["unreachable"] == 2


def test_itself() -> None:
    net = new_internet()
    socket = Socket(net.host("laptop"))
    for own in ("127.0.0.1", socket.host.v4, socket.host.v6):
        socket.send(UdpAddress(own, socket.port))
        settle(net)
        assert socket.take() == [(UdpAddress(own, socket.port), b"ping")]


def test_what_cannot_leave_is_told_to_the_port() -> None:
    net = new_internet()
    host, other = net.host("laptop", v6=False, cable=Cable(mtu=1280)), net.host("other")
    port = host.open_udp(0, lambda: None)
    host.forbidden.add("192.0.2.1")
    large, forbidden, no_way = UdpAddress(other.v4, 9), UdpAddress("192.0.2.1", 9), UdpAddress(other.v6, 9)
    for to in (large, forbidden, no_way):
        port.send(to, [bytes(1400), bytes(1300), bytes(1)])
    assert port.take_unsent() == [Unsent(large, 1300), Unsent(forbidden), Unsent(no_way)]
    assert port.take_unsent() == []
    assert host.dropped == {"EMSGSIZE": 2, "EPERM": 3, "unreachable": 3}


def test_its_own_mtu_is_known_at_once() -> None:
    net = new_internet()
    socket = Socket(net.host("laptop", cable=Cable(mtu=1280)))
    other = Socket(net.host("other"))
    to = UdpAddress(other.host.v4, other.port)
    socket.send(to, bytes(1253))
    socket.send(to, bytes(1252))
    settle(net)
    assert [len(datagram) for _, datagram in other.heard] == [1252]
    assert socket.host.dropped["EMSGSIZE"] == 1
    assert not socket.host.cable.counts


def test_a_router_tells_the_mtu_beyond_it() -> None:
    net = new_internet()
    home = net.router("home", cable=Cable(mtu=1300))
    socket, to = Socket(home.host("laptop")), UdpAddress(net.hosts["stun"].v4, STUN)
    socket.send(to, bytes(1400))
    settle(net)
    assert not socket.heard
    assert home.cable.counts == {"too big": 1}
    assert socket.host.path_mtus == {to.host: 1300}
    socket.send(to, bytes(1400))
    socket.send(to, bytes(1272))
    settle(net)
    assert socket.host.dropped["EMSGSIZE"] == 1
    assert len(socket.heard) == 1


def test_a_black_hole_tells_nobody() -> None:
    net = new_internet()
    home = net.router("home", cable=Cable(mtu=1300, tells_too_big=False))
    socket = Socket(home.host("laptop"))
    for _ in range(2):
        socket.send(UdpAddress(net.hosts["stun"].v4, STUN), bytes(1400))
        sleep(net, 1.0)
    settle(net)
    assert home.cable.counts == {"too big": 2}
    assert not socket.host.path_mtus


def test_what_routers_tell_is_bounded() -> None:
    host = new_internet().host("laptop")
    for number in range(MAX_PATH_MTUS + 1):
        host.told_too_big(UdpAddress(f"198.18.2.{number}", 1), 1300)
    assert len(host.path_mtus) == MAX_PATH_MTUS
    assert "198.18.2.0" not in host.path_mtus


def test_names_are_looked_up() -> None:
    net = new_internet()
    relay, phone = net.host("relay"), net.host("phone", v4=False)
    assert phone.look_up("relay") == (IPv4Address(relay.v4), IPv6Address(relay.v6))
    assert relay.look_up("phone") == relay.look_up("phone")[:1] == (IPv6Address(phone.v6),)
    assert relay.look_up("localhost") == relay.look_up("relay")
    assert relay.look_up("nobody") == ()
