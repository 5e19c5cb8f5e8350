"""UDP links through the links of a node, on loopback and in a simulated world: the same effects, the same events."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any, Protocol

import pytest

from tests.edge.streams import Streams
from tsnet.base.addresses import UdpAddress
from tsnet.base.links import ADDRESS_LOST, Close, Closed, Datagrams, Effect, Event, Link, Opened, OpenUdp
from tsnet.base.network import Network
from tsnet.edge.io.descriptors import BUDGET, Descriptors
from tsnet.edge.io.udp import UdpSockets
from tsnet.edge.io.udp_links import DESCRIPTORS, MAX_LINKS, MAX_SIZE, UdpLinks
from tsnet.edge.io.world import UdpPort
from tsnet.testing.simulated import SimulatedWorld

ONE, TWO = Link("dns", "", 1), Link("dns", "", 2)


class Ports(Protocol):
    """Two nodes' links, each with what it was told."""

    addresses: tuple[str, str]
    told: tuple[list[Event], list[Event]]
    udp: tuple[UdpLinks, UdpLinks]

    def apply(self, which: int, effect: Effect) -> None: ...
    def until(self, done: Callable[[], object]) -> None: ...


class Loopback:
    addresses = ("127.0.0.1", "127.0.0.1")

    def __init__(self) -> None:
        self.streams = Streams()
        self.links = (self.streams.links(), self.streams.links())
        self.told = (self.streams.events[self.links[0]], self.streams.events[self.links[1]])
        self.udp = (self.links[0].udp, self.links[1].udp)

    def apply(self, which: int, effect: Effect) -> None:
        self.links[which].apply(effect)

    def until(self, done: Callable[[], object]) -> None:
        self.streams.until(done)

    def close(self) -> None:
        self.streams.close()


class Simulated:
    def __init__(self) -> None:
        self.world = SimulatedWorld()
        machines = (self.world.machine("a"), self.world.machine("b"))
        self.addresses = (machines[0].v4, machines[1].v4)
        self.told: tuple[list[Event], list[Event]] = ([], [])
        self.links = (machines[0].open_links(lambda: None), machines[1].open_links(lambda: None))
        self.udp = (self.links[0].udp, self.links[1].udp)

    def apply(self, which: int, effect: Effect) -> None:
        self.links[which].apply(effect)

    def until(self, done: Callable[[], object]) -> None:
        for _ in range(1000):
            for told, links in zip(self.told, self.links, strict=True):
                told += links.receive()
            if done():
                return
            self.world.wait(self.world.clock() + 0.01)
        raise AssertionError("it did not come true")

    def close(self) -> None:
        for links in self.links:
            links.close()


@pytest.fixture(params=[Loopback, Simulated])
def ports(request: pytest.FixtureRequest) -> Iterator[Ports]:
    taken = BUDGET.taken
    ports = request.param()
    yield ports
    ports.close()
    assert BUDGET.taken == taken


def opened(ports: Ports, which: int, link: Link, **options: Any) -> UdpAddress:
    """Open a UDP link; returns where the other node reaches it."""
    ports.apply(which, OpenUdp(link, **options))
    ports.until(lambda: any(event.link == link for event in ports.told[which]))
    event = ports.told[which][-1]
    assert isinstance(event, Opened)
    assert event.local_port
    return UdpAddress(ports.addresses[which], event.local_port)


def datagrams(ports: Ports, which: int, link: Link) -> list[bytes]:
    events = [event for event in ports.told[which] if isinstance(event, Datagrams) and event.link == link]
    return [datagram for event in events for datagram in event.datagrams]


def test_a_question_and_its_answer(ports: Ports) -> None:
    client, server = opened(ports, 0, ONE), opened(ports, 1, TWO)
    ports.apply(0, Datagrams(ONE, server, [b"who?", b"where?"]))
    ports.until(lambda: len(datagrams(ports, 1, TWO)) == 2)
    asked = next(event for event in ports.told[1] if isinstance(event, Datagrams))
    assert asked.address == client
    ports.apply(1, Datagrams(TWO, asked.address, [b"here"]))
    ports.until(lambda: datagrams(ports, 0, ONE) == [b"here"])
    answered = next(event for event in ports.told[0] if isinstance(event, Datagrams))
    assert answered.address == server


def test_a_closed_link_is_free_again_and_what_is_sent_on_it_is_counted(ports: Ports) -> None:
    address = opened(ports, 0, ONE)
    ports.apply(0, Close(ONE))
    ports.apply(0, Close(ONE))
    ports.apply(0, Datagrams(ONE, address, [b"x", b"y"]))
    assert ports.udp[0].dropped["closed"] == 2
    assert opened(ports, 0, TWO, port=address.port).port == address.port
    assert not any(isinstance(event, Closed) for event in ports.told[0])


def test_a_link_that_is_closed_before_it_was_told_is_not_told(ports: Ports) -> None:
    ports.apply(0, OpenUdp(ONE))
    ports.apply(0, Close(ONE))
    opened(ports, 0, TWO)
    assert [event.link for event in ports.told[0]] == [TWO]


def test_a_port_that_is_taken(ports: Ports) -> None:
    taken = opened(ports, 0, ONE)
    ports.apply(0, OpenUdp(TWO, port=taken.port))
    ports.until(lambda: ports.told[0][-1] == Closed(TWO, "port taken"))


def test_a_node_has_so_many_at_most(ports: Ports) -> None:
    for number in range(MAX_LINKS):
        opened(ports, 0, Link("dns", "", number))
    ports.apply(0, OpenUdp(Link("dns", "", 99)))
    ports.until(lambda: ports.told[0][-1] == Closed(Link("dns", "", 99), "too many"))
    ports.apply(0, Close(Link("dns", "", 3)))
    opened(ports, 0, Link("dns", "", 100))


def test_a_datagram_that_is_too_long_is_dropped_alone(ports: Ports) -> None:
    server = opened(ports, 1, TWO)
    opened(ports, 0, ONE)
    ports.apply(0, Datagrams(ONE, server, [bytes(MAX_SIZE + 1), b"short"]))
    ports.until(lambda: datagrams(ports, 1, TWO))
    assert datagrams(ports, 1, TWO) == [b"short"]
    assert ports.udp[0].dropped["size"] == 1


# --- on loopback alone --------------------------------------------------------------------------------------------


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    loopback = Loopback()
    yield loopback
    loopback.close()


def test_descriptors_are_borrowed_and_given_back(loopback: Loopback) -> None:
    before = BUDGET.taken
    opened(loopback, 0, ONE)
    assert BUDGET.taken == before + DESCRIPTORS
    loopback.apply(0, Close(ONE))
    assert BUDGET.taken == before


def test_without_descriptors_the_link_is_refused() -> None:
    udp = UdpLinks(lambda port, on_ready, host: never(), lambda: None, budget=Descriptors(lambda: 1))
    assert udp.open(OpenUdp(ONE)) == Closed(ONE, "no descriptor")


def never() -> UdpSockets:
    raise AssertionError("nothing may be opened")


def test_a_kernel_without_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(port: int, on_ready: Callable[[], None], host: str) -> UdpSockets:
        raise OSError(24, os.strerror(24))

    budget = Descriptors(lambda: 1000)
    assert UdpLinks(full, lambda: None, budget=budget).open(OpenUdp(ONE)) == Closed(ONE, "no descriptor")
    assert budget.taken == 0


def test_its_sockets_are_closed_on_exec(loopback: Loopback) -> None:
    port = opened(loopback, 0, ONE).port
    bound = [key.fileobj for key in loopback.streams.reactor._selector.get_map().values()]
    sockets = [sock for sock in bound if isinstance(sock, socket.socket) and sock.type == socket.SOCK_DGRAM]
    assert {sock.getsockname()[1] for sock in sockets} == {port}
    assert not any(sock.get_inheritable() for sock in sockets)


def test_one_own_address_and_the_link_ends_when_it_is_gone(loopback: Loopback) -> None:
    opened(loopback, 0, ONE, host="127.0.0.1")
    opened(loopback, 0, TWO)
    loopback.links[0].network_changed(Network())  # loopback is never gone
    loopback.links[0].udp._hosts[ONE] = "192.0.2.1"
    loopback.links[0].network_changed(Network(is_complete=False))
    loopback.links[0].network_changed(Network(frozenset({ip_address("192.0.2.1")})))
    assert not any(isinstance(event, Closed) for event in loopback.told[0])
    loopback.links[0].network_changed(Network())
    loopback.until(lambda: Closed(ONE, ADDRESS_LOST) in loopback.told[0])
    assert [event for event in loopback.told[0] if isinstance(event, Closed)] == [Closed(ONE, ADDRESS_LOST)]


def test_a_flood_is_taken_in_bounded_batches_and_does_not_hold_up_a_neighbour(loopback: Loopback) -> None:
    flooded, quiet = opened(loopback, 0, ONE), opened(loopback, 0, TWO)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for _ in range(200):
            stranger.sendto(b"flood", flooded)
        stranger.sendto(b"alone", quiet)
        loopback.streams.turn()
        assert datagrams(loopback, 0, TWO) == [b"alone"]
        assert 0 < len(datagrams(loopback, 0, ONE)) <= 64
        loopback.until(lambda: len(datagrams(loopback, 0, ONE)) == 200)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EADDRINUSE, "port taken"),
        (errno.EACCES, "not permitted"),
        (errno.EADDRNOTAVAIL, ADDRESS_LOST),
        (errno.EIO, "cannot bind"),
        (None, "cannot bind"),
    ],
)
def test_why_a_port_cannot_be_bound(number: int | None, reason: str) -> None:
    def fails(_port: int, _on_ready: Callable[[], None], _host: str) -> UdpPort:
        raise OSError() if number is None else OSError(number, "for a test")

    assert UdpLinks(fails, lambda: None).open(OpenUdp(ONE)) == Closed(ONE, reason)
