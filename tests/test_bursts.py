"""Many at once, over real nodes: a burst of dials to one listener."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest

import tsnet
from tests.guests import guest_of
from tsnet.edge.io.store import MemoryStore
from tsnet.testing.tailnet import Tailnet

DIALS = 400
PORT = 80


@asynccontextmanager
async def node(tailnet: Tailnet, name: str) -> AsyncIterator[tsnet.AsyncServer]:
    options: Any = guest_of(tailnet)
    async with tsnet.AsyncServer(name, state=MemoryStore(), **options) as server:
        yield server


async def answer(listener: tsnet.Listener, tasks: anyio.abc.TaskGroup) -> None:
    async def one(stream: tsnet.Stream) -> None:
        async with stream:
            await stream.send(await stream.receive())

    async for stream in listener:
        tasks.start_soon(one, stream)


@pytest.mark.slow
def test_all_of_a_burst_of_cold_dials_are_answered(tailnet: Tailnet) -> None:
    """No session yet, and one listener with the default backlog."""
    answered = list[bytes]()

    async def ask(caller: tsnet.AsyncServer) -> None:
        async with await caller.dial("shop", PORT, timeout=10) as stream:
            await stream.send(b"x")
            answered.append(await stream.receive())

    async def main() -> None:
        async with node(tailnet, "shop") as shop, node(tailnet, "caller") as caller, anyio.create_task_group() as tasks:
            tasks.start_soon(answer, await shop.listen(PORT), tasks)
            await shop.reachable()
            with anyio.fail_after(3):
                async with anyio.create_task_group() as dials:
                    for _ in range(DIALS):
                        dials.start_soon(ask, caller)
            tasks.cancel_scope.cancel()

    anyio.run(main)
    assert answered == [b"x"] * DIALS
