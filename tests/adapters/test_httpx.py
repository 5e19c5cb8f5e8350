"""httpx over the tailnet, against our own ASGI and WSGI service and a TLS server, async and blocking."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import httpx
import pytest
from anyio.streams.tls import TLSListener

from tests.adapters.certificates import contexts
from tests.adapters.loopback import LoopbackTailnet
from tests.adapters.test_httpcore import Blocking
from tsnet.adapters.httpx import httpx_client, sync_httpx_client
from tsnet.errors import NotOnTailnet
from tsnet.protocols import ByteStream

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


async def answer(stream: Any) -> None:
    """An HTTP server of one sentence, keep-alive included."""
    async with stream:
        try:
            while await stream.receive():
                await stream.send(ANSWER)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass


@asynccontextmanager
async def serving(
    tailnet: LoopbackTailnet, handler: Callable[[ByteStream], Any] = answer, *, tls: bool = False
) -> AsyncIterator[list[None]]:
    """The handler on shop's port 80; yields a list that grows with each connection."""
    connections: list[None] = []
    port = await tailnet.listen(443 if tls else 80)
    listener: Any = TLSListener(port, contexts()[0], standard_compatible=False) if tls else port

    async def counted(stream: Any) -> None:
        connections.append(None)
        await handler(stream)

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, counted)
        with anyio.fail_after(10):
            yield connections
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
class TestAsync:
    async def test_get_by_name_over_one_connection(self, tailnet: LoopbackTailnet) -> None:
        async with serving(tailnet) as connections, httpx_client(tailnet) as client:
            for url in ("http://shop/", "http://shop:80/again"):
                response = await client.get(url)
                assert (response.status_code, response.text) == (200, "hello")
        assert len(connections) == 1

    async def test_https_is_verified(self, tailnet: LoopbackTailnet) -> None:
        async with serving(tailnet, tls=True):
            async with httpx_client(tailnet, verify=contexts()[1]) as client:
                assert (await client.get("https://shop/")).text == "hello"
            async with httpx_client(tailnet) as client:
                with pytest.raises(httpx.ConnectError, match="certificate"):
                    await client.get("https://shop/")
            async with httpx_client(tailnet, verify=False) as client:
                assert (await client.get("https://shop/")).text == "hello"

    async def test_bodies_stream_both_ways(self, tailnet: LoopbackTailnet) -> None:
        async def echo(stream: ByteStream) -> None:
            async with stream:
                received = b""
                while not received.endswith(b"0\r\n\r\n"):
                    received += await stream.receive()
                body = received.partition(b"\r\n\r\n")[2]
                await stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)

        async def parts() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b"x" * 5000

        async with serving(tailnet, echo), httpx_client(tailnet) as client:
            request = client.stream("POST", "http://shop/", content=parts(), headers={"Transfer-Encoding": "chunked"})
            async with request as response:
                assert sum([len(part) async for part in response.aiter_bytes()]) == 100_000

    async def test_a_connection_closed_while_idle_is_not_used_again(self, tailnet: LoopbackTailnet) -> None:
        async def once(stream: ByteStream) -> None:
            async with stream:
                await stream.receive()
                await stream.send(ANSWER)

        async with serving(tailnet, once) as connections, httpx_client(tailnet) as client:
            for _ in range(3):
                assert (await client.get("http://shop/")).text == "hello"
                await anyio.sleep(0.01)
        assert len(connections) == 3

    async def test_failures_have_httpx_names_and_our_cause(self, tailnet: LoopbackTailnet) -> None:
        async def reset(stream: ByteStream) -> None:
            await stream.receive()
            await stream.send(ANSWER[:-2])
            await anyio.sleep(0.05)
            stream.abort()

        async def silent(stream: ByteStream) -> None:
            async with stream:
                await anyio.sleep(10)

        async with httpx_client(tailnet) as client:
            with pytest.raises(httpx.ConnectError, match="refused") as failure:
                await client.get("http://shop:81/")
            assert failure.value.request.url.port == 81
            async with serving(tailnet, reset):
                with pytest.raises(httpx.ReadError):
                    await client.get("http://shop/")
            async with serving(tailnet, silent):
                with pytest.raises(httpx.ReadTimeout):
                    await client.get("http://shop/", timeout=0.02)

    async def test_a_name_outside_the_tailnet(self, tailnet: LoopbackTailnet) -> None:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listener.serve, answer)
                async with httpx_client(tailnet) as client:
                    with pytest.raises(NotOnTailnet):
                        await client.get(f"http://127.0.0.1:{port}/")
                async with httpx_client(tailnet, fallback="host") as client:
                    assert (await client.get(f"http://127.0.0.1:{port}/")).text == "hello"
                tasks.cancel_scope.cancel()

    async def test_options_are_httpxs(self, tailnet: LoopbackTailnet) -> None:
        async with serving(tailnet), httpx_client(tailnet, base_url="http://shop", headers={"X-Bot": "1"}) as client:
            response = await client.get("/status")
            assert response.request.headers["X-Bot"] == "1"


@contextmanager
def answering(tailnet: LoopbackTailnet, *, context: ssl.SSLContext | None = None) -> Iterator[None]:
    """One blocking connection's worth of answers. context: of TLS, then it is on port 443."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        tailnet.claim(80 if context is None else 443, listener.getsockname()[1])

        def serve() -> None:
            connection, _ = listener.accept()
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                if context is not None:
                    connection = context.wrap_socket(connection, server_side=True)
                with connection:
                    while connection.recv(65_536):
                        connection.sendall(ANSWER)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(10)
        assert not thread.is_alive()


class TestSync:
    @pytest.mark.parametrize("tls", [False, True])
    def test_get_by_name_over_one_connection(self, tailnet: LoopbackTailnet, tls: bool) -> None:
        with (
            answering(tailnet, context=contexts()[0] if tls else None),
            sync_httpx_client(Blocking(tailnet), verify=contexts()[1]) as client,
        ):
            for _ in range(2):
                assert client.get("https://shop/" if tls else "http://shop/").text == "hello"

    def test_failures(self, tailnet: LoopbackTailnet) -> None:
        with sync_httpx_client(Blocking(tailnet)) as client:
            with pytest.raises(NotOnTailnet):
                client.get("http://example.com/")
            with pytest.raises(httpx.ConnectError):
                client.get("http://shop:81/")
