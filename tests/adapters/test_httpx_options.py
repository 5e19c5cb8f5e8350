"""Every option of httpx is honoured over the tailnet, or refused by name; HTTP/2 is spoken with anycorn's server."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anycorn
import anyio
import anyio.from_thread
import httpx
import pytest

import tsnet
from tests.adapters.certificates import contexts, shop_file, trusting
from tests.adapters.loopback import SHOP, LoopbackTailnet, real
from tests.adapters.test_httpcore import Blocking
from tests.adapters.test_httpx import answering, serving
from tsnet.adapters.httpcore import AsyncBackend, SyncBackend
from tsnet.adapters.httpx import AsyncTransport, SyncTransport, httpx_client, sync_httpx_client
from tsnet.adapters.httpx_options import REFUSED
from tsnet.errors import ConfigError
from tsnet.testing.tailnet import Tailnet


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Says which HTTP it was asked in."""
    while scope["type"] == "lifespan":
        phase = (await receive())["type"]
        await send({"type": f"{phase}.complete"})
        if phase == "lifespan.shutdown":
            return
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["http_version"].encode()})


@pytest.fixture
def server_port(tmp_path: Path) -> Iterator[int]:
    """anycorn's HTTPS server on a port of loopback: it offers h2 and http/1.1."""
    config = anycorn.Config()
    config.certfile = config.keyfile = str(shop_file(tmp_path))
    config.bind = [f"{real(SHOP)}:0"]
    config.errorlog = None
    stop = threading.Event()
    with anyio.from_thread.start_blocking_portal() as portal:

        async def stopped() -> None:
            await anyio.to_thread.run_sync(stop.wait)

        future, bound = portal.start_task(partial(anycorn.serve, app, config, shutdown_trigger=stopped, mode="asgi"))
        try:
            yield int(bound[0].rpartition(":")[2])
        finally:
            stop.set()
            future.result(10)


@pytest.fixture
def https(tailnet: LoopbackTailnet, server_port: int) -> None:
    tailnet.claim(443, server_port)


# --- HTTP/2 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "version"),
    [({}, "HTTP/1.1"), ({"http2": True}, "HTTP/2"), ({"http2": True, "http1": False}, "HTTP/2")],
)
def test_the_blocking_client_speaks_http2(
    options: dict[str, Any], version: str, tailnet: LoopbackTailnet, https: None
) -> None:
    with sync_httpx_client(Blocking(tailnet), verify=trusting(), **options) as client:
        for _ in range(3):
            response = client.get("https://shop/")
            assert (response.http_version, response.text) == (version, version.removeprefix("HTTP/"))


@pytest.mark.anyio
async def test_the_asynchronous_client_speaks_http2(tailnet: LoopbackTailnet, https: None) -> None:
    for http2, version in ((True, "HTTP/2"), (False, "HTTP/1.1")):
        answers: list[httpx.Response] = []
        async with httpx_client(tailnet, verify=trusting(), http2=http2) as client:

            async def get() -> None:
                answers.append(await client.get("https://shop/"))  # noqa: B023  # awaited in the loop's turn

            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(get)
        assert [answer.http_version for answer in answers] == [version] * 5


def test_nodes_speak_http2(server_port: int) -> None:
    with Tailnet() as tailnet:
        url, key = tailnet.control_url, tailnet.auth_key
        with (
            tsnet.Server("shop", control_url=url, auth_key=key, ephemeral=True) as shop,
            tsnet.Server("laptop", control_url=url, auth_key=key, ephemeral=True) as laptop,
            shop.forward_remote(443, server_port),
            laptop.httpx_client(http2=True, verify=trusting()) as client,
        ):
            response = client.get("https://shop/")
            assert (response.http_version, response.text) == ("HTTP/2", "2")


def test_plain_http_stays_http_1_unless_nothing_else_is_allowed(tailnet: LoopbackTailnet) -> None:
    with answering(tailnet), sync_httpx_client(Blocking(tailnet), http2=True) as client:
        assert client.get("http://shop/").http_version == "HTTP/1.1"


# --- the pool's -------------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize(("kept", "connections"), [(0, 3), (None, 1)])
async def test_limits_are_the_pools(kept: int | None, connections: int, tailnet: LoopbackTailnet) -> None:
    limits = httpx.Limits(max_keepalive_connections=kept)
    async with serving(tailnet) as made, httpx_client(tailnet, limits=limits) as client:
        for _ in range(3):
            await client.get("http://shop/")
    assert len(made) == connections


def test_a_full_pool_makes_wait(tailnet: LoopbackTailnet) -> None:
    limits, timeout = httpx.Limits(max_connections=1), httpx.Timeout(5, pool=0.01)
    with (
        answering(tailnet),
        sync_httpx_client(Blocking(tailnet), limits=limits, timeout=timeout) as client,
        client.stream("GET", "http://shop/"),
        pytest.raises(httpx.PoolTimeout),
    ):
        client.get("http://shop/")


@pytest.mark.parametrize("retries", [0, 2])
def test_a_connection_is_tried_again(retries: int, tailnet: LoopbackTailnet) -> None:
    class Counting(Blocking):
        tries = 0

        def dial(self, host: str, port: int, *, timeout: float | None = 30) -> Any:
            self.tries += 1
            if self.tries <= 1:
                raise ConnectionRefusedError
            return super().dial(host, port, timeout=timeout)

    dialer = Counting(tailnet)
    with answering(tailnet), sync_httpx_client(dialer, retries=retries) as client:
        if not retries:
            with pytest.raises(httpx.ConnectError):
                client.get("http://shop/")
        assert client.get("http://shop/").text == "hello"
    assert dialer.tries == 2


def test_no_timeout_is_no_timeout(tailnet: LoopbackTailnet) -> None:
    seen: list[float | None] = []

    class Noting(Blocking):
        def dial(self, host: str, port: int, *, timeout: float | None = 30) -> Any:
            seen.append(timeout)
            return super().dial(host, port, timeout=timeout)

    with answering(tailnet), sync_httpx_client(Noting(tailnet), timeout=httpx.Timeout(None)) as client:
        client.get("http://shop/")
    assert seen == [None]


# --- certificates -----------------------------------------------------------------------------------------------


def test_a_clients_certificate_is_shown(tailnet: LoopbackTailnet, tmp_path: Path) -> None:
    wanting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path = shop_file(tmp_path)
    wanting.load_cert_chain(path)
    wanting.load_verify_locations(path)
    wanting.verify_mode = ssl.CERT_REQUIRED
    with pytest.warns(DeprecationWarning, match="cert="):  # httpx's own
        client = sync_httpx_client(Blocking(tailnet), verify=trusting(), cert=str(path))
    with answering(tailnet, context=wanting), client:
        assert client.get("https://shop/").text == "hello"


def test_roots_of_the_environment(tailnet: LoopbackTailnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(shop_file(tmp_path)))
    with answering(tailnet, context=contexts()[0]), sync_httpx_client(Blocking(tailnet)) as client:
        assert client.get("https://shop/").text == "hello"


def test_roots_of_the_environment_are_not_trusted_without_trust_env(
    tailnet: LoopbackTailnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(shop_file(tmp_path)))
    with (
        answering(tailnet, context=contexts()[0]),
        sync_httpx_client(Blocking(tailnet), trust_env=False) as client,
        pytest.raises(httpx.ConnectError, match="certificate"),
    ):
        client.get("https://shop/")


# --- what is refused --------------------------------------------------------------------------------------------

SETTERS = [httpx_client, sync_httpx_client, AsyncTransport, SyncTransport]


@pytest.mark.parametrize("make", SETTERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_meaning_on_a_tailnet_is_refused_by_name(make: Any, name: str, tailnet: LoopbackTailnet) -> None:
    with pytest.raises(ConfigError, match=f"^{name}= cannot be honoured: .*"):
        make(Blocking(tailnet), **{name: None})


@pytest.mark.parametrize("make", SETTERS, ids=lambda make: make.__name__)
def test_what_httpx_does_not_know_is_refused(make: Any, tailnet: LoopbackTailnet) -> None:
    with pytest.raises(TypeError, match="frobnicate"):
        make(Blocking(tailnet), frobnicate=1)


@pytest.mark.parametrize("make", SETTERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"limits": 5}, r"^limits= takes an httpx\.Limits, not int"),
        ({"retries": -1}, "^retries= takes"),
        ({"retries": "x"}, "^retries= takes"),
        ({"verify": 5}, "^verify= takes"),
        ({"http1": False}, "http2= are True or False, and one must be True"),
        ({"http2": "yes"}, "http2= are True or False"),
        ({"fallback": "internet"}, "^fallback= is None"),
    ],
)
def test_what_makes_no_sense_is_told_at_once(
    make: Any, options: dict[str, Any], says: str, tailnet: LoopbackTailnet
) -> None:
    with pytest.raises(ConfigError, match=says):
        make(Blocking(tailnet), **options)


@pytest.mark.filterwarnings("ignore:`cert")
def test_a_certificate_that_is_not_there_is_told_at_once(tailnet: LoopbackTailnet) -> None:
    with pytest.raises(ConfigError, match="cert= cannot be used"):
        sync_httpx_client(Blocking(tailnet), cert="/nowhere.pem")


@pytest.mark.anyio
async def test_a_pool_of_somebody_else_cannot_ask_for_a_socket_of_the_host(tailnet: LoopbackTailnet) -> None:
    with pytest.raises(ConfigError, match="local_address="):
        SyncBackend(Blocking(tailnet)).connect_tcp("shop", 80, local_address="127.0.0.1")
    with pytest.raises(ConfigError, match="socket_options="):
        await AsyncBackend(tailnet).connect_tcp("shop", 80, socket_options=[(6, 1, 1)])


def test_mounts_are_httpxs_and_go_where_they_say(tailnet: LoopbackTailnet) -> None:
    elsewhere = httpx.MockTransport(lambda request: httpx.Response(204))
    with sync_httpx_client(Blocking(tailnet), mounts={"http://example.com": elsewhere}) as client:
        assert client.get("http://example.com/").status_code == 204
