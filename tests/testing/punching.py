"""Naive hole punching on the simulated internet: what the kernel's NATs were asked, asked of ours.

Both learn their outside address from a STUN server. Then, in rounds, each pings the other's outside address, and
answers every source that it has heard. The kernel was measured in the same way: the result is the round in which
both have heard something, or 0 after the last.
"""

from __future__ import annotations

import math

from tsnet.base.addresses import UdpAddress
from tsnet.testing.internet import Internet
from tsnet.testing.internethost import InternetHost
from tsnet.testing.nat import Nat
from tsnet.testing.router import Site
from tsnet.testing.simulated import SimulatedWorld

ROUNDS = 6
STUN = 3478


def new_internet(seed: int = 1) -> Internet:
    net = SimulatedWorld(seed).internet
    for name in ("stun", "stun2"):
        Socket(net.host(name), STUN, answers=True)
        Socket(net.hosts[name], STUN + 1, answers=True)
    return net


def settle(net: Internet) -> None:
    """Until nothing is under way any more."""
    while net.timeline.next_event() < math.inf:
        net.timeline.wait(math.inf)


def sleep(net: Internet, seconds: float) -> None:
    until = net.timeline.now + seconds
    while net.timeline.now < until:
        net.timeline.wait(until)


class Socket:
    """A UDP port, and what it has heard. answers: it tells each source its address, as a STUN server does."""

    def __init__(self, host: InternetHost, port: int = 0, *, answers: bool = False) -> None:
        self.host = host
        self.heard: list[tuple[UdpAddress, bytes]] = []
        self._answers = answers
        self._port = host.open_udp(port, self._ready)
        self.port = self._port.local_port

    def _ready(self) -> None:
        for source, datagrams in self._port.receive():
            self.heard += [(source, datagram) for datagram in datagrams]
            if self._answers:
                self.send(source, f"{source.host} {source.port}".encode())

    def send(self, to: UdpAddress, datagram: bytes = b"ping") -> None:
        self._port.send(to, [datagram])

    def take(self) -> list[tuple[UdpAddress, bytes]]:
        heard, self.heard = self.heard, []
        return heard

    def outside(self, server: str = "stun", port: int = STUN, *, version: int = 4) -> UdpAddress | None:
        """Our address as that server sees it; None without an answer."""
        net: Internet = self.host.place.net
        stun = net.hosts[server]
        self.send(UdpAddress(stun.v4 if version == 4 else stun.v6, port))
        settle(net)
        for _, datagram in self.take():
            host, _, number = datagram.decode().partition(" ")
            return UdpAddress(host, int(number))
        return None


def punch(left: Socket, right: Socket, *, pause: float = 0.0) -> int:
    """The round in which both had heard the other. pause: by how much the right one is late in each round."""
    net: Internet = left.host.place.net
    sides = (left, right)
    outside = [side.outside() for side in sides]
    met: set[int] = set()
    for number in range(1, ROUNDS + 1):
        heard = [side.take() for side in sides]
        for side, sources in zip(sides, heard, strict=True):
            for source, _ in sources:
                side.send(source, b"answer")
        for index, side in enumerate(sides):
            other = outside[1 - index]
            if other is not None:
                side.send(other)
            settle(net)
            sleep(net, pause)
        met |= {index for index, side in enumerate(sides) if side.heard}
        if len(met) == 2:
            return number
        sleep(net, 0.08)
    return 0


def behind(place: Site, name: str, *nats: Nat | None, port: int = 0) -> Socket:
    """A socket of a host behind these routers, the outermost first."""
    for number, nat in enumerate(nats):
        lan = "100.64.0.0/10" if number < len(nats) - 1 else f"192.168.{number + 1}.0/24"
        place = place.router(f"{name}-router-{number}", nat=nat, lan=lan)
    return Socket(place.host(name), port)
