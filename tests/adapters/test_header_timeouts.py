"""Connections that take their time with a header, over each engine: they are closed, the others are not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from tests.adapters.loopback import LAPTOP, LoopbackTailnet, read_all
from tsnet.adapters import asgi, header_timeouts
from tsnet.adapters.asgi import AsgiServer
from tsnet.adapters.header_timeouts import HeaderTimeouts
from tsnet.adapters.web_limits import WebLimits

pytestmark = pytest.mark.anyio
SHORT = 0.05
REQUEST = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"


@pytest.fixture(params=["asyncio-uvicorn", "asyncio-anycorn", "trio-anycorn"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(engine: str, monkeypatch: pytest.MonkeyPatch) -> str:
    loop, _, server = engine.partition("-")
    if server == "anycorn":
        monkeypatch.setattr(asgi, "_runs_asyncio", lambda: False)
    return loop


class App:
    """Answers when it may."""

    def __init__(self) -> None:
        self.called, self.may_answer = anyio.Event(), anyio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.called.set()
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def serving(tailnet: LoopbackTailnet, app: App, **limits: float | None) -> AsyncIterator[AsgiServer]:
    server = AsgiServer(app, await tailnet.listen(80), tailnet, limits=WebLimits(**limits))  # type: ignore[arg-type]
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(10):
            await tasks.start(server.run)
            yield server
            server.close()


async def until_closed(stream: Any) -> bytes:
    try:
        return await read_all(stream)
    except anyio.BrokenResourceError:
        return b""


async def test_one_that_says_nothing_is_closed(tailnet: LoopbackTailnet) -> None:
    async with serving(tailnet, App(), header_timeout=SHORT) as server, await tailnet.dial("shop", 80) as stream:
        assert await until_closed(stream) == b""
        while server._timeouts._connections:
            await anyio.lowlevel.checkpoint()


async def test_one_that_sends_a_byte_at_a_time_is_closed(tailnet: LoopbackTailnet) -> None:
    async def drip() -> None:
        try:
            while True:
                await stream.send(b"x")
                await anyio.sleep(SHORT / 20)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            ended.set()

    ended = anyio.Event()
    async with (
        serving(tailnet, App(), header_timeout=SHORT),
        await tailnet.dial("shop", 80) as stream,
        anyio.create_task_group() as tasks,
    ):
        await stream.send(b"GET / HTTP/1.1\r\nX: ")
        tasks.start_soon(drip)
        await ended.wait()


async def test_a_request_under_way_may_take_longer(tailnet: LoopbackTailnet) -> None:
    app = App()
    async with (
        serving(tailnet, app, header_timeout=SHORT, keep_alive_timeout=60),
        await tailnet.dial("shop", 80) as stream,
    ):
        await stream.send(REQUEST)
        await app.called.wait()
        async with await tailnet.dial("shop", 80) as later:
            await until_closed(later)
        app.may_answer.set()
        assert (await stream.receive()).startswith(b"HTTP/1.1 200")


async def test_one_that_is_idle_after_a_request_is_closed(tailnet: LoopbackTailnet) -> None:
    app = App()
    app.may_answer.set()
    async with (
        serving(tailnet, app, keep_alive_timeout=SHORT),
        await tailnet.dial("shop", 80) as stream,
    ):
        await stream.send(REQUEST)
        assert (await until_closed(stream)).endswith(b"ok")


async def test_the_second_header_is_timed_too(tailnet: LoopbackTailnet) -> None:
    app = App()
    app.may_answer.set()
    async with (
        serving(tailnet, app, header_timeout=SHORT, keep_alive_timeout=SHORT),
        await tailnet.dial("shop", 80) as stream,
    ):
        await stream.send(REQUEST + b"GET / HTTP/1.1\r\n")
        assert (await until_closed(stream)).count(b"HTTP/1.1 ") <= 2  # anycorn may call half a request a bad one


async def test_without_limits_nothing_is_closed(tailnet: LoopbackTailnet) -> None:
    app = App()
    app.may_answer.set()
    async with (
        serving(tailnet, app, header_timeout=None, keep_alive_timeout=None),
        await tailnet.dial("shop", 80) as stream,
    ):
        await anyio.wait_all_tasks_blocked()
        await stream.send(REQUEST)
        assert (await stream.receive()).startswith(b"HTTP/1.1 200")


async def test_one_that_cannot_be_closed_in_order_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_timeouts, "FAREWELL", 0.0)

    class Stubborn:
        remote_address = (LAPTOP, 1)
        was_reset = anyio.Event()

        def abort(self) -> None:
            self.was_reset.set()

    stream: Any = Stubborn()
    timeouts = HeaderTimeouts(App(), WebLimits(header_timeout=0))
    async with anyio.create_task_group() as tasks:
        timeouts.began(stream, lambda: None)
        tasks.start_soon(timeouts.watch)
        with anyio.fail_after(5):
            await stream.was_reset.wait()
        tasks.cancel_scope.cancel()


async def test_an_address_that_is_used_again_is_the_new_connections(tailnet: LoopbackTailnet) -> None:
    class Stream:
        remote_address = (LAPTOP, 1)

    timeouts = HeaderTimeouts(App(), WebLimits())
    old: Any = Stream()
    new: Any = Stream()
    for stream in (old, new):
        timeouts.began(stream, lambda: None)
    timeouts.ended(old)
    assert timeouts._connections[LAPTOP, 1].stream is new
    timeouts.ended(new)
    assert not timeouts._connections
