from __future__ import annotations

import asyncio
import math
import time

import anyio
import pytest

from tests.edge.run.tenants import Guest
from tests.virtual import VirtualTailnet
from tsnet.edge.io.system import SystemWorld
from tsnet.edge.run.caller_loop import start_driver
from tsnet.edge.run.host import Host
from tsnet.errors import Error

GUEST = Guest()
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Counter:
    """A pump that is due when one says so."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.due = math.inf
        self.turns = 0
        self.turned = anyio.Event()

    def turn(self) -> None:
        self.due = math.inf
        self.turns += 1
        self.turned.set()

    def crash(self, error: Exception) -> None:
        raise error

    def orphan(self, error: Error) -> None: ...

    async def next_turn(self) -> None:
        self.turned = anyio.Event()
        with anyio.fail_after(5):
            await self.turned.wait()


@BACKENDS
def test_the_loop_turns_what_is_due_is_woken_and_ends_with_the_last_node(backend: str) -> None:
    async def main() -> None:
        host = Host(SystemWorld, own_thread=False, ends_world=True)
        host.acquire(GUEST)
        counter = Counter(host)
        host.add(counter)
        start_driver(host)
        start_driver(host)  # there is one already
        await anyio.lowlevel.checkpoint()
        counter.due = host.world.clock() + 0.01  # before it sleeps: a deadline
        host.wake()
        await counter.next_turn()
        for _ in range(20):  # while it sleeps: a wake of this thread
            counter.due = -math.inf
            host.wake()
            await counter.next_turn()

        def from_elsewhere() -> None:
            counter.due = -math.inf
            host.wake()

        await anyio.to_thread.run_sync(from_elsewhere)
        if counter.due < math.inf:
            await counter.next_turn()
        host.call(lambda: host.release(GUEST))
        with anyio.fail_after(5):
            while host.driven:  # noqa: ASYNC110  # nothing tells when a driver has gone
                await anyio.sleep(0.001)

    anyio.run(main, backend=backend)


@BACKENDS
def test_an_idle_driver_sleeps(backend: str) -> None:
    async def main() -> None:
        host = Host(SystemWorld, own_thread=False, ends_world=True)
        host.acquire(GUEST)
        start_driver(host)
        await anyio.sleep(0.02)
        used = time.process_time()
        await anyio.sleep(0.2)
        assert time.process_time() - used < 0.1
        host.call(lambda: host.release(GUEST))
        await anyio.sleep(0.01)

    anyio.run(main, backend=backend)


def test_a_driver_that_ended_with_its_loop_can_be_started_in_another() -> None:
    host = Host(SystemWorld, own_thread=False, ends_world=True)
    host.acquire(GUEST)
    counter = Counter(host)
    host.add(counter)

    async def once() -> None:
        start_driver(host)
        counter.due = -math.inf
        host.wake()
        await counter.next_turn()

    anyio.run(once, backend="asyncio")
    assert not host.driven
    anyio.run(once, backend="trio")
    assert counter.turns == 2
    host.release(GUEST)
    host.ended()


@BACKENDS
def test_virtual_time_passes_only_when_every_task_is_blocked(backend: str) -> None:
    async def main() -> None:
        async with VirtualTailnet() as virtual, virtual.server("a"):
            begun, real = virtual.world.clock(), time.monotonic()
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            assert virtual.world.clock() - begun < 0.1
            await virtual.sleep(3600)
            assert virtual.world.clock() - begun >= 3600
            assert time.monotonic() - real < 5

    anyio.run(main, backend=backend)


def test_a_task_that_is_about_to_go_on_holds_virtual_time() -> None:
    async def main() -> None:
        async with VirtualTailnet() as virtual, virtual.server("a"):
            begun = virtual.world.clock()
            seen: list[float] = []

            async def busy() -> None:
                for _ in range(50):
                    await asyncio.sleep(0)
                    seen.append(virtual.world.clock())

            async with anyio.create_task_group() as group:
                group.start_soon(busy)
                group.start_soon(virtual.sleep, 10.0)
            assert max(seen) - begun < 1

    anyio.run(main, backend="asyncio")
