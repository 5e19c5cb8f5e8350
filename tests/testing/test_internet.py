from __future__ import annotations

import os
import subprocess
import sys

import attrs
import pytest

from tests.testing.punching import Socket, behind, new_internet, punch, settle, sleep
from tsnet.base.addresses import UdpAddress
from tsnet.errors import ConfigError
from tsnet.testing.nat import EASY, HARD
from tsnet.testing.simulated import SimulatedWorld


def noise(seed: int) -> str:
    """Two pairs that find each other through loss, jitter and duplicates; what the trace is of."""
    net = new_internet(seed)
    net.wire.loss = net.wire.duplication = net.wire.reordering = 0.1
    for number in range(2):
        left, right = behind(net, f"left-{number}", EASY), behind(net, f"right-{number}", EASY, HARD)
        for socket in (left, right):
            assert not isinstance(socket.host.place, type(net))
            socket.host.cable.jitter, socket.host.cable.loss = 0.01, 0.1
        punch(left, right)
    return net.timeline.trace


def test_the_trace_is_the_seeds() -> None:
    assert noise(3) == noise(3)
    assert len({noise(seed) for seed in range(4)}) == 4


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_the_trace_is_the_same_in_another_process(hash_seed: str) -> None:
    code = "from tests.testing.test_internet import noise; print(noise(3))"
    environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert told.stdout.strip() == noise(3)


def test_each_world_has_one_internet_apart_from_its_machines() -> None:
    world = SimulatedWorld()
    net = world.internet
    assert world.internet is net
    host, machine = Socket(net.host("server")), world.machine("flat")
    machine.open_udp(5000, lambda: None)
    machine.open_udp(0, lambda: None).send(UdpAddress(host.host.v4, host.port), [b"x"])
    host.send(UdpAddress(machine.v4, 5000))
    settle(net)
    assert not host.heard
    assert world.counts["unreachable"] == 2
    assert host.host.clock() == world.clock()
    listener = net.hosts["server"].listen("", 80, lambda: None)
    assert world.cut(80, down=1.0) == 0
    assert not listener.takes


def test_names_are_unique() -> None:
    net = new_internet()
    net.router("home").host("laptop")
    for name in ("home", "laptop", ""):
        with pytest.raises(ConfigError, match="cannot be the name"):
            net.host(name)
        with pytest.raises(ConfigError, match="cannot be the name"):
            net.router(name)


def test_latency_is_that_of_all_cables_and_the_wire_between() -> None:
    net = new_internet()
    net.wire.latency = 0.5
    left, right = behind(net, "left", None), Socket(net.host("right"))
    left.host.cable.latency, right.host.cable.latency, net.routers["left-router-0"].cable.latency = 0.25, 0.125, 1.0
    begun = net.timeline.now
    left.send(UdpAddress(right.host.v4, right.port))
    settle(net)
    assert right.heard
    assert net.timeline.now == begun + 1.875


def test_one_way_may_be_lost_and_the_other_not() -> None:
    net = new_internet()
    left, right = Socket(net.router("home").host("left")), Socket(net.host("right"))
    seen = left.outside()
    assert seen is not None
    net.way(right.host, left.host).loss = 1.0
    left.send(UdpAddress(right.host.v4, right.port))
    settle(net)
    assert [source for source, _ in right.take()] == [seen]
    right.send(seen)
    settle(net)
    assert not left.take()
    assert net.wire.counts["lost"] == 1
    assert left.outside() == seen


@pytest.mark.parametrize("ends", [("left", "right"), ("left-router-0", "right-router-0"), ("left", "right-router-0")])
def test_no_udp_between_two_whatever_is_named(ends: tuple[str, str]) -> None:
    net = new_internet()
    left, right = behind(net, "left", EASY), behind(net, "right", EASY)
    one, other = (net.hosts.get(name) or net.routers[name] for name in ends)
    net.set_udp(one, other, passes=False)
    assert punch(left, right) == 0
    assert left.outside() is not None
    net.set_udp(one, other, passes=True)
    assert punch(left, right)


def test_punching_through_loss_and_jitter_succeeds_nearly_always() -> None:
    """30 % loss on the wire, jitter and duplicates: within six rounds as good as always."""
    net = new_internet()
    homes = [behind(net, f"home-{number}", EASY) for number in range(40)]
    found = 0
    for left, right in zip(homes[::2], homes[1::2], strict=True):
        net.wire.loss, net.wire.duplication = 0.3, 0.05
        left.host.cable.jitter = right.host.cable.jitter = 0.02
        net.wire.loss = 0.0
        sides = left.outside(), right.outside()
        net.wire.loss = 0.3
        assert None not in sides
        found += bool(punch_from(left, right, *sides))
    assert found >= 19


def punch_from(left: Socket, right: Socket, *outside: UdpAddress | None) -> bool:
    """As `punch`, when both addresses are known and may not be asked for again."""
    net = left.host.place.net
    for _ in range(6):
        for side, other in zip((left, right), reversed(outside), strict=True):
            assert other is not None
            side.send(other)
        sleep(net, 0.08)
        settle(net)
    return bool(left.heard and right.heard)


def test_hosts_have_a_v6_prefix_each() -> None:
    net = new_internet()
    prefixes = {net.host(f"host-{number}").v6.rpartition("::")[0] for number in range(5)}
    assert len(prefixes) == 5


def test_a_provider_may_be_a_full_cone_with_hairpin() -> None:
    net = new_internet()
    isp = net.router("isp", nat=attrs.evolve(EASY, hairpin=True), lan="100.64.0.0/10")
    assert isp.router("home").wan_v4 == "100.64.0.2"
