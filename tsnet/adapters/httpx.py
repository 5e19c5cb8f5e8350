"""httpx clients that reach tailnet names.

    AsyncTransport   httpx.AsyncBaseTransport ─> httpcore.AsyncConnectionPool ─> AsyncBackend ─> Dialer
    SyncTransport    httpx.BaseTransport      ─> httpcore.ConnectionPool      ─> SyncBackend  ─> BlockingDialer

Proxies of the environment are not used: the tailnet is the way. Private attributes of httpx are not touched.

Not here: connections (`httpcore`), other HTTP libraries.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from tsnet.adapters.httpcore import AsyncBackend, BlockingDialer, SyncBackend
from tsnet.protocols import Dialer

_LIMITS: dict[str, Any] = {"max_connections": 100, "max_keepalive_connections": 20, "keepalive_expiry": 5.0}


def httpx_client(
    dialer: Dialer, *, fallback: str | None = None, verify: ssl.SSLContext | bool = True, **options: Any
) -> httpx.AsyncClient:
    """A client over the tailnet. `options` are httpx.AsyncClient's, but `transport`, `proxy` and `mounts`.

    A name outside the tailnet raises `NotOnTailnet`; with fallback="host" it is asked for over the host's network.
    """
    return httpx.AsyncClient(transport=AsyncTransport(dialer, fallback=fallback, verify=verify), **options)


def sync_httpx_client(
    dialer: BlockingDialer, *, fallback: str | None = None, verify: ssl.SSLContext | bool = True, **options: Any
) -> httpx.Client:
    """The blocking twin of `httpx_client`."""
    return httpx.Client(transport=SyncTransport(dialer, fallback=fallback, verify=verify), **options)


class AsyncTransport(httpx.AsyncBaseTransport):
    def __init__(self, dialer: Dialer, *, fallback: str | None = None, verify: ssl.SSLContext | bool = True) -> None:
        backend = AsyncBackend(dialer, fallback=fallback)
        self._pool = httpcore.AsyncConnectionPool(ssl_context=_context(verify), network_backend=backend, **_LIMITS)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        with _as_httpx_errors(request):
            response = await self._pool.handle_async_request(_core_request(request))
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_AsyncBody(response, request),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class SyncTransport(httpx.BaseTransport):
    def __init__(
        self, dialer: BlockingDialer, *, fallback: str | None = None, verify: ssl.SSLContext | bool = True
    ) -> None:
        backend = SyncBackend(dialer, fallback=fallback)
        self._pool = httpcore.ConnectionPool(ssl_context=_context(verify), network_backend=backend, **_LIMITS)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with _as_httpx_errors(request):
            response = self._pool.handle_request(_core_request(request))
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_SyncBody(response, request),
            extensions=response.extensions,
        )

    def close(self) -> None:
        self._pool.close()


class _AsyncBody(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response, request: httpx.Request) -> None:
        self._response, self._request = response, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx_errors(self._request):
            async for part in self._response.aiter_stream():
                yield part

    async def aclose(self) -> None:
        await self._response.aclose()


class _SyncBody(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response, request: httpx.Request) -> None:
        self._response, self._request = response, request

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx_errors(self._request):
            yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


def _core_request(request: httpx.Request) -> httpcore.Request:
    url = request.url
    return httpcore.Request(
        method=request.method,
        url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


def _context(verify: ssl.SSLContext | bool) -> ssl.SSLContext | None:
    """None lets httpcore make the default one when the first https URL comes: that costs 30 ms."""
    return None if verify is True else httpx.create_ssl_context(verify)


@contextmanager
def _as_httpx_errors(request: httpx.Request) -> Iterator[None]:
    """httpcore's exceptions as httpx's of the same name."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("httpcore"):
            raise
        named = getattr(httpx, type(error).__name__, httpx.TransportError)
        raise named(str(error), request=request) from error
