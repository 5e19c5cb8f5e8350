from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest

from tsnet.base.links import (
    Accepted,
    Close,
    Closed,
    Compute,
    Computed,
    Data,
    Event,
    Full,
    Link,
    Open,
    Opened,
    Pause,
    Received,
    Resume,
    Room,
    Tls,
)
from tsnet.base.steps import Steps
from tsnet.edge.io.channel import WRITE_LIMIT
from tsnet.edge.io.link_limits import SOURCE_FULL, LinkLimits
from tsnet.testing.simulated import SimulatedWorld
from tsnet.testing.timeline import START

LINK = Link("test", "", 1)


class Scene:
    """A client's links and a server's listener on two machines, and what each was told."""

    def __init__(self) -> None:
        self.world = SimulatedWorld(1)
        self.world.wire.latency = 0.25
        self.told: dict[str, list[Event]] = {"client": [], "server": []}
        self.links = self.world.machine("client").open_links(self._on_client)
        self.listener = self.world.machine("server").listen("0.0.0.0", 443, self._on_server)

    def _on_client(self) -> None:
        self.told["client"] += self.links.receive()

    def _on_server(self) -> None:
        self.told["server"] += self.listener.receive()

    def run(self) -> None:
        self.links.flush()
        self.listener.flush()
        while self.world.next_event() < math.inf:
            self.world.wait(math.inf)

    def connect(self, *hosts: str, port: int = 443, tls: Tls | None = None) -> None:
        self.links.apply(Open(LINK, hosts or ("server",), port, tls))
        self.run()

    @property
    def accepted(self) -> Accepted:
        return next(event for event in self.told["server"] if isinstance(event, Accepted))

    def of(self, side: str, kind: type[Any]) -> Iterable[Any]:
        return [event for event in self.told[side] if isinstance(event, kind)]


def test_a_crowd_is_bounded_as_a_systems_listener_bounds_it() -> None:
    world, told = SimulatedWorld(1), list[Event]()
    limits = LinkLimits(10, 2)
    listener = world.machine("server").listen("0.0.0.0", 443, lambda: None, limits=limits)
    links = world.machine("client").open_links(lambda: told.extend(links.receive()))

    def settle() -> None:
        while world.next_event() < math.inf:
            world.wait(math.inf)

    for number in range(3):
        links.apply(Open(Link("test", "", number), ("server",), 443))
    settle()
    assert told == [Opened(Link("test", "", 0)), Opened(Link("test", "", 1)), Closed(Link("test", "", 2), "eof")]
    assert limits.refused == {SOURCE_FULL: 1}
    assert len(limits) == len(listener.ends) == 2
    links.apply(Close(Link("test", "", 0)))
    settle()
    assert len(limits) == 1
    listener.cut()
    assert len(limits) == 0


def test_the_end_of_a_link_of_a_former_listener_is_not_that_of_its_successors() -> None:
    """Both name their links alike."""
    world, limits = SimulatedWorld(1), LinkLimits(10, 2)
    server, client = world.machine("server"), world.machine("client").open_links(lambda: None)
    former = server.listen("0.0.0.0", 443, lambda: None, limits=limits)
    client.apply(Open(Link("test", "", 1), ("server",), 443))
    while world.next_event() < math.inf:
        world.wait(math.inf)
    former.close()
    server.listen("0.0.0.0", 443, lambda: None, limits=limits)
    client.apply(Open(Link("test", "", 2), ("server",), 443))
    client.apply(Close(Link("test", "", 1)))
    while world.next_event() < math.inf:
        world.wait(math.inf)
    assert len(limits) == 1


@pytest.mark.parametrize("hosts", [("server",), ("10.9.9.9", "server"), ("nobody", "server")])
def test_open_by_name(hosts: tuple[str, ...]) -> None:
    scene = Scene()
    scene.connect(*hosts)
    assert scene.told["client"] == [Opened(LINK)]
    assert scene.accepted.remote[0] == scene.world.machine("client").v4
    assert scene.world.clock() == START + 0.5


def test_open_by_address_of_either_family() -> None:
    for host in (SimulatedWorld().v4, SimulatedWorld().v6):
        world = SimulatedWorld()
        told: list[Event] = []
        links = world.machine("client").open_links(lambda: None)
        world.listen("" if ":" in host else host, 80, lambda: None)
        links.apply(Open(LINK, (host,), 80))
        while world.next_event() < math.inf:
            world.wait(math.inf)
            told += links.receive()
        assert told == [Opened(LINK)]


def test_tls_takes_a_round_trip_more() -> None:
    scene = Scene()
    scene.connect(tls=Tls("server"))
    assert scene.told["client"] == [Opened(LINK)]
    assert scene.world.clock() == START + 1.0


@pytest.mark.parametrize(
    ("hosts", "port", "reason"),
    [(("nobody",), 443, "dns"), (("10.9.9.9",), 443, "unreachable"), (("server",), 444, "refused"), ((), 443, "dns")],
)
def test_nobody_there(hosts: tuple[str, ...], port: int, reason: str) -> None:
    scene = Scene()
    scene.links.apply(Open(LINK, hosts, port))
    scene.run()
    assert scene.told["client"] == [Closed(LINK, reason)]


def test_loopback_is_the_machines_own() -> None:
    scene = Scene()
    scene.connect("127.0.0.1")
    assert scene.told["client"] == [Closed(LINK, "refused")]
    local = scene.world.machine("client").listen("127.0.0.1", 443, lambda: None)
    scene.links.apply(Open(Link("test", "", 2), ("localhost",), 443))
    scene.run()
    assert scene.told["client"][1:] == [Opened(Link("test", "", 2))]
    assert [type(event) for event in local.receive()] == [Accepted]


def test_data_is_joined_and_ordered() -> None:
    scene = Scene()
    scene.connect()
    for number in range(5):
        scene.links.apply(Data(LINK, bytes([number])))
    scene.links.flush()
    scene.links.apply(Data(LINK, b"more"))
    scene.listener.apply(Data(scene.accepted.link, b"back"))
    scene.run()
    assert scene.of("server", Received) == [
        Received(scene.accepted.link, b"\0\1\2\3\4"),
        Received(scene.accepted.link, b"more"),
    ]
    assert scene.of("client", Received) == [Received(LINK, b"back")]


def test_close_after_data_delivers_the_data() -> None:
    scene = Scene()
    scene.connect()
    scene.links.apply(Data(LINK, b"last"))
    scene.links.apply(Close(LINK))
    scene.links.apply(Close(LINK))
    scene.links.apply(Data(LINK, b"too late"))
    scene.run()
    link = scene.accepted.link
    assert scene.told["server"][1:] == [Received(link, b"last"), Closed(link, "eof")]
    assert scene.told["client"] == [Opened(LINK)]


def test_close_of_a_dial() -> None:
    scene = Scene()
    scene.links.apply(Open(LINK, ("server",), 443))
    scene.links.apply(Close(LINK))
    scene.run()
    assert scene.told == {"client": [], "server": []}


def test_full_and_room() -> None:
    scene = Scene()
    scene.connect()
    scene.links.apply(Data(LINK, bytes(WRITE_LIMIT)))
    scene.links.apply(Data(LINK, b"still taken"))
    scene.run()
    assert scene.told["client"][1:] == [Full(LINK), Room(LINK)]
    assert sum(len(event.data) for event in scene.of("server", Received)) == WRITE_LIMIT + 11


def test_cut_resets_both_ends_and_loses_what_was_under_way() -> None:
    scene = Scene()
    scene.connect()
    scene.links.apply(Data(LINK, b"lost"))
    scene.links.flush()
    assert scene.world.cut(443, down=5) == 1
    scene.run()
    assert scene.told["client"][1:] == [Closed(LINK, "reset")]
    assert scene.told["server"][1:] == [Closed(scene.accepted.link, "reset")]
    scene.links.apply(Open(Link("test", "", 2), ("server",), 443))
    scene.run()
    assert scene.told["client"][2:] == [Closed(Link("test", "", 2), "refused")]
    scene.world.wait(scene.world.clock() + 5)
    scene.links.apply(Open(Link("test", "", 3), ("server",), 443))
    scene.run()
    assert scene.told["client"][3:] == [Opened(Link("test", "", 3))]


def test_a_cut_while_a_dial_is_under_way() -> None:
    scene = Scene()
    scene.links.apply(Open(LINK, ("server",), 443))
    scene.world.cut(443, down=5)
    scene.run()
    assert scene.told["client"] == [Closed(LINK, "refused")]


def test_a_silent_listener_says_and_hears_nothing() -> None:
    scene = Scene()
    scene.connect()
    scene.links.apply(Data(LINK, b"under way"))
    scene.listener.apply(Data(scene.accepted.link, b"under way"))
    scene.links.flush()
    scene.listener.flush()
    scene.listener.is_silent = True
    scene.links.apply(Data(LINK, b"later"))
    scene.links.apply(Data(LINK, bytes(WRITE_LIMIT)))
    scene.run()
    assert [type(event) for event in scene.told["server"]] == [Accepted]
    assert scene.told["client"] == [Opened(LINK), Full(LINK)]
    scene.links.apply(Close(LINK))
    scene.run()
    assert [type(event) for event in scene.told["server"]] == [Accepted]


def test_a_dial_to_a_silent_listener_runs_into_its_timeout() -> None:
    scene = Scene()
    scene.listener.is_silent = True
    scene.links.apply(Open(LINK, ("server",), 443, timeout=7.0))
    scene.run()
    assert scene.told == {"client": [Closed(LINK, "timeout")], "server": []}
    assert scene.world.clock() == START + 7.0


def test_the_links_of_a_listener_that_was_silent_end_with_its_cut() -> None:
    scene = Scene()
    scene.connect()
    scene.listener.is_silent = True
    scene.links.apply(Data(LINK, b"lost"))
    scene.run()
    scene.listener.is_silent = False
    scene.listener.cut()
    scene.run()
    assert scene.told["client"][1:] == [Closed(LINK, "reset")]
    scene.links.apply(Open(Link("test", "", 2), ("server",), 443))
    scene.run()
    assert scene.told["client"][2:] == [Opened(Link("test", "", 2))]


def test_a_closed_listener_ends_its_links_and_frees_its_port() -> None:
    scene = Scene()
    scene.connect()
    scene.listener.close()
    scene.listener.close()
    scene.run()
    assert scene.told["client"][1:] == [Closed(LINK, "eof")]
    scene.world.machine("server").listen("0.0.0.0", 443, lambda: None)


def test_compute() -> None:
    scene = Scene()

    def number(text: str) -> Steps[int]:
        yield
        return int(text)

    scene.links.apply(Compute(LINK, number, "7"))
    scene.links.apply(Compute(LINK, number, "x"))
    scene.run()
    values = [event.value for event in scene.of("client", Computed)]
    assert values[0] == 7
    assert isinstance(values[1], ValueError)


def test_a_listener_cannot_open() -> None:
    with pytest.raises(ValueError, match="cannot open"):
        Scene().listener.apply(Open(LINK, ("server",), 1))


def test_what_comes_for_a_paused_link_waits_in_order_and_the_end_behind_it() -> None:
    scene = Scene()
    scene.connect()
    server = scene.accepted.link
    scene.listener.apply(Pause(server))
    scene.links.apply(Data(LINK, b"one"))
    scene.run()
    scene.links.apply(Data(LINK, b"two"))
    scene.links.apply(Close(LINK))
    scene.run()
    assert scene.told["server"] == [scene.accepted]
    scene.listener.apply(Resume(server))
    scene.run()
    assert scene.told["server"][1:] == [Received(server, b"one"), Received(server, b"two"), Closed(server, "eof")]


def test_a_paused_link_fills_up_the_other_end() -> None:
    scene = Scene()
    scene.connect()
    server = scene.accepted.link
    scene.listener.apply(Pause(server))
    for _ in range(2):
        scene.links.apply(Data(LINK, bytes(WRITE_LIMIT)))
        scene.run()
    assert scene.told["client"][1:] == [Full(LINK)]
    scene.listener.apply(Resume(server))
    scene.run()
    assert scene.told["client"][1:] == [Full(LINK), Room(LINK)]
