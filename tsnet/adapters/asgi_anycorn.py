"""anycorn's connection server over tailnet streams: the way to serve ASGI under trio.

    stream ─> TCPServer ─> app

anycorn wants a socket to ask for addresses; it gets something that knows only these. Its listeners, workers and
signal handling are left out.

Not here: who calls (`asgi.IdentityMiddleware`).
"""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import anyio
import anyio.abc
from anycorn.config import Config
from anycorn.events import Event, Updated
from anycorn.lifespan import Lifespan
from anycorn.tcp_server import TCPServer
from anycorn.utils import wrap_app
from anycorn.worker_context import WorkerContext
from anyio.abc import SocketAttribute

from tsnet.adapters.web_limits import KEEP_ALIVE_TIMEOUT
from tsnet.edge.io.log import log
from tsnet.protocols import Address, ByteStream, family_of


class AnycornEngine:
    def __init__(self, app: Any, keep_alive: float = KEEP_ALIVE_TIMEOUT) -> None:
        self._config = Config()
        self._config.keep_alive_timeout = keep_alive
        self._config.errorlog = logging.getLogger("anycorn.error")
        self._config.include_server_header = False
        self._context = WorkerContext(None)
        self._app = wrap_app(app, self._config.wsgi_max_body_size, "asgi")
        self._state: dict[str, Any] = {}
        self._connections: anyio.abc.TaskGroup | None = None

    @asynccontextmanager
    async def running(self, grace: float) -> AsyncIterator[None]:
        lifespan = _Lifespan(self._app, self._config, self._state)
        async with anyio.create_task_group() as tasks:
            await tasks.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            if not lifespan.startup_failed:
                async with self._serving(grace):
                    yield
                with anyio.move_on_after(grace, shield=True):
                    await lifespan.wait_for_shutdown()
            tasks.cancel_scope.cancel()
        if lifespan.startup_failed:
            raise RuntimeError("the app's lifespan startup failed; the log of anycorn.error says why")

    @asynccontextmanager
    async def _serving(self, grace: float) -> AsyncIterator[None]:
        async with anyio.create_task_group() as self._connections:
            try:
                yield
            finally:
                await self._end_connections(grace)

    def serve(self, stream: ByteStream, on_end: Callable[[], None]) -> Callable[[], object]:
        assert self._connections is not None
        socketed = _Socketed(stream)
        server = _Connection(self._app, self._config, self._context, self._state.copy(), socketed)
        socketed.on_data = server.data_came
        self._connections.start_soon(_run_alone, server, stream, on_end)
        return partial(self._connections.start_soon, stream.aclose)

    async def _end_connections(self, grace: float) -> None:
        """Idle connections end at once, busy ones after their answer, or with the grace."""
        assert self._connections is not None
        with anyio.CancelScope(shield=True):
            await self._context.terminated.set()
        self._connections.cancel_scope.deadline = anyio.current_time() + grace


async def _run_alone(server: _Connection, stream: ByteStream, on_end: Callable[[], None]) -> None:
    """Whatever one connection meets with, the others go on."""
    try:
        await server.run()
    except Exception:
        log.exception("a connection could not be served; the others go on")
        stream.abort()
    finally:
        on_end()


class _Lifespan(Lifespan):  # type: ignore[misc]
    """A startup or shutdown that fails is noted, not thrown into the task group. An app may return from its lifespan at
    once: it has none.
    """

    startup_failed = False

    async def wait_for_startup(self) -> None:
        with suppress(anyio.ClosedResourceError):
            await super().wait_for_startup()

    async def wait_for_shutdown(self) -> None:
        with suppress(anyio.ClosedResourceError):
            await super().wait_for_shutdown()

    async def asgi_send(self, message: Any) -> None:
        stage, _, outcome = message["type"].removeprefix("lifespan.").partition(".")
        if outcome != "failed":
            await super().asgi_send(message)
            return
        self.startup_failed = stage == "startup"
        await self.config.log.error("lifespan %s failed: %s", stage, message.get("message", ""))
        (self.startup if stage == "startup" else self.shutdown).set()


class _Connection(TCPServer):  # type: ignore[misc]
    """anycorn would hand the kernel a file and this connection's descriptor, which there is not. It would keep the task
    of a connection that has ended until its keep-alive time has passed. And it would give the first request, and the
    header of each, no more than that time; how long they may take is for `HeaderTimeouts` to say.
    """

    _is_between_requests = False

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated):
            self._is_between_requests = event.idle
        await super().protocol_send(event)

    async def data_came(self) -> None:
        if self._is_between_requests:
            self._is_between_requests = False
            await self.idle_task.restart(self._task_group, self._idle_timeout)

    async def _idle_timeout(self) -> None:
        limit = self.config.keep_alive_timeout if self._is_between_requests else math.inf
        with anyio.move_on_after(limit):
            await self.context.terminated.wait()
        with anyio.CancelScope(shield=True):
            await self._initiate_server_close()

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()

    @property
    def _sendfile_socket(self) -> None:
        return None

    @_sendfile_socket.setter
    def _sendfile_socket(self, sock: Any) -> None:
        """Whatever it found is none."""


class _Socketed(anyio.abc.ByteStream):
    """A stream with the attribute that anycorn asks for its addresses. on_data: is awaited when bytes have come."""

    def __init__(self, stream: ByteStream) -> None:
        self.on_data: Callable[[], Awaitable[None]] | None = None
        self._stream = stream

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        data = await self._stream.receive(max_bytes)
        if self.on_data is not None:
            await self.on_data()
        return data

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        names = _Names(self._stream.local_address, self._stream.remote_address)
        return {**self._stream.extra_attributes, SocketAttribute.raw_socket: lambda: names}


class _Names:
    def __init__(self, local: Address, remote: Address) -> None:
        self._local, self._remote = local, remote

    @property
    def family(self) -> socket.AddressFamily:
        return family_of(self._local)

    def getsockname(self) -> Address:
        return self._local

    def getpeername(self) -> Address:
        return self._remote
