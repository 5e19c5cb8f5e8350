"""The whole product in one thread under virtual time: two nodes, control and a relay, faults on every path.

Each seed is one world: two streams at once, one over IPv4 and one over IPv6, 256 KiB both ways, one of them
half-closed; the relay and control restart midway. Even seeds go by the relay, which drops, duplicates and reorders
packets; odd ones by fixed UDP endpoints over a wire that does. A seed runs under asyncio and again under trio: the
same trace.
"""

from __future__ import annotations

import gc
import hashlib
import os
import random
import subprocess
import sys
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

import tsnet
from tests.virtual import VirtualTailnet
from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import NodeKey

SIZE = 256 * 1024
TIME_WAIT_IS_OVER = 130.0
PORT = 80
FAULTS = ("lost", "duplicated", "reordered")


class Mangle:
    """The relay's faults: rates of a packet, and what became of them."""

    def __init__(self, rates: tuple[float, float, float], seed: int) -> None:
        self.rates = (0.0, 0.0, 0.0)
        self.chosen = rates
        self.counts: Counter[str] = Counter()
        self._random = random.Random(f"mangle {seed}")
        self._held: dict[tuple[NodeKey, NodeKey], list[bytes]] = {}

    def begin(self) -> None:
        self.rates = self.chosen

    def __call__(self, source: NodeKey, target: NodeKey, packets: list[bytes]) -> list[bytes]:
        loss, duplication, reordering = self.rates
        draw = self._random.random
        late = self._held.pop((source, target), [])
        passed: list[bytes] = []
        for packet in packets:
            if draw() < loss:
                self.counts["lost"] += 1
            elif draw() < reordering:
                self.counts["reordered"] += 1
                self._held.setdefault((source, target), []).append(packet)
            else:
                passed.append(packet)
                if draw() < duplication:
                    self.counts["duplicated"] += 1
                    passed.append(packet)
        return passed + late


class Run(VirtualTailnet):
    """One seed from the first packet to the last."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        loss, duplication, reordering = (chance.uniform(0.01, 0.2) for _ in range(3))
        self.direct = bool(seed % 2)
        self.mangle = Mangle((loss, duplication, reordering), seed)
        super().__init__(seed, mangle=None if self.direct else self.mangle)
        self.payloads = [chance.randbytes(SIZE) for _ in range(4)]  # up and down, v4 and v6
        self.half_closed = seed // 2 % 2  # which of the two streams
        self.restarts = [self.tailnet.restart_derp, self.tailnet.restart_control]
        self.received: dict[str, str] = {}
        self.total = 0
        self.pipes: list[weakref.ref[Any]] = []

    async def __call__(self) -> str:
        async with self, self.server("a") as a, self.server("b") as b:
            await a.reachable()
            await b.reachable()
            if self.direct:
                await self.go_direct(a, b)
            self.mangle.begin()
            await self.exchange(a, b)
            await self.check_the_end(a, b)
        return self.world.trace

    async def go_direct(self, *nodes: tsnet.AsyncServer) -> None:
        """Fixed UDP endpoints in both netmaps, and a wire that loses."""
        assert self.tailnet._control is not None
        for node in nodes:
            machine = self.world.machine(node.name)
            member = self.tailnet._state.named(node.name)
            assert member is not None
            port = node._handle.pump._udp.local_port
            self.tailnet._state.change(
                member, is_wireguard_only=True, endpoints=(UdpAddress(machine.v4, port), UdpAddress(machine.v6, port))
            )
        self.tailnet._control.mark()
        await self.sleep(0.5)
        wire = self.world.wire
        wire.loss, wire.duplication, wire.reordering = self.mangle.chosen

    # --- the streams ------------------------------------------------------------------------------------------

    async def exchange(self, a: tsnet.AsyncServer, b: tsnet.AsyncServer) -> None:
        async with await a.listen(PORT) as listener, anyio.create_task_group() as group:
            for index in (0, 1):
                stream = await b.dial(str(a.addresses[index]), PORT, timeout=120)
                accepted = await listener.accept()
                assert (stream.local_address, stream.remote_address) == (
                    accepted.remote_address,
                    accepted.local_address,
                )
                group.start_soon(self.talk, f"up {index}", stream, 2 * index, 2 * index + 1)
                group.start_soon(self.talk, f"down {index}", accepted, 2 * index + 1, 2 * index)

    async def talk(self, name: str, stream: tsnet.Stream, mine: int, theirs: int) -> None:
        """Send and receive at once. A half-closed end says that it has sent all; the other one's last quarter waits."""
        self.pipes.append(weakref.ref(stream._pipe))
        half_closed = mine // 2 == self.half_closed
        waits = half_closed and name.startswith("down")
        payload, heard_all = self.payloads[mine], anyio.Event()

        async def send() -> None:
            await stream.send(payload[: SIZE * 3 // 4])
            if waits:
                await heard_all.wait()
            await stream.send(payload[SIZE * 3 // 4 :])
            if half_closed:
                await stream.send_eof()

        async with stream, anyio.create_task_group() as group:
            group.start_soon(send)
            digest, size = hashlib.sha256(), 0
            while size < SIZE:
                data = await stream.receive()
                digest.update(data)
                size += len(data)
                self.restart_midway(len(data))
            if half_closed:
                with pytest.raises(anyio.EndOfStream):
                    await stream.receive()
            heard_all.set()
            assert digest.digest() == hashlib.sha256(self.payloads[theirs]).digest(), name
            self.received[name] = digest.hexdigest()

    def restart_midway(self, size: int) -> None:
        self.total += size
        if self.restarts and self.total > 4 * SIZE * (3 - len(self.restarts)) // 3:
            self.restarts.pop(0)()

    # --- afterwards -------------------------------------------------------------------------------------------

    async def check_the_end(self, *nodes: tsnet.AsyncServer) -> None:
        await self.sleep(TIME_WAIT_IS_OVER)
        assert len(self.received) == 4
        assert not self.restarts
        for node in nodes:
            pump = node._handle.pump
            assert not pump.node.engine.stack.connections
            assert not pump.owners
            assert not node._handle.attempts
        if any(pipe() for pipe in self.pipes):  # a cycle through a traceback or a task, perhaps
            gc.collect()
        assert not [pipe() for pipe in self.pipes if pipe() is not None]
        counts = self.world.counts if self.direct else self.mangle.counts
        assert all(counts[fault] for fault in FAULTS), counts
        assert bool(self.world.counts["delivered"] > SIZE * 4 / 1280) is self.direct


def run(seed: int, backend: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TS_DEBUG_ALWAYS_USE_DERP", "" if seed % 2 else "1")
        return anyio.run(Run(seed), backend=backend)


def check(seed: int) -> None:
    assert run(seed, "asyncio") == run(seed, "trio")


@pytest.mark.parametrize("seed", range(40))
def test_a_seed(seed: int) -> None:
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40, 200))
def test_many_more_seeds(seed: int) -> None:
    check(seed)


def test_the_trace_does_not_depend_on_the_hash_seed() -> None:
    root = Path(__file__).parent.parent
    traces = {
        subprocess.run(
            [sys.executable, "-c", "from tests.test_world import run; print(run(2, 'asyncio'), run(3, 'asyncio'))"],
            env={**os.environ, "PYTHONHASHSEED": number, "PYTHONPATH": str(root)},
            cwd=root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for number in ("1", "2")
    }
    assert traces == {f"{run(2, 'trio')} {run(3, 'trio')}\n"}
