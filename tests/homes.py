"""A tailnet whose nodes live on the simulated internet, and what two of them say to each other.

    async with Homes(seed) as homes:
        await homes.join_at("laptop", homes.build("easy", "laptop"))
        await homes.join_at("shop", homes.build("hard", "shop"))
        async with homes.call("laptop", "shop") as call:
            await call.go_on(5.0)                       bytes both ways, all the while
            assert homes.is_direct("laptop", "shop")

Control, a relay and a STUN server are on the public host "near"; another relay and STUN server on "far", so that a
node can see whether its NAT is hard.

| `build(kind, name)`                           | where the host of that name is                                     |
|-----------------------------------------------|--------------------------------------------------------------------|
| public                                        | on the internet itself                                             |
| firewall                                      | there, behind a firewall                                           |
| full cone, address, easy, strays, hard        | behind a NAT of that kind                                          |
| provider, hard provider                       | behind an easy NAT, and that behind an easy or hard one            |
| blocked                                       | behind an easy NAT that lets no UDP through                        |
| v6, v6 firewall                               | v6 alone, open or behind a firewall                                |
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio

import tsnet
from tests.virtual import VirtualTailnet
from tsnet.base.addresses import Destination, UdpAddress, join_host_port
from tsnet.testing.internethost import InternetHost
from tsnet.testing.nat import ADDRESS_RESTRICTED, EASY, EASY_WITH_STRAYS, FULL_CONE, HARD, Nat
from tsnet.testing.router import Site
from tsnet.testing.tailnet import Tailnet

PORT = 7
PAUSE = 0.25
LOST = 120.0
"""Seconds after which what was said counts as lost."""
CALL_TIMEOUT = 60.0

NATS: dict[str, Nat | None] = {
    "firewall": None,
    "full cone": FULL_CONE,
    "address": ADDRESS_RESTRICTED,
    "easy": EASY,
    "strays": EASY_WITH_STRAYS,
    "hard": HARD,
}


class Homes(VirtualTailnet):
    """net: the simulated internet. near, far: the hosts of its servers."""

    def make_tailnet(self, **options: Any) -> Tailnet:
        self.net = self.world.internet
        self.near, self.far = self.net.host("near"), self.net.host("far")
        self.far.cable.latency = 0.02
        tailnet = Tailnet(world=self.near, host=self.near.v4, regions=0, **options)
        tailnet.add_region("near", world=self.near)
        tailnet.add_region("far", world=self.far)
        return tailnet

    async def __aenter__(self) -> Homes:
        await super().__aenter__()
        control, port = self.tailnet._control, self.tailnet._port.number
        assert control is not None
        control.add(self.near.listen(self.near.v6, port, control.mark))
        return self

    # --- building ------------------------------------------------------------------------------------------------

    def build(self, kind: str, name: str) -> InternetHost:
        net = self.net
        if kind == "public":
            return net.host(name)
        if kind in ("v6", "v6 firewall"):
            return net.router(f"{name}'s", v4=False, v6=True, firewall=kind != "v6").host(name)
        if kind == "blocked":
            return net.router(f"{name}'s", blocks_udp=True).host(name)
        site: Site = net
        if kind.endswith("provider"):
            nat, kind = HARD if kind.startswith("hard") else EASY, "easy"
            site = net.router(f"{name}'s provider", nat=nat, lan="100.64.0.0/10")
        return site.router(f"{name}'s", nat=NATS[kind]).host(name)

    async def join_at(self, name: str, host: InternetHost, **options: Any) -> tsnet.AsyncServer:
        """A node on that host, which finds control by an address that it can reach."""
        port = self.tailnet._port.number
        url = f"http://{join_host_port(self.near.v4 if host.v4 else self.near.v6, port)}"
        return await self.join(name, **{"world": host, "control_url": url, **options})

    async def settle_pair(self, left: InternetHost, right: InternetHost) -> None:
        """A node on each of both, which know each other and each other's relay."""
        for host in (left, right):
            await self.join_at(host.name, host)
        names = [left.name, right.name]
        await self.until(lambda: self.routes(*names) and self.routes(*reversed(names)))

    # --- looking -------------------------------------------------------------------------------------------------

    def routes(self, name: str, peer: str) -> tuple[Destination, ...]:
        """Where the first one sends what is for the second one."""
        key = next(m.key for m in self.tailnet._state.members.values() if m.name == peer)
        paths = self.nodes[name]._handle.pump.node.engine.paths
        found: tuple[Destination, ...] = paths.routes(key)
        return found

    def is_direct(self, one: str, other: str) -> bool:
        """Whether both send to each other over one UDP path, and through no relay."""
        ways = (self.routes(one, other), self.routes(other, one))
        return all(len(way) == 1 and isinstance(way[0], UdpAddress) for way in ways)

    @contextmanager
    def within(self, seconds: float, what: str) -> Iterator[None]:
        """The block must end by then, in virtual time."""
        with anyio.CancelScope() as scope:
            self.at(seconds, scope.cancel)
            yield
        assert not scope.cancelled_caught, f"{what} took longer than {seconds} s"

    # --- talking -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def call(self, caller: str, callee: str) -> AsyncIterator[Call]:
        """A stream between two nodes that are up."""
        listener = await self.nodes[callee].listen(PORT)
        begun = self.world.clock()
        stream = await self.nodes[caller].dial(str(self.nodes[callee].addresses[0]), PORT, timeout=CALL_TIMEOUT)
        await stream.send(b"hello")
        other = await listener.accept()
        assert await other.receive() == b"hello"
        call = Call(self, stream, other, self.world.clock() - begun)
        try:
            yield call
        finally:
            await stream.aclose()
            await other.aclose()
            await listener.aclose()


class Call:
    """first_byte: after how many seconds it was there. longest: the longest that anything said was under way."""

    def __init__(self, homes: Homes, stream: tsnet.Stream, other: tsnet.Stream, first_byte: float) -> None:
        self.first_byte = first_byte
        self.longest: float = 0.0
        self._homes, self._ends = homes, (stream, other)
        self._count = 0

    async def exchange(self) -> float:
        """Something each way; how long that took."""
        begun = self._homes.world.clock()
        with self._homes.within(LOST, "an exchange"):
            for sender, receiver in (self._ends, self._ends[::-1]):
                await self._say(sender, receiver)
        took = self._homes.world.clock() - begun
        self.longest = max(self.longest, took)
        return took

    async def _say(self, sender: tsnet.Stream, receiver: tsnet.Stream) -> None:
        self._count += 1
        message = f"{self._count:8}".encode()
        await sender.send(message)
        received = b""
        while len(received) < len(message):
            received += await receiver.receive()
        assert received == message

    async def go_on(self, seconds: float, pause: float = PAUSE) -> None:
        """Talk for that long, with pauses."""
        until = self._homes.world.clock() + seconds
        while self._homes.world.clock() < until:
            await self.exchange()
            await self._homes.sleep(pause)

    async def pour(self, size: int) -> float:
        """That many bytes from the caller, as fast as they go; how long that took."""
        begun, received = self._homes.world.clock(), 0
        with self._homes.within(LOST, "pouring"):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._ends[0].send, bytes(size))
                while received < size:
                    received += len(await self._ends[1].receive())
        return self._homes.world.clock() - begun

    async def until_direct(self, one: str, other: str, seconds: float) -> float:
        """Talk until the path is direct both ways, which it must be by then; after how long it was."""
        begun = self._homes.world.clock()
        while not self._homes.is_direct(one, other):
            took = self._homes.world.clock() - begun
            assert took < seconds, (self._homes.routes(one, other), self._homes.routes(other, one))
            await self.exchange()
            await self._homes.sleep(PAUSE)
        return self._homes.world.clock() - begun
