"""Packets of real conversations, damaged: 20,000, and a million more in the nightly run. Nothing escapes from the
stack, and what it holds stays within its bounds however many come.

    honest stack ── every packet, and damaged copies of recent ones ──> stack under test
                 <── what it answers ──

The stack under test listens, forwards, dials, pings and has a UDP endpoint; applications on both sides write, read,
accept, end and break connections by chance. Half of the damaged packets come as verified, so that checksums save
nobody.
"""

from __future__ import annotations

import contextlib
import os
import tracemalloc
from collections import deque
from collections.abc import Iterator
from ipaddress import ip_address
from random import Random

import pytest

from netstack import Stack, TcpConnection, UdpFlow
from netstack.fragments import MAX_BYTES
from tests import fuzzing
from tests.netstack.pair import A4, A6, B4, B6, drain, new_stack, packets_of

BLOCKS = 20
PER_BLOCK = 1_000
PER_LONG_BLOCK = 50_000 if os.environ.get("TSNET_NIGHTLY") == "1" else 1_000

BUFFERS = 1 << 20
"""The ceiling of the stack under test for what its connections buffer."""

MOST_BYTES = MAX_BYTES + 8 * BUFFERS
"""Of both stacks, the packets on their way and the applications."""

BACKLOG, IN_FLIGHT, FLOWS = 8, 64, 64
MOST_DIALLED = 4
COPIES = 25
FAR = ip_address("10.9.9.9"), ip_address("2001:db8::9")
"""Whom the forwarder stands for."""


class Battered:
    """The stack under test with its applications, and the honest one that it talks to."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.now = 1000.0
        self.stack = Stack(entropy=Random(seed).randbytes, now=self.now, memory=BUFFERS)
        self.stack.set_addresses([A4, A6], self.now)
        self.honest = new_stack(B4, B6, seed=seed + 100)
        self.listener = self.stack.listen(80, backlog=BACKLOG)
        self.forwarder = self.stack.forward_tcp(max_in_flight=IN_FLIGHT)
        self.flow_forwarder = self.stack.forward_udp(max_flows=FLOWS, unbound=seed % 2 == 0)
        self.flows: list[UdpFlow] = []
        self.answered = 0
        self.datagrams, self.pings = self.stack.open_udp(53), [self.stack.ping(B4), self.stack.ping(B6)]
        self.their_listener, self.their_datagrams = self.honest.listen(81), self.honest.open_udp(54)
        self.ours: list[TcpConnection] = []
        self.theirs: list[TcpConnection] = []
        self.recent: deque[bytes] = deque(maxlen=64)
        self.sent = 0
        self.established = 0
        self.most_live = 0

    def turn(self) -> None:
        """Both applications act, then everything honest arrives, and with it what is damaged."""
        self._dial()
        self._serve()
        for connection in self.ours + self.theirs:
            self._use(connection)
        self._send_datagrams()
        for _ in range(self.chance.randint(1, 3)):
            self.honest.receive([("wire", packets_of(drain(self.stack, self.now)))], self.now)
            genuine = packets_of(drain(self.honest, self.now))
            self.recent += genuine
            for damaged in self._damaged(COPIES):
                self.stack.receive([("wire", [damaged])], self.now, verified=self.chance.random() < 0.5)
                self._count()
            self.stack.receive([("wire", genuine)], self.now)
            self._count()
            self.now += self.chance.random() * 0.05
        self.now += self.chance.choice([0, 0, 0.3, 3])

    def _count(self) -> None:
        self.most_live = max(self.most_live, len(self.stack._tcp.connections))

    def _damaged(self, count: int) -> Iterator[bytes]:
        self.sent += count
        for _ in range(count):
            noise = not self.recent or self.chance.randrange(20) == 0
            yield self.chance.randbytes(80) if noise else fuzzing.mutated(self.chance.choice(self.recent), self.chance)

    def _dial(self) -> None:
        chance = self.chance
        if len(self.theirs) < MOST_DIALLED:
            remote, port = chance.choice([(A4, 80), (A6, 80), (A4, 9), *((far, 80) for far in FAR)])
            self.theirs.append(self.honest.connect(remote, port, self.now, link="wire"))
        if len(self.ours) < MOST_DIALLED:
            self.ours.append(self.stack.connect(chance.choice([B4, B6]), 81, self.now, link="wire"))

    def _serve(self) -> None:
        for listener, connections in ((self.listener, self.ours), (self.their_listener, self.theirs)):
            while (accepted := listener.accept()) is not None:
                self.established += listener is self.listener
                connections.append(accepted)
        while (pending := self.forwarder.accept()) is not None:
            match self.chance.randrange(4):
                case 0:
                    pending.refuse(self.now, self.chance.choice(["reset", "icmp"]))
                case 1 | 2:
                    self.ours.append(pending.accept(self.now))
        self._serve_flows()

    def _serve_flows(self) -> None:
        while (pending := self.flow_forwarder.accept()) is not None:
            match self.chance.randrange(4):
                case 0:
                    pending.refuse(self.now)
                case 1 | 2:
                    self.flows.append(pending.accept(self.now))
        for flow in self.flows:
            if not flow.is_closed and self.chance.randrange(4) == 0:
                for datagram in flow.receive_many(3):
                    self.answered += flow.send(datagram.payload, self.now)
            if self.chance.randrange(40) == 0:
                flow.close()
        self.flows = [flow for flow in self.flows if not flow.is_closed]

    def _use(self, connection: TcpConnection) -> None:
        """Write, read, end or break it, or nothing; what is over is forgotten."""
        match self.chance.randrange(12):
            case 0:
                connection.close(self.now)
            case 1:
                connection.abort(self.now)
            case 2 | 3 | 4:
                connection.read(self.chance.choice([10, 1 << 20]))
            case 5 | 6 | 7 | 8 if connection.writable:
                connection.write(bytes(self.chance.choice([1, 3_000, 60_000])), self.now)
            case 9:
                connection.shutdown_write(self.now)
        if connection.finished or self.chance.randrange(60) == 0:
            connection.close(self.now)
            for connections in (self.ours, self.theirs):
                with contextlib.suppress(ValueError):
                    connections.remove(connection)

    def _send_datagrams(self) -> None:
        size = self.chance.choice([0, 50, 4_000])
        self.their_datagrams.send(bytes(size), self.now, self.chance.choice([A4, A6]), self.chance.choice([53, 55]))
        self.datagrams.send(bytes(size), self.now, self.chance.choice([B4, B6]), self.chance.choice([54, 55]))
        self.their_datagrams.send(bytes(size), self.now, self.chance.choice(FAR), self.chance.choice([53, 4000]))
        for ping in self.pings:
            ping.send(self.now, self.sent, bytes(size))
            ping.receive()
        self.datagrams.receive_many()
        self.their_datagrams.receive_many()
        self.stack.take_ready()
        self.honest.take_ready()

    def check(self) -> None:
        """Everything that packets can make the stack hold is bounded, and what was dropped has a reason."""
        assert self.stack._fragments.bytes_held <= MAX_BYTES
        held, live = self.stack._tcp.memory.held, self.stack._tcp.connections
        assert 0 <= held <= BUFFERS + len(live) * 65_536 * 2
        assert len(live) <= 128 + BACKLOG + 6 * MOST_DIALLED + IN_FLIGHT  # half-open, waiting, in use
        assert len(self.forwarder) <= IN_FLIGHT
        flows = self.stack._flows
        assert len(flows) == flows.places.taken <= FLOWS
        assert flows.room.taken == sum(flow.queued_bytes for flow in flows) <= flows.room.total
        self._count()
        assert len(self.stack._tcp._heap) <= 2 * self.most_live + 65
        assert all(reason.partition(": ")[2] for reason in self.stack.dropped)
        assert len(self.stack.dropped) < 60


def batter(seed: int, packets: int) -> Battered:
    battered = Battered(seed)
    while battered.sent < packets:
        battered.turn()
        battered.check()
    return battered


@pytest.mark.parametrize("block", range(BLOCKS))
def test_mutated_packets_never_raise_and_hold_no_memory(block: int) -> None:
    battered = batter(block, PER_BLOCK)
    assert battered.established
    assert battered.answered
    assert len(battered.stack.dropped) > 15


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_million_of_them_hold_no_more(block: int) -> None:
    """One stack takes a whole block; its memory, the honest one's included, is measured all the time."""
    tracemalloc.start()
    try:
        battered = batter(1_000 + block, PER_LONG_BLOCK)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert battered.sent >= PER_LONG_BLOCK
    assert peak < MOST_BYTES
