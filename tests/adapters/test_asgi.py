"""ASGI apps over tailnet streams, under both event loops, with the clients people use."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import h11
import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

from tests.adapters.loopback import DESK, LAPTOP, RUNNER, STRANGER, LoopbackTailnet
from tsnet.adapters import asgi
from tsnet.adapters.asgi import AsgiServer
from tsnet.adapters.identity import current_peer
from tsnet.errors import ConfigError
from tsnet.protocols import ByteStream

pytestmark = [
    pytest.mark.anyio,
    # FastAPI's own threads and uvicorn's WebSocket half bring these
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(uvicorn|websockets|anycorn|fastapi|starlette).*"),
]


@pytest.fixture(params=["asyncio-uvicorn", "asyncio-anycorn", "trio-anycorn"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(engine: str, monkeypatch: pytest.MonkeyPatch) -> str:
    loop, _, server = engine.partition("-")
    if server == "anycorn":
        monkeypatch.setattr(asgi, "_runs_asyncio", lambda: False)
    return loop


@asynccontextmanager
async def serving(tailnet: LoopbackTailnet, app: Any, **options: Any) -> AsyncIterator[AsgiServer]:
    server = AsgiServer(app, await tailnet.listen(80), tailnet, **options)
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(10):
            await tasks.start(server.run)
            yield server
            server.close()


class Client:
    """One HTTP/1.1 connection of a node, by h11."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT)

    async def send(self, *events: Any) -> None:
        for event in events:
            await self.stream.send(self.http.send(event) or b"")

    async def next(self) -> Any:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            try:
                self.http.receive_data(await self.stream.receive())
            except anyio.EndOfStream:
                self.http.receive_data(b"")
        return event

    async def get(self, path: str, headers: list[tuple[str, str]] | None = None) -> tuple[int, bytes]:
        request = h11.Request(method="GET", target=path, headers=[("Host", "shop"), *(headers or [])])
        await self.send(request, h11.EndOfMessage())
        response = await self.next()
        body = b""
        while isinstance(event := await self.next(), h11.Data):
            body += event.data
        if self.http.our_state is h11.DONE:
            self.http.start_next_cycle()
        return response.status_code, body


@asynccontextmanager
async def client(tailnet: LoopbackTailnet, address: str = LAPTOP) -> AsyncIterator[Client]:
    async with await tailnet.dialer_of(address).dial("shop", 80) as stream:
        yield Client(stream)


async def get(
    tailnet: LoopbackTailnet, path: str, headers: list[tuple[str, str]] | None = None, *, of: str = LAPTOP
) -> tuple[int, bytes]:
    async with client(tailnet, of) as connection:
        return await connection.get(path, [*(headers or []), ("Connection", "close")])


app = FastAPI()


@pytest.mark.parametrize("target", [b"*", b"shop:80", b"http://", b"//", b"a b"])
async def test_ts_2026_008_a_target_that_is_no_path_is_answered(tailnet: LoopbackTailnet, target: bytes) -> None:
    """Go's Serve looked for the parent of "*" for ever; another caller is served meanwhile."""
    async with serving(tailnet, app):
        async with await tailnet.dialer_of(LAPTOP).dial("shop", 80) as stream:
            await stream.send(b"GET " + target + b" HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
            with anyio.fail_after(5), contextlib.suppress(anyio.EndOfStream):
                assert (await stream.receive()).startswith(b"HTTP/1.1 ")
        assert (await get(tailnet, "/whoami"))[0] == 200


@app.get("/whoami")
async def whoami(request: Request) -> dict[str, Any]:
    peer = current_peer()
    assert peer == request.scope["extensions"]["tsnet"]
    assert request.client is not None
    headers = [name for name in request.headers if "tailscale" in name.replace("_", "-").lower()]
    return {"peer": peer.name if peer else None, "client": request.client.host, "forged": headers}


@app.get("/thread")
def in_a_thread() -> str:
    peer = current_peer()
    return peer.user_login if peer else ""


class Chunks:
    """An iterator, not a generator: an abandoned one leaves nothing behind."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> bytes:
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return b"x" * 1000


@app.get("/count/{size}")
async def count(size: int) -> StreamingResponse:
    return StreamingResponse(Chunks(size))


@app.websocket("/ws")
async def ws(websocket: WebSocket) -> None:
    await websocket.accept()
    peer = websocket.scope["extensions"]["tsnet"]
    await websocket.send_text(f"{peer.name}: {await websocket.receive_text()}")
    await websocket.close()


@pytest.mark.parametrize(("caller", "name"), [(LAPTOP, "laptop"), (RUNNER, "runner"), (STRANGER, None)])
async def test_the_app_knows_who_calls(tailnet: LoopbackTailnet, caller: str, name: str | None) -> None:
    forged = [("Tailscale-User-Login", "root@example.com"), ("tailscale_user_name", "root")]
    async with serving(tailnet, app):
        status, body = await get(tailnet, "/whoami", forged, of=caller)
    assert status == 200
    assert json.loads(body) == {"peer": name, "client": caller, "forged": []}


async def test_threads_know_it_too_and_between_requests_nobody_does(tailnet: LoopbackTailnet) -> None:
    async with serving(tailnet, app):
        assert await get(tailnet, "/thread", of=DESK) == (200, b'"bob@example.com"')
    assert current_peer() is None


@pytest.mark.parametrize(("caller", "status"), [(LAPTOP, 200), (DESK, 403), (RUNNER, 200), (STRANGER, 403)])
async def test_allow_keeps_others_out(tailnet: LoopbackTailnet, caller: str, status: int) -> None:
    async with serving(tailnet, app, allow=["ann@example.com", "tag:ci"]):
        got, body = await get(tailnet, "/whoami", of=caller)
    assert got == status
    if caller == DESK:
        assert body == b"403 Forbidden: this app does not admit desk (bob@example.com)\n"


async def test_one_connection_serves_several_requests(tailnet: LoopbackTailnet) -> None:
    async with serving(tailnet, app), client(tailnet) as connection:
        for _ in range(3):
            assert (await connection.get("/thread"))[0] == 200


async def test_a_body_streams_down(tailnet: LoopbackTailnet) -> None:
    async with serving(tailnet, app):
        status, body = await get(tailnet, "/count/1000")
    assert (status, len(body)) == (200, 1_000_000)


async def test_a_body_streams_up_and_down_at_once(tailnet: LoopbackTailnet) -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    async with serving(tailnet, only_http(echo)), client(tailnet) as connection:
        headers = [("Host", "shop"), ("Transfer-Encoding", "chunked")]
        await connection.send(h11.Request(method="POST", target="/echo", headers=headers))
        await connection.send(h11.Data(data=b"first"))
        assert isinstance(await connection.next(), h11.Response)
        assert (await connection.next()).data == b"first"
        await connection.send(h11.Data(data=b"second"), h11.EndOfMessage())
        assert (await connection.next()).data == b"second"


async def test_a_hundred_requests_at_once(tailnet: LoopbackTailnet) -> None:
    together = anyio.Event()
    waiting = 0

    async def wait_for_all(scope: Any, receive: Any, send: Any) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 100:
            together.set()
        await together.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    statuses: list[int] = []

    async def one() -> None:
        statuses.append((await get(tailnet, "/"))[0])

    async with serving(tailnet, only_http(wait_for_all)), anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(one)
    assert statuses == [200] * 100


async def test_a_client_that_goes_away_is_told_to_the_app(tailnet: LoopbackTailnet) -> None:
    gone = anyio.Event()
    started = anyio.Event()

    async def wait(scope: Any, receive: Any, send: Any) -> None:
        started.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    async with serving(tailnet, only_http(wait)):
        async with client(tailnet) as connection:
            request = h11.Request(method="GET", target="/", headers=[("Host", "shop")])
            await connection.send(request, h11.EndOfMessage())
            await started.wait()
        await gone.wait()


async def test_a_client_that_resets_amid_a_body_harms_nobody(tailnet: LoopbackTailnet) -> None:
    async with serving(tailnet, app):
        async with client(tailnet) as connection:
            request = h11.Request(method="GET", target="/count/100000", headers=[("Host", "shop")])
            await connection.send(request, h11.EndOfMessage())
            assert (await connection.next()).status_code == 200
            connection.stream.abort()
        assert (await get(tailnet, "/thread"))[0] == 200


async def test_an_app_that_fails_answers_500_and_goes_on(tailnet: LoopbackTailnet) -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    async with serving(tailnet, only_http(fail)):
        assert (await get(tailnet, "/"))[0] == 500
        assert (await get(tailnet, "/"))[0] == 500


async def test_lifespan_surrounds_the_service_and_its_state_reaches_requests(tailnet: LoopbackTailnet) -> None:
    log: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        log.append("startup")
        yield {"database": "open"}
        log.append("shutdown")

    stateful = FastAPI(lifespan=lifespan)

    @stateful.get("/")
    async def root(request: Request) -> str:
        log.append("request")
        return str(request.state.database)

    async with serving(tailnet, stateful):
        assert await get(tailnet, "/") == (200, b'"open"')
    assert log == ["startup", "request", "shutdown"]


async def test_a_startup_that_fails_is_an_error_not_a_service(tailnet: LoopbackTailnet) -> None:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        raise ZeroDivisionError
        yield

    server = AsgiServer(FastAPI(lifespan=lifespan), await tailnet.listen(80), tailnet)
    async with anyio.create_task_group() as tasks:
        with pytest.raises(RuntimeError, match="startup failed"):
            await tasks.start(server.run)
    assert tailnet.ports == {}


async def test_close_lets_a_request_finish(tailnet: LoopbackTailnet) -> None:
    started, finish = anyio.Event(), anyio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        started.set()
        await finish.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})

    answers: list[tuple[int, bytes]] = []

    async def ask() -> None:
        answers.append(await get(tailnet, "/"))

    async with anyio.create_task_group() as tasks, serving(tailnet, only_http(slow)) as server:
        tasks.start_soon(ask)
        await started.wait()
        server.close()
        await anyio.sleep(0.02)
        assert tailnet.ports == {}
        finish.set()
    assert answers == [(200, b"done")]


async def test_close_does_not_wait_for_ever(tailnet: LoopbackTailnet) -> None:
    started = anyio.Event()

    async def stuck(scope: Any, receive: Any, send: Any) -> None:
        started.set()
        await anyio.sleep(1000)

    async def ask() -> None:
        with contextlib.suppress(Exception):
            await get(tailnet, "/")

    async with anyio.create_task_group() as tasks, serving(tailnet, only_http(stuck), grace=0.05):
        tasks.start_soon(ask)
        await started.wait()


async def test_an_idle_connection_does_not_hold_up_the_close(tailnet: LoopbackTailnet) -> None:
    async with serving(tailnet, app, grace=100), client(tailnet) as connection:
        assert (await connection.get("/thread"))[0] == 200


async def test_a_websocket(tailnet: LoopbackTailnet, engine: str) -> None:
    async with serving(tailnet, app), client(tailnet) as connection:
        assert await websocket_says(connection.stream, "hello") == "laptop: hello"


async def test_a_websocket_is_refused_to_others(tailnet: LoopbackTailnet) -> None:
    async with serving(tailnet, app, allow="bob@example.com"), client(tailnet) as connection:
        assert await websocket_says(connection.stream, "hello") == 403


async def test_the_port_is_the_listeners(tailnet: LoopbackTailnet) -> None:
    async with serving(tailnet, app) as server:
        assert server.port == 80


async def test_without_an_engine_the_error_says_what_to_install(
    tailnet: LoopbackTailnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install"):
        asgi.choose_engine(app)


def only_http(app: Callable[..., Any]) -> Callable[..., Any]:
    async def http(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await app(scope, receive, send)

    return http


async def websocket_says(stream: ByteStream, message: str) -> str | int:
    """Say one thing over a WebSocket and return the answer; or the status that refuses it."""
    from wsproto import ConnectionType, WSConnection
    from wsproto.events import AcceptConnection, RejectConnection, Request, TextMessage

    ws = WSConnection(ConnectionType.CLIENT)
    await stream.send(ws.send(Request(host="shop", target="/ws")))
    while True:
        ws.receive_data(await stream.receive())
        for event in ws.events():
            if isinstance(event, AcceptConnection):
                await stream.send(ws.send(TextMessage(data=message)))
            elif isinstance(event, TextMessage):
                return str(event.data)
            elif isinstance(event, RejectConnection):
                return int(event.status_code)
