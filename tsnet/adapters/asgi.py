"""ASGI apps on tailnet streams, with lifespan, streaming bodies, WebSockets and the caller's identity.

    Listener.accept ─> uvicorn's protocol classes over StreamTransport     (asyncio)
                    ─> anycorn's TCPServer over the stream                 (trio, or asyncio without uvicorn)
                    ─> IdentityMiddleware ─> app

There is no descriptor, no loopback bridge and no signal handler. `scope["client"]` is the caller's tailnet address.
`scope["extensions"]["tsnet"]` and `current_peer()` are its `Peer` (None if no node owns the address).

Source: the ASGI specification 3.0.
Not here: the two engines (`asgi_uvicorn`, `asgi_anycorn`), WSGI (`wsgi`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import anyio
import anyio.abc

from tsnet.adapters.header_timeouts import HeaderTimeouts
from tsnet.adapters.identity import Allow, admission, check_app, peer_of_request, refusal, strip_headers
from tsnet.adapters.web_limits import WebLimits
from tsnet.edge.io.log import log
from tsnet.edge.pipes.operations import in_trio
from tsnet.errors import ConfigError, Error
from tsnet.netmap.whois import Peer
from tsnet.protocols import ByteStream, StreamListener, Whois

GRACE = 2.0
"""Seconds that requests under way get when the server closes."""

LONGEST_KEEP_ALIVE = 86_400.0 * 365
"""No limit, for an event loop that wants a number."""


Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class AsgiEngine(Protocol):
    """The protocol part of an HTTP server. `running` covers the app's lifespan, and ends connections in order."""

    def running(self, grace: float) -> AbstractAsyncContextManager[None]: ...

    def serve(self, stream: ByteStream, on_end: Callable[[], None]) -> Callable[[], object]:
        """Serve one connection in the background. Returns at once, with a function that ends it in order.

        on_end: is called when nothing of it is left.
        """
        ...


class AsgiServer:
    """One app on one listener. `run` serves until `close`. Both belong to the same event loop."""

    def __init__(
        self,
        app: App,
        listener: StreamListener[ByteStream],
        whois: Whois,
        *,
        allow: Allow = None,
        grace: float = GRACE,
        limits: WebLimits | None = None,
    ) -> None:
        self.port: int = listener.port
        self._limits = limits or WebLimits()
        self._timeouts = HeaderTimeouts(IdentityMiddleware(app, whois, allow=allow), self._limits)
        self._listener, self._grace = listener, grace
        self._closing = anyio.Event()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until `close`. `task_status` is told when the app's startup is over and connections are accepted."""
        async with self._listener:
            engine = choose_engine(self._timeouts, self._limits)
            async with engine.running(self._grace), anyio.create_task_group() as tasks:
                tasks.start_soon(self._accept, engine)
                tasks.start_soon(self._timeouts.watch)
                task_status.started()
                await self._closing.wait()
                await self._listener.aclose()
                tasks.cancel_scope.cancel()

    async def _accept(self, engine: AsgiEngine) -> None:
        while True:
            try:
                stream = await self._listener.accept()
            except (anyio.ClosedResourceError, Error):  # the listener was closed, by us or with the node
                self.close()
                return
            try:
                self._serve(engine, stream)
            except Exception:
                log.exception("a connection to port %s could not be served; the others go on", self.port)
                stream.abort()

    def _serve(self, engine: AsgiEngine, stream: ByteStream) -> None:
        close = engine.serve(stream, lambda: self._timeouts.ended(stream))
        self._timeouts.began(stream, close)

    def close(self) -> None:
        """Accept no more, let requests under way finish within the grace, and run the app's shutdown."""
        self._closing.set()


class IdentityMiddleware:
    """Tells the app who calls, and refuses callers that `allow` does not admit."""

    def __init__(self, app: App, whois: Whois, *, allow: Allow = None) -> None:
        self._app, self._whois = app, whois
        check_app(app)
        self._admits = admission(allow)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        peer = self._whois.whois(client[0]) if client else None
        if not self._admits(peer):
            await _refuse(scope, send, peer)
            return
        known = {
            **scope,
            "headers": strip_headers(scope["headers"]),
            "extensions": {**(scope.get("extensions") or {}), "tsnet": peer},
        }
        token = peer_of_request.set(peer)
        try:
            await self._app(known, receive, send)
        finally:
            peer_of_request.reset(token)


async def _refuse(scope: Scope, send: Send, peer: Peer | None) -> None:
    if scope["type"] == "websocket":  # closed before it was accepted: servers answer 403
        await send({"type": "websocket.close", "code": 1008})
        return
    body = refusal(peer).encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def choose_engine(app: App, limits: WebLimits | None = None) -> AsgiEngine:
    """uvicorn's engine if asyncio runs and uvicorn is installed, else anycorn's. Raises ConfigError without either."""
    keep_alive = min((limits or WebLimits()).for_keep_alive, LONGEST_KEEP_ALIVE)
    if _runs_asyncio() and importlib.util.find_spec("uvicorn") is not None:
        from tsnet.adapters.asgi_uvicorn import UvicornEngine

        return UvicornEngine(app, keep_alive)
    if importlib.util.find_spec("anycorn") is not None:
        from tsnet.adapters.asgi_anycorn import AnycornEngine

        return AnycornEngine(app, keep_alive)
    extra = "asgi" if _runs_asyncio() else "trio"
    raise ConfigError(f"serving ASGI needs an HTTP server's protocol: pip install 'tsnet-py[{extra}]'")


def _runs_asyncio() -> bool:
    return not in_trio()
