"""The system's world keeps the protocol that the engine's pump is written against."""

from __future__ import annotations

import math
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.links import Accepted, Close, Closed, Data, Event, Link, Open, Opened, Received
from tsnet.edge.io.system import SystemWorld
from tsnet.edge.io.world import LinkPort, ListenPort, UdpPort, World


@pytest.fixture
def world() -> Iterator[SystemWorld]:
    world = SystemWorld()
    yield world
    world.close()


def test_it_is_a_world(world: SystemWorld) -> None:
    """What the type checker sees, also run: every port through the protocol's eyes."""
    there: World = world
    udp: UdpPort = there.open_udp(0, lambda: None)
    links: LinkPort = there.open_links(lambda: None)
    listener: ListenPort = there.listen("127.0.0.1", 0, lambda: None)
    assert udp.local_port
    assert udp.has_room
    assert listener.address[0] == "127.0.0.1"
    for port in (udp, links, listener):
        port.close()


def test_clocks(world: SystemWorld) -> None:
    before = world.clock()
    assert world.clock() >= before
    assert abs(world.wall() - time.time()) < 5
    if sys.platform == "linux":
        with open("/proc/uptime") as file:
            assert abs(world.clock() - float(file.read().split()[0])) < 5


@pytest.mark.skipif(sys.platform != "linux", reason="CLOCK_BOOTTIME is Linux's")
def test_its_clock_goes_on_in_a_sleep(world: SystemWorld) -> None:
    assert world.counts_sleep
    assert world.clock() == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=1.0)


def test_a_port_may_do_without_the_kernels_help(world: SystemWorld) -> None:
    for gso, gro in ((False, True), (True, False)):
        port = world.open_udp(0, lambda: None, gso=gso, gro=gro)
        plain = world.open_udp(0, lambda: None)
        halves = zip(port._halves, plain._halves, strict=True)
        assert all(
            (half.gso, half._ancillary_size > 0) == (gso and other.gso, gro and other._ancillary_size > 0)
            for half, other in halves
        )
        port.close()
        plain.close()


def test_entropy(world: SystemWorld) -> None:
    assert len(world.entropy(32)) == 32
    assert world.entropy(32) != world.entropy(32)


def test_interfaces(world: SystemWorld) -> None:
    assert world.interfaces()


def test_on_ready_comes_from_wait_until_received_from(world: SystemWorld) -> None:
    ready: list[int] = []
    left, right = world.open_udp(0, lambda: None), world.open_udp(0, lambda: ready.append(1))
    left.send(UdpAddress("127.0.0.1", right.local_port), [b"x"])
    assert ready == []
    world.wait(math.inf)
    world.wait(math.inf)
    assert len(ready) == 2
    assert right.receive() == [(UdpAddress("127.0.0.1", left.local_port), [b"x"])]
    world.wait(0)
    assert len(ready) == 2
    left.close()
    right.close()


def test_two_ports_of_streams_meet(world: SystemWorld) -> None:
    links, listener = world.open_links(lambda: None), world.listen("127.0.0.1", 0, lambda: None)
    seen: dict[str, list[Event]] = {"client": [], "server": []}
    links.apply(Open(Link("t", "", 1), ("127.0.0.1",), listener.address[1]))
    while not any(isinstance(event, Closed) for event in seen["client"]):
        links.flush()
        listener.flush()
        world.wait(world.clock() + 5)
        for event in links.receive():
            seen["client"].append(event)
            if isinstance(event, Opened):
                links.apply(Data(event.link, b"ping"))
        for event in listener.receive():
            seen["server"].append(event)
            if isinstance(event, Received):
                listener.apply(Data(event.link, b"pong"))
                listener.apply(Close(event.link))
    assert [type(event) for event in seen["client"]] == [Opened, Received, Closed]
    assert [type(event) for event in seen["server"]][:2] == [Accepted, Received]
    links.close()
    listener.close()


def test_a_dials_timeout_is_the_worlds_own_event(world: SystemWorld) -> None:
    links = world.open_links(lambda: None)
    assert world.next_event() == math.inf
    links.apply(Open(Link("t", "", 1), ("127.0.0.1",), 9, timeout=5))
    assert world.clock() < world.next_event() <= world.clock() + 5
    links.close()
    assert world.next_event() == math.inf


def test_a_link_takes_the_connection_that_was_begun_before(world: SystemWorld) -> None:
    links = world.open_links(lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        world.preconnect(("127.0.0.1",), port, 1)
        world.wait(world.clock())
        accepted, _ = server.accept()
        links.apply(Open(Link("t", "", 1), ("127.0.0.1",), port))
        events: list[Event] = []
        while not events:
            world.wait(world.clock() + 5)
            events += links.receive()
        links.apply(Data(Link("t", "", 1), b"hello"))
        links.flush()
        with accepted:
            assert accepted.recv(10) == b"hello"
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    links.close()


@pytest.mark.parametrize("end", ["close", "abandon"])
def test_connections_that_nobody_took_end_with_the_world(end: str) -> None:
    world = SystemWorld()
    with socket.create_server(("127.0.0.1", 0)) as server:
        world.preconnect(("127.0.0.1",), server.getsockname()[1], 1)
        world.wait(world.clock())
        accepted, _ = server.accept()
        with accepted:
            world.wait(world.clock() + 5)
            getattr(world, end)()
            accepted.settimeout(5)
            assert accepted.recv(10) == b""


def test_a_foreign_loop_can_wait_on_the_descriptor(world: SystemWorld) -> None:
    called: list[int] = []
    assert not select.select([world.fileno()], [], [], 0)[0]
    thread = threading.Thread(target=lambda: world.call_soon(lambda: called.append(1)))
    thread.start()
    assert select.select([world.fileno()], [], [], 5)[0]
    thread.join()
    world.wait(0)
    assert called == [1]


def test_offloads_can_be_forced_off() -> None:
    world = SystemWorld(gso=False, gro=False)
    port = world.open_udp(0, lambda: None)
    assert not port._halves[0].gso
    port.close()
    world.close()


FORK = """
import os, sys
from tsnet.base.addresses import UdpAddress
from tsnet.base.links import Accepted, Data, Link, Open, Opened, Received
from tsnet.edge.io.system import SystemWorld

world = SystemWorld()
heard, events = [], []
udp = world.open_udp(0, lambda: heard.extend(udp.receive()))
links = world.open_links(lambda: events.extend(links.receive()))
listener = world.listen("127.0.0.1", 0, lambda: events.extend(listener.receive()))
links.apply(Open(Link("t", "", 1), ("127.0.0.1",), listener.address[1]))
while not {Opened, Accepted} <= set(map(type, events)):
    world.wait(world.clock() + 5)
links.apply(Data(Link("t", "", 1), b"the parent's"))
child = os.fork()
if not child:
    world.abandon()
    for port in (udp, links, listener):
        port.close()
    world.call_soon(lambda: None)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
links.flush()
udp.send(UdpAddress("127.0.0.1", udp.local_port), [b"still here"])
while not heard or not any(isinstance(event, Received) for event in events):
    world.wait(world.clock() + 5)
print([event.data for event in events if isinstance(event, Received)], [run for _, run in heard])
for port in (udp, links, listener, world):
    port.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_sends_nothing_and_leaves_the_parents_sockets_alone() -> None:
    command = [sys.executable, "-W", "error", "-c", FORK]
    told = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert told.stderr == ""
    assert told.stdout == "[b\"the parent's\"] [[b'still here']]\n"


def test_worlds_and_ports_leave_no_descriptor() -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc to count descriptors")

    def life() -> None:
        world = SystemWorld()
        udp, links = world.open_udp(0, lambda: None), world.open_links(lambda: None)
        listener = world.listen("127.0.0.1", 0, lambda: None)
        links.apply(Open(Link("t", "", 1), ("127.0.0.1",), listener.address[1]))
        for _ in range(3):
            world.wait(world.clock() + 0.01)
            links.receive()
            listener.receive()
        for port in (udp, links, listener, world):
            port.close()

    life()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        life()
    assert len(os.listdir("/proc/self/fd")) == before


def test_importing_it_is_cheap() -> None:
    heavy = {"asyncio", "anyio", "trio", "ssl", "concurrent.futures", "httpx", "h2", "nacl", "numpy", "subprocess"}
    code = "import sys, tsnet.edge.io.system; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not heavy & set(loaded)
