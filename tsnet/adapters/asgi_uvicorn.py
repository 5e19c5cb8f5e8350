"""uvicorn's HTTP and WebSocket protocol classes over tailnet streams, on asyncio (and uvloop).

    stream ─> StreamTransport ─> H11Protocol or HttpToolsProtocol ─> app

uvicorn's `Server` is left out: it wants sockets, signals and a task that wakes ten times a second. What its protocol
classes ask of it (`Config`, `ServerState`, `LifespanOn`) is public in all but name, and held by a contract test.

Not here: who calls (`asgi.IdentityMiddleware`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import anyio
import uvicorn
from uvicorn.server import ServerState

from tsnet.adapters.transports import StreamTransport
from tsnet.adapters.web_limits import KEEP_ALIVE_TIMEOUT
from tsnet.protocols import ByteStream


class UvicornEngine:
    def __init__(self, app: Any, keep_alive: float = KEEP_ALIVE_TIMEOUT) -> None:
        self._config = uvicorn.Config(
            app,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=keep_alive,  # type: ignore[arg-type]  # it goes to `call_later`
        )
        self._config.load()
        self._lifespan: Any = self._config.lifespan_class(self._config)
        self._state = _State()
        self._transports: set[StreamTransport] = set()
        self._idle = asyncio.Event()

    @asynccontextmanager
    async def running(self, grace: float) -> AsyncIterator[None]:
        try:
            await self._lifespan.startup()
        except BaseException:  # cancelled: what the app has begun it ends as well
            await self._end_lifespan(grace)
            raise
        if self._lifespan.should_exit:
            raise RuntimeError("the app's lifespan startup failed; the log of uvicorn.error says why")
        try:
            yield
        finally:
            try:
                with anyio.CancelScope(shield=True):
                    await self._end_connections(grace)
            finally:  # `asyncio.Task.cancel` does not heed the shield
                await self._end_lifespan(grace)

    async def _end_lifespan(self, grace: float) -> None:
        with anyio.move_on_after(grace, shield=True):
            await self._lifespan.shutdown()

    def serve(self, stream: ByteStream, on_end: Callable[[], None]) -> Callable[[], object]:
        def lost(transport: StreamTransport) -> None:
            self._transports.discard(transport)
            if not self._transports:
                self._idle.set()
            on_end()

        protocol: Any = self._config.http_protocol_class
        transport = StreamTransport(
            stream,
            protocol(config=self._config, server_state=self._state, app_state=self._lifespan.state),
            on_lost=lost,
        )
        self._idle.clear()
        self._transports.add(transport)
        return transport.close

    async def _end_connections(self, grace: float) -> None:
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._transports:
            with anyio.move_on_after(grace):
                await self._idle.wait()
        for transport in list(self._transports):
            transport.abort()
        await asyncio.sleep(0)  # connection_lost, which tells the apps
        tasks = [task for task in self._state.tasks if not task.done()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


class _State(ServerState):
    """uvicorn's server renews the Date header once a second; here each response asks for it."""

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"date", formatdate(usegmt=True).encode())]

    @default_headers.setter
    def default_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """The base class starts with none."""
