"""httpx clients that reach tailnet names.

    AsyncTransport   httpx.AsyncBaseTransport ─> httpcore.AsyncConnectionPool ─> AsyncBackend ─> Dialer
    SyncTransport    httpx.BaseTransport      ─> httpcore.ConnectionPool      ─> SyncBackend  ─> BlockingDialer

Proxies of the environment are not used: the tailnet is the way. Private attributes of httpx are not touched.

Not here: connections (`httpcore`), which options are whose (`httpx_options`), other HTTP libraries.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from tsnet.adapters.httpcore import AsyncBackend, BlockingDialer, SyncBackend
from tsnet.adapters.httpx_options import LIMITS, Cert, check_known, for_pool, split
from tsnet.protocols import Dialer


def httpx_client(
    dialer: Dialer, *, fallback: str | None = None, verify: ssl.SSLContext | str | bool = True, **options: Any
) -> httpx.AsyncClient:
    """A client over the tailnet. `options` are httpx.AsyncClient's, but `transport` and `proxy`; and `retries`.

    A name outside the tailnet raises `NotOnTailnet`; with fallback="host" it is asked for over the host's network.
    Raises ConfigError for an option that has no meaning on a tailnet, TypeError for one that httpx does not know.
    """
    ours, theirs = split(options)
    return httpx.AsyncClient(transport=AsyncTransport(dialer, fallback=fallback, verify=verify, **ours), **theirs)


def sync_httpx_client(
    dialer: BlockingDialer, *, fallback: str | None = None, verify: ssl.SSLContext | str | bool = True, **options: Any
) -> httpx.Client:
    """The blocking twin of `httpx_client`."""
    ours, theirs = split(options)
    return httpx.Client(transport=SyncTransport(dialer, fallback=fallback, verify=verify, **ours), **theirs)


class AsyncTransport(httpx.AsyncBaseTransport):
    """The tailnet as httpx's transport. Options are those of httpx.AsyncHTTPTransport that mean something here.

    refused: the others. Raises ConfigError for them, and TypeError for those that httpx does not know.
    """

    def __init__(
        self,
        dialer: Dialer,
        *,
        fallback: str | None = None,
        verify: ssl.SSLContext | str | bool = True,
        cert: Cert = None,
        trust_env: bool = True,
        http1: bool = True,
        http2: bool = False,
        limits: httpx.Limits = LIMITS,
        retries: int = 0,
        **refused: Any,
    ) -> None:
        check_known(refused)
        self._pool = httpcore.AsyncConnectionPool(
            network_backend=AsyncBackend(dialer, fallback=fallback),
            **for_pool(
                verify=verify,
                cert=cert,
                trust_env=trust_env,
                limits=limits,
                retries=retries,
                http1=http1,
                http2=http2,
            ),
        )

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
    """The blocking twin of `AsyncTransport`."""

    def __init__(
        self,
        dialer: BlockingDialer,
        *,
        fallback: str | None = None,
        verify: ssl.SSLContext | str | bool = True,
        cert: Cert = None,
        trust_env: bool = True,
        http1: bool = True,
        http2: bool = False,
        limits: httpx.Limits = LIMITS,
        retries: int = 0,
        **refused: Any,
    ) -> None:
        check_known(refused)
        self._pool = httpcore.ConnectionPool(
            network_backend=SyncBackend(dialer, fallback=fallback),
            **for_pool(
                verify=verify,
                cert=cert,
                trust_env=trust_env,
                limits=limits,
                retries=retries,
                http1=http1,
                http2=http2,
            ),
        )

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
