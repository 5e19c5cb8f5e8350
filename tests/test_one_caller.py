"""What one caller can take of a web server on a real node: never what the others need."""

from __future__ import annotations

import importlib.util
import resource
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import anyio
import pytest

import tsnet
from tsnet.adapters import asgi
from tsnet.edge.io.store import MemoryStore
from tsnet.testing import Tailnet

AT_ONCE = 1.0
SOON = 5.0
"""Where the machine may be busy with other tests: without the limits it would be 20 s, or never."""
SERVERS = ["waitress", "wsgiref", "uvicorn", "anycorn"]


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"ok"]


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def join(tailnet: Tailnet) -> Iterator[Callable[[str], tsnet.Server]]:
    with ExitStack() as stack:

        def join(name: str) -> tsnet.Server:
            node = tsnet.Server(
                name,
                control_url=tailnet.control_url,
                auth_key=tailnet.auth_key,
                state=MemoryStore(),
                ephemeral=True,
            )
            return stack.enter_context(node)

        yield join


def serve(shop: tsnet.Server, server: str, patch: pytest.MonkeyPatch, **limits: Any) -> None:
    if server == "wsgiref":
        find = importlib.util.find_spec
        patch.setattr(importlib.util, "find_spec", lambda name: None if name == "waitress" else find(name))
    if server == "anycorn":
        patch.setattr(asgi, "_runs_asyncio", lambda: False)
    if server in ("waitress", "wsgiref"):
        shop.serve_wsgi(wsgi, block=False, **limits)
    else:
        shop.serve_asgi(asgi_app, block=False, **limits)


def fetch(node: tsnet.Server) -> tuple[bytes, float]:
    begun = time.monotonic()
    with node.httpx_client() as client:
        return client.get("http://shop/").content, time.monotonic() - begun


def hold(node: tsnet.Server, number: int, stack: ExitStack) -> None:
    """Open so many connections, and say nothing on them. Those that are refused are no error."""
    for _ in range(number):
        try:
            stack.enter_context(node.dial("shop", 80, timeout=2))
        except OSError:
            continue


@pytest.mark.parametrize("server", SERVERS)
def test_one_that_holds_all_it_may_keeps_nobody_out(
    server: str, join: Callable[[str], tsnet.Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, greedy, other = map(join, ("shop", "greedy", "other"))
    serve(shop, server, monkeypatch, max_connections=12)
    with ExitStack() as stack:
        hold(greedy, 15, stack)
        body, took = fetch(other)
    assert body == b"ok"
    assert took < SOON


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_neither_does_one_with_1428_connections(
    server: str, join: Callable[[str], tsnet.Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(16_384, limits[1]), limits[1]))
    try:
        shop, greedy, other = map(join, ("shop", "greedy", "other"))
        serve(shop, server, monkeypatch)
        with ExitStack() as stack:
            hold(greedy, 1428, stack)
            for _ in range(3):
                body, took = fetch(other)
                assert body == b"ok"
                assert took < AT_ONCE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def streaming(end: threading.Event) -> Callable[..., Iterator[bytes]]:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        if environ["PATH_INFO"] == "/events":
            start_response("200 OK", [("Content-Type", "text/event-stream")])
            yield b"data: begun\n\n"
            end.wait(20)
        else:
            start_response("200 OK", [])
            yield b"ok"

    return app


@pytest.mark.parametrize("server", ["waitress", "wsgiref"])
def test_33_event_streams_of_one_client_do_not_hold_up_its_next_request(
    server: str, join: Callable[[str], tsnet.Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    if server == "wsgiref":
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "waitress" else find(name))
    shop, client = join("shop"), join("client")
    end = threading.Event()
    shop.serve_wsgi(streaming(end), block=False)
    with ExitStack() as stack:
        for _ in range(33):
            sock = stack.enter_context(client.dial("shop", 80))
            sock.sendall(b"GET /events HTTP/1.1\r\nHost: shop\r\n\r\n")
            assert sock.recv(5) == b"HTTP/"
        body, took = fetch(client)
        end.set()
    assert body == b"ok"
    assert took < SOON


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_the_asynchronous_server_has_the_same_limits(tailnet: Tailnet) -> None:
    def node(name: str) -> tsnet.AsyncServer:
        return tsnet.AsyncServer(
            name, control_url=tailnet.control_url, auth_key=tailnet.auth_key, state=MemoryStore(), ephemeral=True
        )

    async with node("shop") as shop, node("client") as client:
        await shop.serve_wsgi(wsgi, 80, threads=2, max_connections=3, header_timeout=0.05, block=False)
        await shop.serve_asgi(asgi_app, 81, max_connections=3, header_timeout=0.05, block=False)
        for port in (80, 81):
            async with await client.dial("shop", port) as first, await client.dial("shop", port):
                with pytest.raises(tsnet.DialRefused):
                    await client.dial("shop", port)
                with anyio.fail_after(5), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await first.receive()
        for name, serve in (("threads", shop.serve_wsgi), ("max_connections", shop.serve_asgi)):
            with pytest.raises(tsnet.ConfigError, match=name):
                await serve(wsgi, **{name: 0})  # type: ignore[arg-type]
