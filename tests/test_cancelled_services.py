"""Services that need real sockets or threads, cancelled at each await of their beginning: nothing is left of them, and
the same one begins at once.

Not here: the calls that need none of that, in virtual time (`test_cancelling`); the descriptors of services, which are
counted when the node's own links do not come and go (`test_opens_and_closes`).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

import tsnet
from tests.cancelling import HOWS, How, at_await, backend, moments
from tsnet.testing.tailnet import Tailnet

PORT = 7
PATIENCE, POLLS = 5.0, 500
POOLS = ("asyncio_", "Trio thread", "AnyIO worker")
"""Threads that look up names for a loop, and wait for the next name."""
BLOCKED = 0.05
"""Seconds after which a call that blocks is cancelled where it waits."""


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return []


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})


async def until_it_is_enough(node: tsnet.AsyncServer) -> None:
    with anyio.move_on_after(BLOCKED):
        await node.serve_asgi(asgi, PORT)


CALLS: dict[str, Callable[[tsnet.AsyncServer], Awaitable[Any]]] = {
    "AsyncServer.serve_wsgi": lambda node: node.serve_wsgi(wsgi, PORT, block=False),
    "AsyncServer.forward_local": lambda node: node.forward_local("node", PORT),
    "AsyncServing.start": lambda node: node.serve_asgi(asgi, PORT, block=False),
    "AsyncServing.run": until_it_is_enough,
}
SERVICES = frozenset(CALLS)


def held(node: tsnet.AsyncServer) -> Counter[str]:
    return Counter(
        services=len(node._servings),
        owners=len(node._handle.pump.owners),
        threads=sum(not thread.name.startswith(POOLS) for thread in threading.enumerate()),
        tasks=len(anyio.get_running_tasks()),
    )


async def more_than(before: Counter[str], node: tsnet.AsyncServer) -> Counter[str]:
    """What is left once whatever ends in the background has had time to."""
    for _ in range(POLLS):
        if not held(node) - before:
            break
        await anyio.sleep(PATIENCE / POLLS)
    return held(node) - before


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_left_and_the_next_one_begins(name: str, how: How) -> None:
    async def begun_again(node: tsnet.AsyncServer) -> None:
        serving = await CALLS[name](node)
        if serving is not None:
            await serving.aclose()

    async def test() -> None:
        async with Tailnet() as tailnet:
            options: dict[str, Any] = {"control_url": tailnet.control_url, "auth_key": tailnet.auth_key}
            async with tsnet.AsyncServer("node", ephemeral=True, **options) as node:
                await begun_again(node)
                before = held(node)
                for number in moments():
                    outcome = await at_await(how, lambda: CALLS[name](node), node._handle.host, number)
                    if outcome.value is not None:
                        await outcome.value.aclose()
                    await begun_again(node)
                    assert await more_than(before, node) == {}, f"cancelled at await {number}"
                    if not outcome.came:
                        break

    anyio.run(test, backend=backend(how))
