from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from tests.testing.punching import STUN, Socket, new_internet, settle, sleep
from tsnet.base.addresses import UdpAddress
from tsnet.errors import ConfigError
from tsnet.portmap import natpmp, pcp
from tsnet.portmap.natpmp import PmpAddress, PmpMapped, PmpRefused, PmpReply
from tsnet.testing.internet import Internet
from tsnet.testing.nat import HARD
from tsnet.testing.pmp import MAX_LIFETIME, MAX_PORTS, NO_ROOM
from tsnet.testing.router import Router


def build() -> tuple[Internet, Router, Socket]:
    net = new_internet()
    home = net.router("home", nat=HARD, maps_ports=True)
    return net, home, Socket(home.host("laptop"), 5000)


def ask(socket: Socket, datagram: bytes) -> PmpReply:
    home = socket.host.place
    socket.send(UdpAddress(home.gateway_v4, natpmp.PORT), datagram)
    settle(home.net)
    ((_, reply),) = socket.take()
    return natpmp.decode_reply(reply)


def test_the_address() -> None:
    _, home, socket = build()
    assert ask(socket, natpmp.encode_address_request()) == PmpAddress(0, IPv4Address(home.wan_v4))


def test_a_port_is_open_to_everybody_until_its_time_is_over() -> None:
    net, home, socket = build()
    assert ask(socket, natpmp.encode_map_request(5000, 7000, 60)) == PmpMapped(0, 5000, 7000, 60)
    stranger = Socket(net.host("stranger"))
    for pause, arrives in ((50.0, True), (20.0, False)):
        sleep(net, pause)
        stranger.send(UdpAddress(home.wan_v4, 7000))
        settle(net)
        assert bool(socket.take()) is arrives


def test_the_same_port_is_told_again_and_another_one_if_that_is_taken() -> None:
    net, home, socket = build()
    ask(socket, natpmp.encode_map_request(5000, 7000, 60))
    assert ask(socket, natpmp.encode_map_request(5000, 8000, 99_999)) == PmpMapped(0, 5000, 7000, MAX_LIFETIME)
    other = ask(Socket(home.host("other"), 5000), natpmp.encode_map_request(5000, 7000, 60))
    assert isinstance(other, PmpMapped)
    assert other.external != 7000
    assert home.table is not None
    assert home.table.count_opened(net.timeline.now) == 2


def test_a_port_is_closed_when_asked() -> None:
    net, home, socket = build()
    ask(socket, natpmp.encode_map_request(5000, 7000, 60))
    for _ in range(2):
        assert ask(socket, natpmp.encode_map_request(5000, 0, 0)) == PmpMapped(0, 5000, 0, 0)
    assert home.table is not None
    assert home.table.opened(7000, net.timeline.now) is None


def test_a_restart_is_seen_in_the_epoch() -> None:
    net, home, socket = build()
    ask(socket, natpmp.encode_map_request(5000, 7000, 600))
    sleep(net, 30.0)
    found = [ask(socket, natpmp.encode_address_request())]
    home.restart()
    found.append(ask(socket, natpmp.encode_address_request()))
    assert [reply.epoch for reply in found] == [30, 0]
    assert home.table is not None
    assert home.table.opened(7000, net.timeline.now) is None


def test_there_is_room_for_so_many_and_no_more() -> None:
    _, _, socket = build()
    for port in range(MAX_PORTS):
        assert isinstance(ask(socket, natpmp.encode_map_request(6000 + port, 0, 60)), PmpMapped)
    refused = ask(socket, natpmp.encode_map_request(9, 0, 60))
    assert isinstance(refused, PmpRefused)
    assert (refused.operation, refused.result) == (natpmp.MAP_UDP, NO_ROOM)
    assert isinstance(ask(socket, natpmp.encode_map_request(6000, 0, 60)), PmpMapped)


def test_other_protocols_and_rubbish() -> None:
    net, home, socket = build()
    refused = ask(socket, bytes((pcp.VERSION,)) + bytes(59))
    assert refused == PmpRefused(0, natpmp.ADDRESS, natpmp.UNSUPPORTED_VERSION)
    socket.send(UdpAddress(home.gateway_v4, natpmp.PORT), bytes((natpmp.VERSION, natpmp.MAP_UDP, 0)))
    settle(net)
    assert not socket.heard
    with pytest.raises(ConfigError, match="maps no port"):
        net.router("plain", nat=None, maps_ports=True)
    assert socket.outside("stun2", STUN) is not None
