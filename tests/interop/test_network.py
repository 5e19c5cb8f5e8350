"""What Linux tells of its network, in a namespace: gateways, changes, storms; and a UDP link to a server of Go's."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from ipaddress import ip_address

import attrs
import pytest

from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene, ip
from tests.interop.harness.testcontrol import Derper
from tsnet.base.addresses import UdpAddress
from tsnet.base.links import Close, Datagrams, Effect, Event, Link, Opened, OpenUdp
from tsnet.base.network import Gateway
from tsnet.edge.io.netmon import read_network
from tsnet.edge.io.netwatch import PAUSE, POLL_INTERVAL, SETTLE
from tsnet.edge.io.system import SystemWorld
from tsnet.netcheck.stun import decode_response, encode_request

pytestmark = pytest.mark.interop

BUSY = 1.0
"""Seconds that a busy machine may take for what takes an idle one no time. A look by the clock would take longer."""

LINKWATCH = 1.0
"""Seconds for which Linux itself keeps the loss of a carrier for itself."""

OWN, ROUTER, SECOND = map(ip_address, ("10.9.0.2", "10.9.0.1", "10.9.0.3"))


@attrs.define
class Lan:
    """This thread's namespace, and another one at the other end of a wire. device: our end."""

    scene: Scene
    world: SystemWorld
    device: str
    other: str
    other_device: str
    told: list[float] = attrs.field(factory=list)

    def wait(self, seconds: float) -> None:
        end = self.world.clock() + seconds
        while self.world.clock() < end:
            self.world.wait(end)

    def told_within(self, seconds: float) -> float:
        """How long the next change takes to be told."""
        begun, before = time.monotonic(), len(self.told)
        end = self.world.clock() + seconds
        while len(self.told) == before:
            assert self.world.clock() < end, f"nothing was told; now it is {self.world.network()}"
            self.world.wait(end)
        return self.told[before] - begun

    def gateway(self, version: int = 4) -> Gateway | None:
        return self.world.gateway(version)


@pytest.fixture
def lan(scene: Scene) -> Iterator[Lan]:
    other = scene.namespace("other")
    device, other_device = scene.veth(scene.name, other, f"{OWN}/24", f"{ROUTER}/24")
    world = SystemWorld()
    lan = Lan(scene, world, device, other, other_device)
    yield lan
    world.close()


def told(lan: Lan) -> None:
    lan.world.watch_network(lambda: lan.told.append(time.monotonic()))
    lan.wait(SETTLE + PAUSE)
    lan.told.clear()


def test_the_gateway_is_that_of_ip_route(lan: Lan) -> None:
    assert lan.gateway() is None
    ip("route", "add", "default", "via", str(ROUTER), "metric", "100")
    assert lan.gateway() == Gateway(ROUTER, lan.device, OWN)
    ip("route", "add", "default", "via", str(SECOND), "metric", "50")
    assert lan.gateway() == Gateway(SECOND, lan.device, OWN)
    ip("route", "add", "default", "via", str(ROUTER), "metric", "10", "src", str(OWN))
    assert lan.gateway() == Gateway(ROUTER, lan.device, OWN)
    [shown, *_] = json.loads(ip("-j", "route", "show", "default"))
    assert (shown["gateway"], shown["dev"]) == (str(ROUTER), lan.device)
    ip("route", "add", "blackhole", "default", "metric", "5")
    assert lan.gateway() == Gateway(ROUTER, lan.device, OWN)
    ip("-n", lan.other, "link", "set", lan.other_device, "down")
    assert lan.gateway() is None
    ip("link", "set", lan.device, "down")
    assert lan.gateway() is None


def test_the_gateway_of_v6_and_one_of_two_routers(lan: Lan) -> None:
    ip("-6", "addr", "add", "fd09::2/64", "dev", lan.device, "nodad")
    ip("-6", "route", "add", "default", "via", "fd09::1", "dev", lan.device)
    assert lan.gateway(6) == Gateway(ip_address("fd09::1"), lan.device, ip_address("fd09::2"))
    ip("route", "add", "default", "nexthop", "via", str(ROUTER), "nexthop", "via", str(SECOND))
    assert lan.gateway() == Gateway(ROUTER, lan.device, OWN)
    ip("route", "replace", "default", "dev", lan.device)
    assert lan.gateway() == Gateway(None, lan.device, OWN)


def test_an_address_that_linux_gives_up_is_still_ours(lan: Lan) -> None:
    own = ip_address("fd09::2")
    ip("-6", "addr", "add", f"{own}/64", "dev", lan.device, "nodad")
    assert own in read_network().addresses
    ip("-6", "addr", "change", f"{own}/64", "dev", lan.device, "preferred_lft", "0")
    assert own not in read_network().addresses
    assert not read_network().lacks(own)
    ip("-6", "addr", "del", f"{own}/64", "dev", lan.device)
    assert read_network().lacks(own)


def test_each_change_is_told_at_once_and_nothing_else_wakes_anybody(lan: Lan) -> None:
    told(lan)
    idle = lan.world._watch.wakes
    lan.wait(0.3)
    assert lan.world._watch.wakes == idle
    assert lan.world.next_event() == math.inf
    for change in (
        ("route", "add", "default", "via", str(ROUTER)),
        ("route", "del", "default"),
        ("link", "set", lan.device, "down"),
        ("link", "set", lan.device, "up"),
        ("addr", "add", "10.9.1.77/24", "dev", lan.device),
        ("addr", "del", f"{OWN}/24", "dev", lan.device),
        ("-n", lan.other, "link", "set", lan.other_device, "down"),
        ("-n", lan.other, "link", "set", lan.other_device, "up"),
    ):
        ip(*change)
        taken = lan.told_within(POLL_INTERVAL)
        kernel = LINKWATCH if change[-1] == "down" else 0
        assert taken < kernel + PAUSE + 2 * SETTLE + BUSY, (change, taken)
    assert lan.world.network().addresses >= {ip_address("10.9.1.77")}


def test_containers_that_start_cost_a_bounded_number_of_looks(lan: Lan) -> None:
    """A hundred links come up and go again: some thousands of messages, none of which matters to a node."""
    told(lan)
    watch = lan.world._watch
    looks, begun = watch.looks, time.monotonic()
    batch = lan.scene.folder / "batch"
    lines = [f"link add c{n} type veth peer name d{n}\nlink set c{n} up\nlink set d{n} up" for n in range(100)]
    lines += [f"link del c{n}" for n in range(100)]
    batch.write_text("\n".join(lines) + "\n")
    process = lan.scene.run("storm", ["ip", "-batch", str(batch)])
    used = time.thread_time()
    while process.alive:
        lan.wait(0.05)
    lan.wait(SETTLE + PAUSE)
    used, taken = time.thread_time() - used, time.monotonic() - begun
    print(f"{watch.looks - looks} looks in {taken:.2f} s, {used / taken:.1%} of a core")
    assert watch.looks - looks <= taken / (SETTLE + PAUSE) + 2
    assert used < 0.2 * taken
    assert lan.told == []
    ip("route", "add", "default", "via", str(ROUTER))
    lan.told_within(2)


def test_a_udp_link_asks_a_server_of_gos_in_another_namespace(lan: Lan) -> None:
    need("derper")
    links = lan.world.open_links(lambda: None)
    events: list[Event] = []

    def until(kind: type[Event], ask: Effect | None = None) -> Event:
        """ask: again and again, since derper may not listen yet."""
        end = lan.world.clock() + 10
        while not (found := [event for event in events if isinstance(event, kind)]):
            assert lan.world.clock() < end
            if ask is not None:
                links.apply(ask)
            lan.world.wait(lan.world.clock() + 0.1)
            events.extend(links.receive())
        return found[0]

    command = Derper(lan.scene, stun_port=3478)
    with command:
        link, tx_id = Link("test", "stun", 1), os.urandom(12)
        links.apply(OpenUdp(link))
        opened = until(Opened)
        assert isinstance(opened, Opened)
        answer = until(Datagrams, Datagrams(link, UdpAddress("127.0.0.1", 3478), [encode_request(tx_id)]))
        assert isinstance(answer, Datagrams)
        assert answer.address == UdpAddress("127.0.0.1", 3478)
        assert decode_response(answer.datagrams[0]) == (tx_id, UdpAddress("127.0.0.1", opened.local_port))
        links.apply(Close(link))
    links.close()
