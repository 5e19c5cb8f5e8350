"""Two stacks, a wire each way, a hand clock.

    pair = Pair(loss=0.1, seed=7)
    client, server = pair.connected()
    pair.run(until=lambda: server.readable)

Every turn is drained with a limit on its steps, after which `deadline() > now` must hold: a deadline that stays due
is the classic mistake of this shape.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from netstack import Stack, TcpConnection
from netstack.tcp.listener import KEEPALIVE
from tests.clock import Clock
from tests.wire import Wire, flip_a_bit

A4, B4 = ip_address("100.64.0.1"), ip_address("100.64.0.2")
A6, B6 = ip_address("fd7a:115c:a1e0::1"), ip_address("fd7a:115c:a1e0::2")
MAX_STEPS = 2000


def new_stack(*addresses: Any, seed: int = 1, mtu: int = 1280, now: float = 1000.0) -> Stack:
    stack = Stack(entropy=random.Random(seed).randbytes, mtu=mtu, now=now)
    stack.set_addresses(addresses, now)
    return stack


def drain(stack: Stack, now: float, budget: int = 256 * 1024) -> list[tuple[bytes, list[bytes]]]:
    """Everything that must go out now."""
    runs: list[tuple[bytes, list[bytes]]] = []
    for _ in range(MAX_STEPS):
        runs += stack.transmit(now, budget)
        if stack.deadline() > now:
            return runs
    raise AssertionError(f"the deadline stays due: {stack.deadline()} at {now}")


def packets_of(runs: Sequence[tuple[bytes, list[bytes]]]) -> list[bytes]:
    return [packet for _, packets in runs for packet in packets]


class Pair:
    """Stack `a` at A4 and A6, stack `b` at B4 and B6."""

    def __init__(
        self, *, seed: int = 0, mtu: int = 1280, verified: bool = False, budget: int = 262_144, **wire: Any
    ) -> None:
        self.seed = seed
        self.clock = Clock()
        self.a = new_stack(A4, A6, seed=seed * 2 + 1, mtu=mtu)
        self.b = new_stack(B4, B6, seed=seed * 2 + 2, mtu=mtu)
        damage = flip_a_bit if wire.get("corrupt") else None
        self.to_b: Wire[bytes] = Wire(seed * 2 + 3, damage=damage, **wire)
        self.to_a: Wire[bytes] = Wire(seed * 2 + 4, damage=damage, **wire)
        self.verified, self.budget = verified, budget
        self.on_turn: Callable[[float], None] = lambda now: None
        """What the applications do each turn."""
        self.every = math.inf
        """They want a turn this often, even when nothing happens on the wires."""
        self.trace: list[tuple[float, str, bytes]] = []

    @property
    def now(self) -> float:
        return self.clock.now

    def turn(self) -> None:
        """Let both applications and both stacks do what is due now."""
        now = self.now
        self.on_turn(now)
        for name, stack, wire in (("a", self.a, self.to_b), ("b", self.b, self.to_a)):
            for _, packets in drain(stack, now, self.budget):
                assert len({len(packet) for packet in packets[:-1]}) <= 1, "a run of unequal packets"
                assert sum(map(len, packets)) <= 65_535
                for packet in packets:
                    self.trace.append((now, name, packet))
                    wire.send(packet, now)

    def next_event(self) -> float:
        wires = min(self.to_a.deadline(), self.to_b.deadline())
        return min(self.a.deadline(), self.b.deadline(), wires, self.now + self.every)

    def step(self, limit: float = math.inf) -> bool:
        """Go to the next event, at most to `limit`; False if there is none before."""
        at = self.next_event()
        if at > limit or at == math.inf:
            self.clock.advance_to(limit if limit < math.inf else self.now)
            return False
        now = self.clock.advance_to(at)
        for stack, wire, link in ((self.b, self.to_b, "a"), (self.a, self.to_a, "b")):
            arrived = wire.receive(now)
            if arrived:
                stack.receive([(link, arrived)], now, verified=self.verified)
        self.turn()
        return True

    def run(self, *, until: Callable[[], bool] | None = None, seconds: float = 3600.0, steps: int = 200_000) -> None:
        """Until the condition holds (which it must), or nothing happens any more."""
        limit = self.now + seconds
        self.turn()
        for _ in range(steps):
            if until is not None and until():
                return
            if not self.step(limit):
                assert until is None or until(), f"did not come true: {self.a.dropped} {self.b.dropped}"
                return
        raise AssertionError("too many steps")

    def connected(self, *, v6: bool = False, port: int = 80) -> tuple[TcpConnection, TcpConnection]:
        """A connection from a to b, both ends established."""
        listener = self.b.listen(port)
        while True:  # a handshake can fail where a third of the packets are lost
            client = self.a.connect(B6 if v6 else B4, port, self.now, link="b")
            self.run(until=lambda c=client: listener.readable or c.finished or self._is_half_open(c))  # type: ignore[misc]
            server = listener.accept()
            if server is not None:
                listener.close(self.now)
                return client, server
            client.abort(self.now)

    def _is_half_open(self, client: TcpConnection) -> bool:
        """Whether b has given up a handshake that a thinks is over."""
        return client.connected and not self.b.connections


class Talk:
    """An application at each end: writes all it has, ends its stream, reads to the end, closes.

    slow: bytes that it reads at once; until: when it begins to read.
    """

    def __init__(
        self,
        connection: TcpConnection,
        payload: bytes,
        *,
        chunk: int = 65_536,
        slow: int = 0,
        until: float = -math.inf,
    ) -> None:
        self.connection, self.payload, self.chunk, self.slow, self.until = connection, payload, chunk, slow, until
        self.sent = 0
        self.received = bytearray()
        self.ended = False

    def act(self, now: float) -> None:
        connection = self.connection
        if now >= self.until:
            self.received += connection.read(self.slow or 1 << 30)
        while self.sent < len(self.payload) and not self.ended:
            taken = connection.write(self.payload[self.sent : self.sent + self.chunk], now)
            self.sent += taken
            if not taken:
                break
        if self.sent == len(self.payload) and not self.ended and not connection.finished:
            self.ended = True
            connection.shutdown_write(now)
        if connection.eof and self.ended:
            connection.close(now)

    @property
    def over(self) -> bool:
        return self.connection.eof and self.ended


def exchange(
    pair: Pair,
    to_b: bytes,
    to_a: bytes,
    *,
    v6: bool = False,
    chunk: int = 65_536,
    slow: int = 0,
    pause: float = 0.0,
    hours: float = 1.0,
    steps: int = 200_000,
    good: bool = True,
) -> None:
    """Both streams at once, whole and in order, both ends closed, and the tables empty after TIME_WAIT.

    slow, pause: how much b reads at once, and for how long first not at all. hours, steps: what it may take.
    good: nor does either end see an error after both streams are over.
    """
    client, server = pair.connected(v6=v6)
    begin = pair.now + pause
    talks = Talk(client, to_b, chunk=chunk), Talk(server, to_a, chunk=chunk, slow=slow, until=begin)

    def act(now: float) -> None:
        for talk in talks:
            talk.act(now)
        waits = server.info().unread or (now < begin and server.readable)
        pair.every = max(begin - now, 0.001) if waits else math.inf

    pair.on_turn = act
    pair.run(until=lambda: all(talk.over for talk in talks), seconds=hours * 3600, steps=steps)
    errors = client.error, server.error
    pair.run(seconds=hours * 3600 + 2 * KEEPALIVE[0], steps=steps)  # a timer's place is kept until its time has come
    assert bytes(talks[1].received) == to_b
    assert bytes(talks[0].received) == to_a
    assert ((client.error, server.error) if good else errors) == (None, None)
    assert not pair.a.connections
    assert not pair.b.connections
    assert pair.a.deadline() == pair.b.deadline() == math.inf
