"""How a service of a node ends: who hears of it, that it stands alone, and that it leaves nothing behind."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from waitress import wasyncore

import tsnet
import tsnet.events
from tests.guests import guest_of
from tests.waits import until
from tsnet.adapters import forward
from tsnet.adapters.local import LocalListener
from tsnet.adapters.services import Served
from tsnet.events import ServiceEnded
from tsnet.testing import Tailnet

KINDS = ["serve_wsgi", "serve_asgi", "forward_local", "forward_remote"]
BROKEN = 99
LOOPS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"wsgi"]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"asgi"})


@pytest.fixture
def shop(tailnet: Tailnet) -> Iterator[tsnet.Server]:
    with tsnet.Server("shop", **guest_of(tailnet)) as node:
        yield node


@asynccontextmanager
async def async_shop(tailnet: Tailnet) -> AsyncIterator[tsnet.AsyncServer]:
    async with tsnet.AsyncServer("shop", **guest_of(tailnet)) as node:
        yield node


def begin(node: Any, kind: str, port: int = 0) -> Any:
    """The handle of a new service of that kind; of an AsyncServer, what is to be awaited for it."""
    match kind:
        case "serve_wsgi":
            return node.serve_wsgi(wsgi, port, block=False)
        case "serve_asgi":
            return node.serve_asgi(asgi, port, block=False)
        case "forward_local":
            return node.forward_local("shop", 80)
        case _:
            return node.forward_remote(port, 1)


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let services of that kind die of a fault as soon as they have begun; those with a port of the node, on one."""

    accept = tsnet.Listener.accept

    async def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    async def broken_on_a_port(listener: tsnet.Listener) -> tsnet.Stream:
        if listener.port == BROKEN:
            raise ZeroDivisionError("a bug")
        return await accept(listener)

    def broken_loop(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    def arm(kind: str) -> None:
        match kind:
            case "serve_wsgi":
                monkeypatch.setattr(wasyncore, "loop", broken_loop)
            case "forward_local":
                monkeypatch.setattr(LocalListener, "accept", broken)
            case _:
                monkeypatch.setattr(tsnet.Listener, "accept", broken_on_a_port)

    return arm


async def next_end(events: tsnet.events.AsyncEvents) -> ServiceEnded:
    while True:
        event = await anext(events)
        if isinstance(event, ServiceEnded):
            return event


def is_free(node: tsnet.Server, port: int) -> bool:
    try:
        node.listen(port).close()
    except tsnet.AddressInUse:
        return False
    return True


def tracebacks(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.exc_info]


# --- by an error of its own -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_that_dies_is_logged_once_told_and_raised(
    kind: str, shop: tsnet.Server, breaking: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    events = shop.events()
    breaking(kind)
    handle = begin(shop, kind, BROKEN)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        handle.wait(10)
    assert handle.ended
    ended = next(event for event in events if isinstance(event, ServiceEnded))
    assert (ended.service, ended.port, ended.address) == (kind, handle.port, handle.address)
    assert isinstance(ended.error, ZeroDivisionError)
    [record] = tracebacks(caplog)
    assert f"{handle.address}: no longer served" in record.getMessage()


@LOOPS
@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_the_same_of_the_asynchronous_server(
    kind: str, tailnet: Tailnet, breaking: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    async with async_shop(tailnet) as shop:
        async with shop.events() as events:
            breaking(kind)
            handle = await begin(shop, kind, BROKEN)
            with pytest.raises(ZeroDivisionError, match="a bug"):
                await handle.wait()
            ended = await next_end(events)
        assert (ended.service, ended.port, ended.address) == (kind, handle.port, handle.address)
        assert isinstance(ended.error, ZeroDivisionError)
        assert len(tracebacks(caplog)) == 1


@pytest.mark.parametrize("kind", ["serve_wsgi", "serve_asgi"])
def test_a_caller_who_waits_gets_the_error_and_the_log_does_not_repeat_it(
    kind: str, shop: tsnet.Server, breaking: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    breaking(kind)
    with pytest.raises(ZeroDivisionError):
        getattr(shop, kind)(wsgi if kind == "serve_wsgi" else asgi, BROKEN)
    assert not tracebacks(caplog)


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_dies_leaves_the_others_alone_and_others_can_begin(
    kind: str, shop: tsnet.Server, breaking: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [begin(shop, other) for other in KINDS if other != kind]
    breaking(kind)
    with pytest.raises(ZeroDivisionError):
        begin(shop, kind, BROKEN).wait(10)
    monkeypatch.undo()
    others += [begin(shop, other) for other in KINDS]
    assert not any(handle.ended for handle in others)
    shop.close()
    assert all(handle.ended for handle in others)


# --- in order ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("closes", "why"), [("handle", "it was closed"), ("node", "the node was closed")])
def test_an_end_in_order_is_told_without_a_traceback(
    kind: str, closes: str, why: str, shop: tsnet.Server, caplog: pytest.LogCaptureFixture
) -> None:
    events = shop.events()
    handle = begin(shop, kind)
    with caplog.at_level(logging.INFO, "tsnet"):
        (handle if closes == "handle" else shop).close()
    assert handle.wait(10)
    assert f"{handle.address}: no longer served: {why}" in caplog.messages
    assert not tracebacks(caplog)
    ended = next(event for event in events if isinstance(event, ServiceEnded))
    assert (ended.service, ended.error) == (kind, None)


@LOOPS
@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_the_asynchronous_server_tells_an_end_in_order_too(
    kind: str, tailnet: Tailnet, caplog: pytest.LogCaptureFixture
) -> None:
    async with async_shop(tailnet) as shop:
        async with shop.events() as events:
            handle = await begin(shop, kind)
            await handle.aclose()
            ended = await next_end(events)
            assert (ended.service, ended.error) == (kind, None)
        handle = await begin(shop, kind)
        with caplog.at_level(logging.INFO, "tsnet"):
            await shop.close()
        await handle.wait()
    assert f"{handle.address}: no longer served: the node was closed" in caplog.messages
    assert not tracebacks(caplog)


@pytest.mark.parametrize("kind", ["serve_wsgi", "serve_asgi", "forward_remote"])
def test_a_service_whose_node_fails_raises_the_nodes_error(
    kind: str, shop: tsnet.Server, caplog: pytest.LogCaptureFixture
) -> None:
    handle = begin(shop, kind)
    pump = shop._handle.pump

    def fail() -> None:
        raise ValueError("a bug")

    pump.turn = fail  # type: ignore[method-assign]
    shop._handle.host.call(pump.mark)
    with pytest.raises(tsnet.NotUp, match="internal error"):
        handle.wait(10)
    until(lambda: len(tracebacks(caplog)) == 1)  # the node's own
    assert any(f"{handle.address}: no longer served" in message for message in caplog.messages)


@LOOPS
@pytest.mark.anyio
async def test_a_listener_that_serves_says_that_its_node_has_failed(
    tailnet: Tailnet, caplog: pytest.LogCaptureFixture
) -> None:
    async with async_shop(tailnet) as shop:
        listener = await shop.listen(7)
        shop._handle.host.call(lambda: shop._handle.crashed(ValueError("a bug")))
        await listener.serve(lambda _: checkpoint())
        with pytest.raises(tsnet.NotUp, match="internal error"):
            await listener.accept()
    [message] = [message for message in caplog.messages if message.startswith("port 7: ")]
    assert message == "port 7: no more connections are accepted: the node has failed"


@LOOPS
@pytest.mark.anyio
async def test_a_handler_that_raises_ends_its_own_connection(
    tailnet: Tailnet, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(stream: Any) -> None:
        if await stream.receive() == b"bad":
            raise ZeroDivisionError
        await stream.send(b"good")

    async with (
        async_shop(tailnet) as shop,
        await shop.listen(7) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, handler)
        async with await shop.dial("shop", 7) as one, await shop.dial("shop", 7) as other:
            await one.send(b"bad")
            with pytest.raises(anyio.BrokenResourceError):
                await one.receive()
            await other.send(b"fine")
            assert await other.receive() == b"good"
        tasks.cancel_scope.cancel()
    assert len(tracebacks(caplog)) == 1


def test_a_connection_that_meets_with_a_fault_ends_alone(
    shop: tsnet.Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(forward, "_copy", broken)
    with shop.listen(80), begin(shop, "forward_local") as handle:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", handle.port)) as sock:
                until(lambda: bool(tracebacks(caplog)))
                sock.close()
        assert not handle.ended


# --- nothing is left --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_that_has_ended_is_forgotten(kind: str, shop: tsnet.Server) -> None:
    ended = []
    for _ in range(3):
        with begin(shop, kind) as handle:
            ended.append(weakref.ref(handle))
        del handle
    gc.collect()
    until(lambda: not any(reference() for reference in ended))
    assert not shop._servings


def test_a_service_that_cannot_begin_leaves_nothing(shop: tsnet.Server) -> None:
    before = threading.active_count()
    for _ in range(2):
        with pytest.raises(tsnet.ConfigError):
            shop.serve_wsgi(wsgi, 80, allow=[1], block=False)  # type: ignore[list-item]
        with pytest.raises(tsnet.ConfigError):
            shop.serve_asgi(asgi, 80, allow=[1], block=False)  # type: ignore[list-item]
    shop.listen(80).close()
    assert not shop._servings
    until(lambda: threading.active_count() <= before)


@LOOPS
@pytest.mark.anyio
async def test_an_asynchronous_service_that_cannot_begin_leaves_nothing(tailnet: Tailnet) -> None:
    never = anyio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await never.wait()

    async with async_shop(tailnet) as shop:
        for kind, app in (("serve_wsgi", wsgi), ("serve_asgi", asgi)):
            with pytest.raises(tsnet.ConfigError):
                await getattr(shop, kind)(app, 80, allow=[1], block=False)
        with anyio.move_on_after(0.05):
            await shop.serve_asgi(slow, 80, block=False)
        with anyio.fail_after(5):
            while shop._servings:
                await checkpoint()
        await (await shop.listen(80)).aclose()


def test_a_service_that_begins_while_the_node_closes_ends_at_once(shop: tsnet.Server) -> None:
    list(shop._servings.taken(0))  # `close` has come as far as this
    handle = begin(shop, "forward_local")
    assert handle.wait(10)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", handle.port))


def test_an_interrupted_start_leaves_nothing(shop: tsnet.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    init = Served.__init__

    def interrupted(*arguments: Any, **options: Any) -> None:
        init(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Served, "__init__", interrupted)
    for kind in KINDS:
        with pytest.raises(KeyboardInterrupt):
            begin(shop, kind, 80)
        until(lambda: is_free(shop, 80))
    assert not shop._servings
