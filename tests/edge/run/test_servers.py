from __future__ import annotations

import logging
import math
from collections import Counter
from typing import Any

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.links import Accepted, Close, Closed, Data, Effect, Event, Link, Received
from tsnet.edge.run.servers import ServerPump, StunPump
from tsnet.errors import NotUp
from tsnet.netcheck.stun import decode_response, encode_request
from tsnet.testing.simulated import SimulatedWorld


class Echo:
    """A server machine: says everything back, and goodbye."""

    def __init__(self) -> None:
        self.what = "echo"
        self.floods: Counter[str] = Counter()
        self.links: set[Link] = set()
        self._effects: list[Effect] = []

    def receive(self, event: Event, now: float) -> None:
        match event:
            case Accepted(link):
                self.links.add(link)
            case Received(link, b"flood"):
                self.floods["flood of bytes"] += 1
            case Received(link, b"end"):
                self.links.discard(link)
                self._effects += [Data(link, b"bye"), Close(link)]
            case Received(link, data):
                self._effects.append(Data(link, data))
            case Closed(link):
                self.links.discard(link)

    def transmit(self, now: float, budget: int) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def deadline(self) -> float:
        return -math.inf if self._effects else math.inf

    def close(self) -> None:
        self._effects += [effect for link in sorted(self.links) for effect in (Data(link, b"closing"), Close(link))]


class Served:
    """An echo behind two ports of one simulated machine, and clients on another."""

    def __init__(self) -> None:
        self.world = SimulatedWorld(1)
        self.pump = ServerPump(Echo(), self.world)
        for port in (80, 81):
            self.pump.add(self.world.listen(self.world.v4, port, self.pump.mark))
        self.client = self.world.machine("client").open_links(lambda: None)
        self.heard: list[Event] = []

    def run(self) -> None:
        for _ in range(40):
            self.client.flush()
            if self.pump.due <= self.world.clock():
                self.pump.turn()
            if self.world.next_event() < math.inf:
                self.world.wait(self.world.next_event())
            self.heard += self.client.receive()

    def open(self, number: int, port: int) -> Link:
        from tsnet.base.links import Open

        link: Link = Link("test", "", number)
        self.client.apply(Open(link, (self.world.v4,), port))
        self.run()
        return link

    def bytes_of(self, link: Link) -> bytes:
        return b"".join(event.data for event in self.heard if isinstance(event, Received) and event.link == link)


def test_links_of_every_port_reach_the_machine_and_its_answers_find_the_way_back() -> None:
    served = Served()
    first, second = served.open(1, 80), served.open(2, 81)
    served.client.apply(Data(first, b"one"))
    served.client.apply(Data(second, b"two"))
    served.run()
    assert (served.bytes_of(first), served.bytes_of(second)) == (b"one", b"two")


def test_nothing_is_kept_of_links_that_have_ended_either_way() -> None:
    served = Served()
    first, second = served.open(1, 80), served.open(2, 81)
    served.client.apply(Close(first))
    served.client.apply(Data(second, b"end"))
    served.run()
    assert served.bytes_of(second) == b"bye"
    assert served.pump._port_of == {}


def test_close_lets_the_machine_say_goodbye_and_frees_the_ports() -> None:
    served = Served()
    link = served.open(1, 80)
    served.pump.close()
    served.run()
    assert served.bytes_of(link) == b"closing"
    assert isinstance(served.heard[-1], Closed)
    served.world.listen(served.world.v4, 80, lambda: None)


def test_floods_are_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    served = Served()
    link = served.open(1, 80)
    with caplog.at_level(logging.WARNING, "tsnet"):
        for _ in range(3):
            served.client.apply(Data(link, b"flood"))
            served.run()
    assert caplog.messages == ["the echo of an embedded tailnet has closed a connection: flood of bytes"]


def test_a_crash_frees_the_ports_and_a_forked_child_says_nothing() -> None:
    served = Served()
    served.pump.crash(ValueError("a bug"))
    served.world.listen(served.world.v4, 80, lambda: None)
    forked = Served()
    link = forked.open(1, 80)
    forked.pump.orphan(NotUp("the parent's"))
    forked.run()
    assert forked.bytes_of(link) == b""


def stun() -> tuple[StunPump, Any, Any]:
    world = SimulatedWorld(2)
    pump = StunPump()
    pump.udp = world.open_udp(3478, pump.mark)
    client = world.machine("client").open_udp(5000, lambda: None)
    return pump, client, world


def test_stun_answers_with_the_address_it_sees() -> None:
    pump, client, world = stun()
    request = encode_request(bytes(range(12)))
    assert pump.due == math.inf
    client.send(UdpAddress(world.v4, 3478), [request, b"garbage", request[:10], b""])
    for _ in range(3):
        world.wait(world.next_event())
        if pump.due <= world.clock():
            pump.turn()
        if world.next_event() == math.inf:
            break
    ((_, (answer,)),) = client.receive()
    assert decode_response(answer) == (bytes(range(12)), UdpAddress(world.machine("client").v4, 5000))
    assert (pump.answered, pump.dropped) == (1, 3)


def test_stun_closed_is_quiet() -> None:
    pump, _, world = stun()
    pump.close()
    pump.close()
    pump.mark()
    pump.turn()
    assert pump.due == math.inf
    world.open_udp(3478, lambda: None)


def test_stun_in_a_forked_child_touches_nothing() -> None:
    pump, _, world = stun()
    port = pump.udp
    pump.orphan(NotUp("the parent's"))
    assert port is not None
    assert port.is_open  # type: ignore[attr-defined]  # closing descriptors is the reactor's
    assert world.trace
