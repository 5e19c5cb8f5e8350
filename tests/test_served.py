"""serve_wsgi, serve_asgi, forward_local and forward_remote of both servers, between two real nodes."""

from __future__ import annotations

import json
import socket
import struct
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

import tsnet
from tests.guests import guest_of
from tsnet.adapters.asgi import Receive, Scope, Send
from tsnet.testing import Tailnet

FORGED = {"Tailscale-User-Login": "root@example.com", "tailscale_user_name": "root"}


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    forged = [key for key in environ if "TAILSCALE" in key.upper()]
    return [json.dumps([environ["tsnet.peer"].name, environ["REMOTE_ADDR"], forged]).encode()]


async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    forged = [name.decode() for name, _ in scope["headers"] if b"tailscale" in name.lower()]
    body = json.dumps([scope["extensions"]["tsnet"].name, scope["client"][0], forged]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def shop(tailnet: Tailnet) -> Iterator[tsnet.Server]:
    with tsnet.Server("shop", **guest_of(tailnet)) as node:
        yield node


@pytest.fixture
def visitor(tailnet: Tailnet) -> Iterator[tsnet.Server]:
    with tsnet.Server("visitor", **guest_of(tailnet)) as node:
        yield node


def get(node: tsnet.Server, url: str) -> Any:
    with node.httpx_client(headers=FORGED) as client:
        return client.get(url).json()


@contextmanager
def serving(shop: tsnet.Server, kind: str, app: Any, **how: Any) -> Iterator[Any]:
    with getattr(shop, kind)(app, block=False, **how) as handle:
        yield handle


APPS = [("serve_wsgi", wsgi), ("serve_asgi", asgi)]


@pytest.mark.parametrize(("kind", "app"), APPS)
class TestBlocking:
    def test_the_caller_is_known_and_headers_do_not_say_so(
        self, kind: str, app: Any, shop: tsnet.Server, visitor: tsnet.Server
    ) -> None:
        with serving(shop, kind, app) as handle:
            assert handle.port == 80
            assert handle.address == f"{shop.addresses[0]}:80"
            assert get(visitor, shop.url) == ["visitor", str(visitor.addresses[0]), []]
            assert get(visitor, f"http://[{shop.addresses[1]}]/") == ["visitor", str(visitor.addresses[1]), []]
        with visitor.httpx_client() as client, pytest.raises(httpx.ConnectError, match="refused"):
            client.get(shop.url)

    def test_any_free_port(self, kind: str, app: Any, shop: tsnet.Server, visitor: tsnet.Server) -> None:
        with serving(shop, kind, app, port=0) as handle:
            assert handle.port > 1023
            assert get(visitor, f"http://shop:{handle.port}/")[0] == "visitor"

    def test_who_is_not_allowed(self, kind: str, app: Any, shop: tsnet.Server, visitor: tsnet.Server) -> None:
        with serving(shop, kind, app, allow=["tag:ci"]), visitor.httpx_client() as client:
            assert client.get(shop.url).status_code == 403

    def test_a_port_in_use(self, kind: str, app: Any, shop: tsnet.Server) -> None:
        with serving(shop, kind, app), pytest.raises(tsnet.AddressInUse):
            getattr(shop, kind)(app)

    def test_it_blocks_until_the_node_is_closed(
        self, kind: str, app: Any, shop: tsnet.Server, visitor: tsnet.Server
    ) -> None:
        thread = threading.Thread(target=getattr(shop, kind), args=(app,))
        thread.start()
        while not shop._servings:
            threading.Event().wait(0.001)
        assert get(visitor, shop.url)[0] == "visitor"
        shop.close()
        thread.join(10)
        assert not thread.is_alive()

    def test_it_ends_with_the_node(self, kind: str, app: Any, shop: tsnet.Server) -> None:
        handle = getattr(shop, kind)(app, block=False)
        shop.close()
        assert handle.ended
        handle.close()


def test_an_app_that_does_not_start_is_an_error(shop: tsnet.Server) -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(RuntimeError, match="startup failed"):
        shop.serve_asgi(failing)


def test_forwards_both_ways(shop: tsnet.Server, visitor: tsnet.Server, tmp_path: Path) -> None:
    shop.serve_wsgi(wsgi, block=False)
    with visitor.forward_local("shop", 80) as there, shop.forward_remote(81, there.address) as back:
        assert there.address == f"127.0.0.1:{there.port}"
        assert (back.port, back.address) == (81, f"{shop.addresses[0]}:81")
        with urllib.request.urlopen(f"http://{there.address}/") as response:
            assert json.loads(response.read())[0] == "visitor"
        assert get(visitor, "http://shop:81/") == ["visitor", str(visitor.addresses[0]), []]
    path = str(tmp_path / "shop.sock")
    with visitor.forward_local("shop", 80, local=path) as there:
        assert (there.port, there.address) == (None, path)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert sock.recv(8) == b"HTTP/1.0"


def test_a_forward_ends_with_the_node(visitor: tsnet.Server) -> None:
    there = visitor.forward_local("visitor", 80)
    visitor.close()
    assert there.ended


NOWHERE = ["10.1.2.3", "nobody", "100.64.0.99", "example.com", ""]


@pytest.mark.parametrize("host", NOWHERE)
def test_a_forward_to_nowhere_is_refused_at_once(host: str, visitor: tsnet.Server) -> None:
    with pytest.raises(tsnet.NotOnTailnet):
        visitor.forward_local(host, 80)


@pytest.mark.parametrize("local", ["x", "::1", "127.0.0.1:x", -1, 70_000, None])
def test_a_forward_without_sense_is_refused_before_anything_happens(local: Any) -> None:
    node = tsnet.Server("never", control_url="https://control.test", ephemeral=True)
    with pytest.raises(tsnet.ConfigError):
        node.forward_local("visitor", 80, local=local)
    with pytest.raises(tsnet.ConfigError):
        node.forward_local("visitor", 0)
    assert node.status().state == "stopped"


@pytest.mark.parametrize("app", [None, "web:app", 5])
def test_what_is_no_app_is_refused_at_once_and_takes_no_port(app: Any, visitor: tsnet.Server) -> None:
    for serve in (visitor.serve_wsgi, visitor.serve_asgi):
        with pytest.raises(tsnet.ConfigError, match="can be called"):
            serve(app, 80, block=False)
        with pytest.raises(tsnet.ConfigError, match="allow="):
            serve(wsgi, 80, allow=5, block=False)  # type: ignore[arg-type]
    visitor.listen(80).close()


def test_a_socket_that_lingers_for_no_time_resets_and_never_ends_in_order(
    shop: tsnet.Server, visitor: tsnet.Server
) -> None:
    """Data, close and reset in one turn of the node: a FIN before the RST would look like an orderly end."""

    def hang_up() -> None:
        for _ in range(20):
            with listener.accept()[0] as sock:
                sock.sendall(b"half")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with shop.listen(7) as listener:
        thread = threading.Thread(target=hang_up)
        thread.start()
        for _ in range(20):
            with visitor.dial("shop", 7) as sock, pytest.raises(ConnectionResetError):
                b"".join(iter(lambda sock=sock: sock.recv(100), b""))  # type: ignore[misc]
        thread.join(10)


# --- the asynchronous server --------------------------------------------------------------------------------


@asynccontextmanager
async def two(tailnet: Tailnet) -> AsyncIterator[tuple[tsnet.AsyncServer, tsnet.AsyncServer]]:
    async with (
        tsnet.AsyncServer("shop", **guest_of(tailnet)) as shop,
        tsnet.AsyncServer("visitor", **guest_of(tailnet)) as visitor,
    ):
        yield shop, visitor


async def fetch(node: tsnet.AsyncServer, url: str) -> httpx.Response:
    async with node.httpx_client(headers=FORGED) as client:
        return await client.get(url)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
class TestAsync:
    @pytest.mark.parametrize(("kind", "app"), APPS)
    async def test_a_handle_that_ends_with_the_node(self, kind: str, app: Any, tailnet: Tailnet) -> None:
        async with two(tailnet) as (shop, visitor):
            handle = await getattr(shop, kind)(app, block=False)
            assert (handle.port, handle.address) == (80, f"{shop.addresses[0]}:80")
            assert (await fetch(visitor, shop.url)).json() == ["visitor", str(visitor.addresses[0]), []]
            await shop.close()
            assert handle.ended
            await handle.wait()

    @pytest.mark.parametrize(("kind", "app"), APPS)
    async def test_it_blocks_until_cancelled(self, kind: str, app: Any, tailnet: Tailnet) -> None:
        async with two(tailnet) as (shop, visitor), anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: getattr(shop, kind)(app, allow=["you@tailnet.test"]))
            while not shop._servings:
                await anyio.lowlevel.checkpoint()
            assert (await fetch(visitor, shop.url)).status_code == 200
            tasks.cancel_scope.cancel()

    async def test_forwards_both_ways(self, tailnet: Tailnet) -> None:
        async with two(tailnet) as (shop, visitor):
            async with (
                await shop.serve_asgi(asgi, block=False),
                await visitor.forward_local("shop", 80) as there,
                await shop.forward_remote(81, there.port or 0) as back,
            ):
                assert back.port == 81
                assert (await fetch(visitor, "http://shop:81/")).json()[0] == "visitor"
            assert there.ended
            assert back.ended

    async def test_a_forward_to_nowhere_is_refused_at_once(self, tailnet: Tailnet) -> None:
        async with two(tailnet) as (_shop, visitor):
            for host in NOWHERE:
                with pytest.raises(tsnet.NotOnTailnet):
                    await visitor.forward_local(host, 80)

    async def test_an_app_that_does_not_start_is_an_error(self, tailnet: Tailnet) -> None:
        async def failing(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})

        async with two(tailnet) as (shop, _):
            for block in (True, False):
                with pytest.raises(RuntimeError, match="startup failed"):
                    await shop.serve_asgi(failing, 0, block=block)

    async def test_a_port_that_was_closed_is_free_at_once(self, tailnet: Tailnet) -> None:
        async with tsnet.AsyncServer("shop", **guest_of(tailnet)) as shop:
            for _ in range(5):
                async with await shop.serve_asgi(asgi, block=False):
                    pass
                await (await shop.listen(80)).aclose()
                await (await shop.listen_packet(53)).aclose()
