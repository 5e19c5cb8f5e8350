"""Byte streams across the simulated internet: who may dial whom, what a listener sees, and what ends or delays one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.testing.punching import new_internet, settle, sleep
from tsnet.base.links import Accepted, Close, Closed, Data, Link, Open, Opened, Received
from tsnet.testing.bytestreams import SimulatedListener
from tsnet.testing.internet import Internet
from tsnet.testing.internethost import InternetHost
from tsnet.testing.nat import EASY

LINK = Link("test", "", 1)


class Dialler:
    """Links of one host, and what has happened to them."""

    def __init__(self, host: InternetHost) -> None:
        self.net: Internet = host.place.net
        self.links = host.open_links(lambda: None)

    def dial(self, *hosts: str, port: int = 80, timeout: float = 10.0, wait: bool = True) -> list[object]:
        self.links.apply(Open(LINK, hosts, port, timeout=timeout))
        if wait:
            settle(self.net)
        return list(self.links.receive())

    def send(self, data: bytes) -> None:
        self.links.apply(Data(LINK, data))
        self.links.flush()

    def receive(self) -> bytes:
        return b"".join(event.data for event in self.links.receive() if isinstance(event, Received))


def serve(host: InternetHost, port: int = 80) -> SimulatedListener:
    return host.listen("", port, lambda: None)


def remote_of(listener: SimulatedListener) -> str:
    (accepted,) = [event for event in listener.receive() if isinstance(event, Accepted)]
    return accepted.remote[0]


def test_from_behind_routers_by_address_or_by_name() -> None:
    net = new_internet()
    server = net.host("server")
    listener = serve(server)
    isp = net.router("isp", lan="100.64.0.0/10", v6=True)
    dialler = Dialler(isp.router("home", v6=True).host("laptop"))
    for host, seen in ((server.v4, isp.wan_v4), ("server", isp.wan_v4), (server.v6, net.hosts["laptop"].v6)):
        assert dialler.dial(host) == [Opened(LINK)]
        assert remote_of(listener) == seen
        dialler.links.apply(Close(LINK))
    assert dialler.dial("127.0.0.1") == [Closed(LINK, "refused")]
    serve(net.hosts["laptop"])
    assert dialler.dial("localhost") == [Opened(LINK)]


def test_dials_that_lead_nowhere() -> None:
    net = new_internet()
    server, office = net.host("server"), net.router("office", nat=None).host("desk")
    home = net.router("home")
    serve(home.host("inside")), serve(office)
    dialler = Dialler(net.host("laptop", v6=False))
    assert dialler.dial("nobody") == [Closed(LINK, "dns")]
    assert dialler.dial(server.v4) == [Closed(LINK, "refused")]
    assert dialler.dial(server.v6) == [Closed(LINK, "unreachable")]
    assert dialler.dial("198.19.0.1") == [Closed(LINK, "unreachable")]
    for guarded in (home.wan_v4, office.v4):
        begun = net.timeline.now
        assert dialler.dial(guarded) == [Closed(LINK, "timeout")]
        assert net.timeline.now == begun + 10.0


def test_a_forwarded_port_and_a_router_without_a_firewall_let_in() -> None:
    net = new_internet()
    home, lab = net.router("home"), net.router("lab", nat=None, firewall=False)
    inside, bench = home.host("inside"), lab.host("bench")
    serve(inside, 8080), serve(bench)
    home.forward(80, inside, 8080)
    dialler = Dialler(net.host("laptop"))
    for host in (home.wan_v4, bench.v4, bench.v6):
        if host:
            assert dialler.dial(host) == [Opened(LINK)]
            dialler.links.apply(Close(LINK))
    neighbour = Dialler(home.host("neighbour"))
    assert neighbour.dial(inside.v4, port=8080) == [Opened(LINK)]


def test_bytes_wait_while_a_cable_is_down_and_come_in_order() -> None:
    net = new_internet()
    home = net.router("home")
    laptop = home.host("laptop")
    listener, dialler = serve(net.host("server")), Dialler(laptop)
    dialler.dial("server")
    listener.receive()
    home.cable.is_up = False
    dialler.send(b"one ")
    sleep(net, 5.0)
    laptop.unplug()
    dialler.send(b"two ")
    sleep(net, 1.0)
    home.cable.is_up = True
    sleep(net, 5.0)
    assert not listener.receive()
    laptop.plug()
    sleep(net, 15.0)
    dialler.send(b"three")
    settle(net)
    assert b"".join(event.data for event in listener.receive() if isinstance(event, Received)) == b"one two three"


def test_a_router_that_restarts_makes_streams_silent_and_systems_give_up() -> None:
    net = new_internet()
    home = net.router("home", nat=EASY)
    listener, dialler = serve(net.host("server")), Dialler(home.host("laptop"))
    dialler.dial("server")
    listener.receive()
    home.restart()
    dialler.send(b"lost")
    sleep(net, 800.0)
    assert (listener.receive(), dialler.links.receive()) == ([], [])
    sleep(net, 200.0)
    assert dialler.links.receive() == [Closed(LINK, "timeout")]
    assert dialler.dial("server") == [Opened(LINK)]


def test_a_dial_while_a_cable_is_down_waits_for_it_or_for_its_timeout() -> None:
    net = new_internet()
    home = net.router("home")
    serve(net.host("server"))
    dialler = Dialler(home.host("laptop"))
    home.cable.is_up = False
    begun = net.timeline.now
    dialler.dial("server", wait=False)
    sleep(net, 10.0)
    assert dialler.links.receive() == [Closed(LINK, "timeout")]
    assert net.timeline.now == begun + 10.0
    dialler.dial("server", wait=False)
    sleep(net, 2.0)
    home.cable.is_up = True
    sleep(net, 4.0)
    assert dialler.links.receive() == [Opened(LINK)]


def test_a_host_that_moved_hears_nothing_more_on_its_old_streams() -> None:
    net = new_internet()
    laptop = net.router("home").host("laptop")
    listener, dialler = serve(net.host("server")), Dialler(laptop)
    dialler.dial("server")
    listener.receive()
    laptop.move(net)
    dialler.send(b"lost")
    settle(net)
    (ended,) = listener.receive()
    assert isinstance(ended, Closed)
    assert ended.reason == "timeout"
    assert dialler.links.receive() == [Closed(LINK, "timeout")]
    assert dialler.dial("server") == [Opened(LINK)]


@pytest.mark.parametrize("first", [lambda dialler: dialler.links.apply(Close(LINK)), lambda dialler: None])
def test_an_end_that_vanishes_without_a_word_is_found_out_by_the_system_of_the_other(first: Any) -> None:
    """Its router forgets the stream before, or while the word is under way."""
    net = new_internet()
    router = net.router("home")
    listener, dialler = serve(net.host("server")), Dialler(router.host("laptop"))
    dialler.dial("server")
    (accepted,) = listener.receive()
    first(dialler)
    router.restart()
    dialler.links.apply(Close(LINK))
    settle(net)
    assert listener.receive() == [Closed(accepted.link, "timeout")]


def test_latency_and_rate_are_those_of_the_cables() -> None:
    net = new_internet()
    laptop, server = net.host("laptop"), net.host("server")
    listener, dialler = serve(server), Dialler(laptop)
    dialler.dial("server")
    listener.receive()
    net.wire.latency, laptop.cable.latency, server.cable.latency = 0.5, 0.25, 0.125
    server.cable.rate = 1000.0
    begun = net.timeline.now
    dialler.send(bytes(1000))
    settle(net)
    assert net.timeline.now == begun + 1.875


def test_links_of_two_listeners_with_one_port_number_have_names_of_their_own() -> None:
    """As a server that listens on v4 and on v6."""
    net = new_internet()
    server = net.host("server")
    listeners = [server.listen(host, 80, lambda: None) for host in (server.v4, server.v6)]
    for host in (server.v4, server.v6):
        assert Dialler(net.host(f"to {host}")).dial(host) == [Opened(LINK)]
    names = [event.link for listener in listeners for event in listener.receive() if isinstance(event, Accepted)]
    assert len(set(names)) == 2
