"""A node whose machine loses its network and gets it back, or another one, while a stream to a Go peer is open.

    mobile ── 10.9.0.0/24 ── router ── 10.8.0.0/24 ── internet: derper, control, the Go peer
    our node                                          in the scene's own namespace

The relay and control are two networks away, so that a route, an address or a cable that is gone really cuts the node
off, and the kernel's TCP would wait for seconds before it tries again.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import attrs
import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.ours import until
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene, inside, ip
from tests.interop.harness.testcontrol import Derper, TestControl
from tsnet.base.addresses import UdpAddress

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

INTERNET, OWN, SECOND, ROUTER = "10.8.0.2", "10.9.0.2", "10.9.0.3", "10.9.0.1"
OUTAGE = 1.5
WITHIN = 1.0
"""Seconds from the link's return until control and the relay are connected again, and the stream goes on."""

ARP, RETRANSMITTED = 1.0, 10.0
"""After a cable was out, the kernel sends nothing until it has asked for the router's hardware address again, which it
does once a second. What it has kept until then may reach the peer through the connection of before, and the answer be
lost with it: the peer's own TCP sends it again."""


@attrs.define
class Lab:
    mobile: str
    router: str
    device: str
    router_device: str
    node: tsnet.Server
    stream: socket.socket

    def ip(self, *arguments: str) -> None:
        """On the machine of our node."""
        ip("-n", self.mobile, *arguments)

    def default_route(self) -> None:
        """What a DHCP client does when a link is up."""
        self.ip("route", "replace", "default", "via", ROUTER)

    def is_up(self) -> bool:
        node = self.node._handle.node
        return bool(node.is_reachable and node.control._is_ready)

    def says(self, text: bytes) -> None:
        self.stream.sendall(text)

    def hears(self, text: bytes) -> None:
        found = b""
        while len(found) < len(text):
            found += self.stream.recv(len(text) - len(found))
        assert found == text


@pytest.fixture
def lab(scene: Scene) -> Iterator[Lab]:
    need("testcontrol", "derper", "tsnetpeer")
    mobile, router = scene.namespace("mobile"), scene.namespace("router")
    device, router_device = scene.veth(mobile, router, f"{OWN}/24", f"{ROUTER}/24")
    scene.veth(scene.name, router, f"{INTERNET}/24", "10.8.0.1/24")
    ip("route", "add", "10.9.0.0/24", "via", "10.8.0.1")
    subprocess.run(["ip", "netns", "exec", router, "sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
    ip("-n", mobile, "route", "add", "default", "via", ROUTER)
    with ExitStack() as stack:
        derper = stack.enter_context(Derper(scene, host=INTERNET))
        control = stack.enter_context(TestControl(scene, derper, host=INTERNET))
        peer = stack.enter_context(GoPeer(scene, control, "gopeer", auth_key="any", derp_only=True))
        peer.up()
        peer.listen(":7", "echo")
        stack.enter_context(inside(mobile))
        node = stack.enter_context(ours.node(control, "mobile", auth_key="any", ephemeral=True))
        node.reachable()
        stream = stack.enter_context(node.dial("gopeer", 7, timeout=10))
        stream.settimeout(30)
        lab = Lab(mobile, router, device, router_device, node, stream)
        lab.says(b"before")
        lab.hears(b"before")
        yield lab


@contextlib.contextmanager
def down(lab: Lab) -> Iterator[None]:
    lab.ip("link", "set", lab.device, "down")
    yield
    lab.ip("link", "set", lab.device, "up")
    lab.default_route()


@contextlib.contextmanager
def unplugged(lab: Lab) -> Iterator[None]:
    """The cable: this machine's addresses and routes stay, only the carrier goes."""
    ip("-n", lab.router, "link", "set", lab.router_device, "down")
    yield
    ip("-n", lab.router, "link", "set", lab.router_device, "up")


@contextlib.contextmanager
def without_route(lab: Lab) -> Iterator[None]:
    lab.ip("route", "del", "default")
    yield
    lab.default_route()


@contextlib.contextmanager
def another_address(lab: Lab) -> Iterator[None]:
    lab.ip("addr", "flush", "dev", lab.device)
    yield
    lab.ip("addr", "add", f"{SECOND}/24", "dev", lab.device)
    lab.default_route()


def test_whatever_is_gone_and_comes_back_the_stream_goes_on_at_once(lab: Lab) -> None:
    surroundings, port = lab.node._handle.node.surroundings, lab.node._handle.pump._udp.local_port
    for gone in (down, unplugged, without_route):
        lose_and_find(lab, gone)
        until(lambda: surroundings.mapped == {4: UdpAddress(OWN, port)}, 5, "derper's STUN has answered")
    lose_and_find(lab, another_address)
    until(lambda: surroundings.mapped == {4: UdpAddress(SECOND, port)}, 5, "derper's STUN has answered again")


def lose_and_find(lab: Lab, gone: Callable[[Lab], contextlib.AbstractContextManager[None]]) -> None:
    with gone(lab):
        begun = time.monotonic()
        lab.says(b"meanwhile")
        until(lambda: time.monotonic() - begun > OUTAGE, OUTAGE + 1)
    back = time.monotonic()
    until(lab.is_up, WITHIN + ARP, "control and the relay are connected")
    taken = time.monotonic() - back
    lab.hears(b"meanwhile")
    went_on = time.monotonic() - back
    print(f"{gone.__name__}: all was connected after {taken:.2f} s, the stream went on after {went_on:.2f} s")
    if gone is unplugged:
        assert taken < WITHIN + ARP
        assert went_on < RETRANSMITTED
    else:
        assert max(went_on, taken) < WITHIN
    lab.says(b"after")
    lab.hears(b"after")


@pytest.mark.slow
def test_another_address_at_once(lab: Lab) -> None:
    """As between two networks, with no time between them; what the relay sees of us is measured anew."""
    surroundings = lab.node._handle.node.surroundings
    port = lab.node._handle.pump._udp.local_port
    until(lambda: surroundings.mapped.get(4) == UdpAddress(OWN, port), 5, "derper's STUN has answered")
    lab.ip("addr", "add", f"{SECOND}/24", "dev", lab.device)
    lab.ip("route", "replace", "default", "via", ROUTER, "src", SECOND)
    begun = time.monotonic()
    with contextlib.suppress(OSError):  # the kernel keeps the second one only if it may promote it
        lab.ip("addr", "del", f"{OWN}/24", "dev", lab.device)
    lab.ip("addr", "replace", f"{SECOND}/24", "dev", lab.device)
    lab.default_route()
    lab.says(b"moved")
    lab.hears(b"moved")
    until(lab.is_up, WITHIN, "control and the relay are connected")
    taken = time.monotonic() - begun
    print(f"all was connected after {taken:.2f} s")
    assert taken < WITHIN
    until(lambda: surroundings.mapped.get(4) == UdpAddress(SECOND, port), 5, "it is measured anew")
    assert surroundings.network is not None
    assert ip_address(SECOND) in surroundings.network.addresses
    assert surroundings.network.lacks(ip_address(OWN))
