"""httpcore's network backends over the tailnet: where an HTTP client's connections come from.

    AsyncBackend   Dialer -> ByteStream (asyncio and trio), TLS by anyio over it
    SyncBackend    BlockingDialer -> a real socket, TLS by ssl over it

A name that no node has raises `NotOnTailnet` through every layer; with `fallback="host"` it is dialed over the host's
own network. Every other failure is httpcore's ConnectError or ConnectTimeout, with ours as its cause.

Not here: the client on top (`httpx`).
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Protocol

import anyio
import anyio.abc
import httpcore
from anyio.streams.tls import TLSAttribute, TLSStream

from tsnet.base.wording import Wording, api
from tsnet.errors import ConfigError, Error, NotOnTailnet
from tsnet.protocols import ByteStream, Dialer

FALLBACKS = (None, "host")
NO_SOCKET = "a connection of the tailnet has no socket of the host"


class LateContext:
    """Stands for a context that is made when the first https URL comes: the default one takes 30 ms.

    A pool only sets its protocols, and hands it to `start_tls`, which is ours.
    """

    def __init__(self, make: Callable[[], ssl.SSLContext]) -> None:
        self._make = make

    @cached_property
    def context(self) -> ssl.SSLContext:
        return self._make()

    def set_alpn_protocols(self, protocols: list[str]) -> None:
        self.context.set_alpn_protocols(protocols)


class BlockingDialer(Protocol):
    def dial(self, host: str, port: int, *, timeout: float | None = 30) -> socket.socket:
        """Connect. Raises as `Dialer.dial` does."""
        ...


def check_fallback(fallback: str | None) -> bool:
    """Whether names outside the tailnet go over the host's network."""
    if fallback not in FALLBACKS:
        raise ConfigError(Wording(api("fallback="), f' is None or "host", not {fallback!r}'))
    return fallback == "host"


def check_host_options(local_address: str | None, socket_options: Iterable[Any] | None) -> None:
    """Raise ConfigError for options of the host's sockets, which a connection of the tailnet has not."""
    for name, value in (("local_address", local_address), ("socket_options", socket_options)):
        if value is not None:
            raise ConfigError(Wording(api(f"{name}="), f" cannot be honoured: {NO_SOCKET}"))


class AsyncBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, dialer: Dialer, *, fallback: str | None = None) -> None:
        self._dialer, self._falls_back = dialer, check_fallback(fallback)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncStream:
        check_host_options(local_address, socket_options)
        with _errors(httpcore.ConnectTimeout, httpcore.ConnectError):
            try:
                stream = await self._dialer.dial(host, port, timeout=timeout)
            except NotOnTailnet:
                if not self._falls_back:
                    raise
                with anyio.fail_after(timeout):
                    return AsyncStream(await anyio.connect_tcp(host, port))
            return AsyncStream(stream, stream)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> AsyncStream:
        raise httpcore.UnsupportedProtocol("a tailnet has no Unix sockets")

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class AsyncStream(httpcore.AsyncNetworkStream):
    """`dialed` is the tailnet stream at the bottom, None where the host's network is."""

    def __init__(self, stream: anyio.abc.ByteStream, dialed: ByteStream | None = None) -> None:
        self._stream, self._dialed = stream, dialed

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _errors(httpcore.ReadTimeout, httpcore.ReadError), anyio.fail_after(timeout):
            try:
                return await self._stream.receive(max_bytes)
            except anyio.EndOfStream:
                return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer:
            with _errors(httpcore.WriteTimeout, httpcore.WriteError), anyio.fail_after(timeout):
                await self._stream.send(buffer)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> AsyncStream:
        with _errors(httpcore.ConnectTimeout, httpcore.ConnectError):
            try:
                with anyio.fail_after(timeout):
                    wrapped = await TLSStream.wrap(
                        self._stream,
                        hostname=server_hostname,
                        ssl_context=_made(ssl_context),
                        standard_compatible=False,
                    )
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self.aclose()
                raise
        return AsyncStream(wrapped, self._dialed)

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "ssl_object":
                return self._stream.extra(TLSAttribute.ssl_object, None)
            case "client_addr":
                return self._stream.extra(anyio.abc.SocketAttribute.local_address, None)
            case "server_addr":
                return self._stream.extra(anyio.abc.SocketAttribute.remote_address, None)
            case "is_readable":
                return self._readable()
        return None

    def _readable(self) -> bool:
        """On an idle connection: the server has closed it."""
        if self._dialed is not None:
            return self._dialed.readable
        raw = self._stream.extra(anyio.abc.SocketAttribute.raw_socket, None)
        return raw is None or _is_readable(raw)


class SyncBackend(httpcore.NetworkBackend):
    def __init__(self, dialer: BlockingDialer, *, fallback: str | None = None) -> None:
        self._dialer, self._falls_back = dialer, check_fallback(fallback)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> SyncStream:
        check_host_options(local_address, socket_options)
        with _errors(httpcore.ConnectTimeout, httpcore.ConnectError):
            try:
                return SyncStream(self._dialer.dial(host, port, timeout=timeout))
            except NotOnTailnet:
                if not self._falls_back:
                    raise
                return SyncStream(socket.create_connection((host, port), timeout))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> SyncStream:
        raise httpcore.UnsupportedProtocol("a tailnet has no Unix sockets")


class SyncStream(httpcore.NetworkStream):
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _errors(httpcore.ReadTimeout, httpcore.ReadError):
            self._socket.settimeout(timeout)
            return self._socket.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _errors(httpcore.WriteTimeout, httpcore.WriteError):
            self._socket.settimeout(timeout)
            self._socket.sendall(buffer)

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> SyncStream:
        with _errors(httpcore.ConnectTimeout, httpcore.ConnectError):
            try:
                self._socket.settimeout(timeout)
                return SyncStream(_made(ssl_context).wrap_socket(self._socket, server_hostname=server_hostname))
            except BaseException:
                self.close()
                raise

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "ssl_object":
                return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
            case "client_addr":
                return self._socket.getsockname()
            case "server_addr":
                return self._socket.getpeername()
            case "socket":
                return self._socket
            case "is_readable":
                return _is_readable(self._socket)
        return None


@contextmanager
def _errors(timeout: type[Exception], failure: type[Exception]) -> Iterator[None]:
    """Failures as httpcore names them. NotOnTailnet keeps its name: the program asked for something impossible."""
    try:
        yield
    except NotOnTailnet:
        raise
    except TimeoutError as error:
        raise timeout(str(error) or "timed out") from error
    except (OSError, Error, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream) as error:
        raise failure(str(error)) from error


def _made(context: ssl.SSLContext | LateContext) -> ssl.SSLContext:
    return context.context if isinstance(context, LateContext) else context


def _is_readable(sock: socket.socket) -> bool:
    if sock.fileno() < 0:
        return True
    if hasattr(select, "poll"):  # select itself stops at descriptor 1023
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])
