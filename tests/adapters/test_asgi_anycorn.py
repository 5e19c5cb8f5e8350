"""A contract with anycorn: what the engine uses of it, and what it must not try."""

from __future__ import annotations

import inspect
import logging
import socket
from typing import Any

import anyio
import pytest
from anycorn.config import Config
from anycorn.tcp_server import TCPServer
from anyio.abc import SocketAttribute

from tests.adapters.loopback import LAPTOP, SHOP, LoopbackTailnet
from tsnet.adapters.asgi_anycorn import AnycornEngine, _Connection, _Lifespan, _Socketed
from tsnet.protocols import ByteStream

pytestmark = pytest.mark.anyio


async def app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("never called")


async def test_tcp_server_takes_what_the_engine_gives() -> None:
    assert list(inspect.signature(TCPServer.__init__).parameters)[1:] == ["app", "config", "context", "state", "stream"]


async def test_it_is_never_offered_a_descriptor_for_sendfile() -> None:
    engine = AnycornEngine(app)
    connection = _Connection(engine._app, engine._config, engine._context, {}, None)
    connection._sendfile_socket = socket.socket  # what it finds for an address family it knows
    assert connection._sendfile_socket is None


async def test_the_stream_names_both_addresses(tailnet: LoopbackTailnet) -> None:
    async with await tailnet.listen(80) as listener:
        client = await tailnet.dial("shop", 80)
        async with await listener.accept() as stream:
            names = _Socketed(stream).extra(SocketAttribute.raw_socket)
            assert names.family == socket.AF_INET
            assert names.getsockname() == (SHOP, 80)
            assert names.getpeername()[0] == LAPTOP
        await client.aclose()


@pytest.mark.parametrize("stage", ["startup", "shutdown"])
async def test_a_failed_stage_is_logged_and_noted(stage: str, caplog: pytest.LogCaptureFixture) -> None:
    config = Config()
    config.errorlog = logging.getLogger("anycorn.error")
    lifespan = _Lifespan(app, config, {})
    with caplog.at_level(logging.ERROR, "anycorn.error"), anyio.fail_after(5):
        await lifespan.asgi_send({"type": f"lifespan.{stage}.failed", "message": "no database"})
        await getattr(lifespan, stage).wait()
    assert lifespan.startup_failed is (stage == "startup")
    assert "no database" in caplog.text
    for channel in (lifespan.app_send_channel, lifespan.app_receive_channel):
        await channel.aclose()


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


async def read_until(stream: ByteStream, end: bytes) -> None:
    received = b""
    while not received.endswith(end):
        received += await stream.receive()


async def test_a_header_that_has_begun_may_take_longer_than_the_keep_alive_time(tailnet: LoopbackTailnet) -> None:
    engine = AnycornEngine(hello, keep_alive=0.2)
    with anyio.fail_after(5):
        async with engine.running(0), await tailnet.listen(80) as listener, await tailnet.dial("shop", 80) as client:
            engine.serve(await listener.accept(), lambda: None)
            await client.send(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
            await read_until(client, b"ok")
            await anyio.wait_all_tasks_blocked()  # the server knows, too, that this request is over
            await client.send(b"GET / HTTP/1.1\r\n")
            await anyio.sleep(0.3)
            await client.send(b"Host: shop\r\n\r\n")
            await read_until(client, b"ok")
            with pytest.raises(anyio.EndOfStream):
                await client.receive()


async def test_without_keep_alive_a_first_request_has_its_time(tailnet: LoopbackTailnet) -> None:
    engine = AnycornEngine(hello, keep_alive=0)
    with anyio.fail_after(5):
        async with engine.running(0), await tailnet.listen(80) as listener, await tailnet.dial("shop", 80) as client:
            engine.serve(await listener.accept(), lambda: None)
            await anyio.wait_all_tasks_blocked()
            await client.send(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
            await read_until(client, b"ok")
            with pytest.raises(anyio.EndOfStream):
                await client.receive()
