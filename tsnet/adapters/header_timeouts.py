"""ASGI connections that do not send the header of a request in time are closed, whichever server speaks HTTP on them.

    a connection begins            its first header must be there within header_timeout
    the app is called with it      no limit, for as long as a request of its is under way
    the app has returned           the next header within keep_alive_timeout + header_timeout; the servers themselves
                                   close one that is idle for keep_alive_timeout

The servers know a time without a byte at most, and a caller that sends one byte a second would keep a connection.

Not here: the header's length (the servers), how many connections there may be (the listener).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from tsnet.adapters.web_limits import WebLimits
from tsnet.protocols import Address, ByteStream

LEAST_PAUSE, LONGEST_PAUSE = 0.02, 3600.0
FAREWELL = 5.0
"""Seconds that a connection gets to end in order, before it is reset."""


class HeaderTimeouts:
    """The app, called in between, and the connections to it. All belongs to one event loop."""

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]], limits: WebLimits) -> None:
        self._app = app
        self._for_first, self._for_next = limits.for_header, limits.for_keep_alive + limits.for_header
        self._connections: dict[Address, _Connection] = {}
        self._news = anyio.Event()

    def began(self, stream: ByteStream, close: Callable[[], object]) -> None:
        """A connection has begun. close: ends it in order."""
        self._connections[stream.remote_address] = _Connection(stream, close, anyio.current_time() + self._for_first)
        self._news.set()

    def ended(self, stream: ByteStream) -> None:
        connection = self._connections.get(stream.remote_address)
        if connection is not None and connection.stream is stream:
            del self._connections[stream.remote_address]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        client = scope.get("client")
        connection = self._connections.get((client[0], client[1])) if client else None
        if connection is None:
            await self._app(scope, receive, send)
            return
        connection.requests += 1
        connection.due = math.inf
        try:
            await self._app(scope, receive, send)
        finally:
            connection.requests -= 1
            if not connection.requests:
                connection.due = anyio.current_time() + self._for_next

    async def watch(self) -> None:
        """Close those that are late, until cancelled. Sleeps while there are none."""
        while True:
            if not self._connections:
                self._news = anyio.Event()
                await self._news.wait()
            now = anyio.current_time()
            for connection in tuple(self._connections.values()):
                if connection.due <= now:
                    connection.end(now)
            # a connection that begins, or whose request ends, after this look has at least this long
            next_look = min([now + self._for_first, *(each.due for each in self._connections.values())])
            await anyio.sleep(max(LEAST_PAUSE, min(next_look - now, LONGEST_PAUSE)))


class _Connection:
    __slots__ = ("_close", "_was_closed", "due", "requests", "stream")

    def __init__(self, stream: ByteStream, close: Callable[[], object], due: float) -> None:
        self.stream, self.due = stream, due
        self.requests = 0
        self._close = close
        self._was_closed = False

    def end(self, now: float) -> None:
        """What was sent is still delivered; a peer that does not take it is reset."""
        if self._was_closed:
            self.stream.abort()
            self.due = math.inf
        else:
            self._was_closed = True
            self._close()
            self.due = now + FAREWELL
