from __future__ import annotations

import errno
import math
import os
import subprocess
import sys

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.links import ADDRESS_LOST, Closed, Data, Link, Open, Opened
from tsnet.edge.io.world import LinkPort, ListenPort, UdpPort, World
from tsnet.testing.simulated import SimulatedWorld
from tsnet.testing.wire import SimulatedUdp


def chatter(seed: int) -> str:
    """Three machines that talk with every fault on; what the trace is of."""
    world = SimulatedWorld(seed)
    world.wire.loss = world.wire.duplication = world.wire.reordering = world.wire.no_room = 0.1
    names = [f"machine-{number}" for number in range(3)]
    ports: dict[str, SimulatedUdp] = {}
    for name in names:
        machine = world.machine(name)

        def answer(name: str = name) -> None:
            for source, run in ports[name].receive():
                if len(run[0]) > 8:
                    ports[name].send(source, [run[0][8:]])

        ports[name] = machine.open_udp(0, answer)
    listener = world.machine("server").listen("", 80, lambda: None)
    links = world.machine("client").open_links(lambda: None)
    links.apply(Open(Link("test", "", 1), ("server",), 80))
    for round_number in range(20):
        for name in names:
            to = world.machine(names[(round_number + 1) % 3])
            ports[name].send(UdpAddress(to.v4, ports[to.name].local_port), [world.entropy(64)])
        for event in links.receive():
            if isinstance(event, Opened):
                links.apply(Data(event.link, world.entropy(100)))
        links.flush()
        world.wait(world.clock() + 0.01)
        listener.receive()
    while world.next_event() < math.inf:
        world.wait(math.inf)
    return world.trace


def test_it_is_a_world() -> None:
    """What the type checker sees, also run: every port through the protocol's eyes."""
    for there in (SimulatedWorld(), SimulatedWorld().machine("other")):
        world: World = there
        udp: UdpPort = world.open_udp(0, lambda: None)
        links: LinkPort = world.open_links(lambda: None)
        listener: ListenPort = world.listen("", 0, lambda: None)
        assert world.is_virtual
        assert world.reactor is None
        assert udp.has_room
        assert listener.address[1] != udp.local_port
        links.close()
        world.close()
        with pytest.raises(OSError, match="no descriptor"):
            world.fileno()


def test_machines_have_their_own_addresses_and_ports() -> None:
    world = SimulatedWorld()
    one, two = world.machine("one"), world.machine("two")
    assert world.machine("one") is one
    assert len({*map(str, one.interfaces()), *map(str, two.interfaces()), *map(str, world.interfaces())}) == 6
    assert one.open_udp(5000, lambda: None).local_port == two.open_udp(5000, lambda: None).local_port == 5000


def test_all_machines_share_time_host_and_wire() -> None:
    world = SimulatedWorld()
    other = world.machine("other")
    other.host = "the loop"
    assert world.host == "the loop"
    world.wait(world.clock() + 7)
    assert other.clock() == world.clock()
    assert other.wall() == world.wall()
    called: list[int] = []
    other.call_soon(lambda: called.append(1))
    world.wait(math.inf)
    assert called == [1]


def test_a_port_in_use() -> None:
    world = SimulatedWorld()
    world.open_udp(5000, lambda: None)
    with pytest.raises(OSError) as raised:
        world.open_udp(5000, lambda: None)
    assert raised.value.errno == errno.EADDRINUSE
    world.listen("", 5000, lambda: None)
    with pytest.raises(OSError) as raised:
        world.listen("", 5000, lambda: None)
    assert raised.value.errno == errno.EADDRINUSE
    with pytest.raises(OSError) as raised:
        world.listen("10.99.0.1", 5000, lambda: None)
    assert raised.value.errno == errno.EADDRNOTAVAIL


def test_entropy_is_the_seeds() -> None:
    assert SimulatedWorld(1).entropy(32) == SimulatedWorld(1).entropy(32)
    assert SimulatedWorld(1).entropy(32) != SimulatedWorld(2).entropy(32)
    world = SimulatedWorld(1)
    assert world.entropy(32) != world.entropy(32)


def test_faults_do_not_draw_on_the_entropy() -> None:
    """A node's keys stay the same when a fault is turned on."""
    quiet, noisy = SimulatedWorld(1), SimulatedWorld(1)
    noisy.wire.loss = 0.5
    port = noisy.open_udp(0, lambda: None)
    port.send(UdpAddress(noisy.v4, port.local_port), [b"x"] * 10)
    assert quiet.entropy(32) == noisy.entropy(32)


def test_the_trace_is_the_seeds() -> None:
    assert chatter(3) == chatter(3)
    assert len({chatter(seed) for seed in range(5)}) == 5


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_the_trace_is_the_same_in_another_process(hash_seed: str) -> None:
    code = "from tests.testing.test_simulated import chatter; print(chatter(3))"
    environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert told.stdout.strip() == chatter(3)


# --- the network around a machine ---------------------------------------------------------------------------------


def test_a_machine_whose_cable_is_pulled_reaches_nobody_and_says_so() -> None:
    world = SimulatedWorld()
    machine, there = world.machine("machine"), world.machine("there")
    before, told = machine.network(), list[str]()
    stop = machine.watch_network(lambda: told.append("changed"))
    for version, router in ((4, "10.255.255.254"), (6, "2001:db8::ffff:ffff")):
        gateway = machine.gateway(version)
        assert gateway is not None
        assert str(gateway.address) == router
        assert str(gateway.own_address) in (machine.v4, machine.v6)
    port, other = machine.open_udp(0, lambda: None), there.open_udp(0, lambda: None)
    listener, links = there.listen("", 80, lambda: None), machine.open_links(lambda: None)
    links.apply(Open(Link("test", "", 1), ("there",), 80))
    machine.unplug()
    links.apply(Open(Link("test", "", 2), ("there",), 80))
    port.send(UdpAddress(there.v4, other.local_port), [b"lost"])
    world.wait(world.clock())
    assert told == ["changed"]
    assert (machine.gateway(), machine.interfaces()) == (None, [])
    assert machine.network().leads_elsewhere(before)
    world.wait(math.inf)
    assert links.receive() == [Closed(Link("test", "", 2), "unreachable")]
    assert world.counts["unreachable"] == 1
    machine.plug()
    stop()
    machine.plug()
    while world.next_event() < math.inf:
        world.wait(math.inf)
    assert told == ["changed", "changed"]
    assert machine.network() == before
    assert listener.is_open


def test_a_machine_that_moves_has_other_addresses_and_loses_the_links_of_those_before() -> None:
    world = SimulatedWorld()
    machine, there = world.machine("machine"), world.machine("there")
    there.listen("", 80, lambda: None)
    links, link = machine.open_links(lambda: None), Link("test", "", 1)
    links.apply(Open(link, ("there",), 80))
    while world.next_event() < math.inf:
        world.wait(math.inf)
    assert links.receive() == [Opened(link)]
    links.network_changed(machine.network())
    before = machine.v4
    machine.move()
    assert before not in map(str, machine.interfaces())
    links.network_changed(machine.network())
    assert links.receive() == [Closed(link, ADDRESS_LOST)]
    links.apply(Open(Link("test", "", 2), ("there",), 80))
    while world.next_event() < math.inf:
        world.wait(math.inf)
    assert links.receive() == [Opened(Link("test", "", 2))]


def test_names_are_looked_up() -> None:
    world = SimulatedWorld()
    one = world.machine("one")
    assert world.look_up("one") == one.look_up("localhost") == tuple(one.interfaces())
    assert world.look_up("nobody") == ()
