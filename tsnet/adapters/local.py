"""The host's own sockets as byte streams that can be reset: the local end of a forward.

    3000, "3000"                    port 3000 of 127.0.0.1
    "127.0.0.1:3000", "[::1]:3000"  that address
    "/run/db.sock"                  a Unix socket, which only this user may open

anyio's own socket streams always say goodbye before they close, so a reset could not be passed on.

Not here: what is copied to where (`forward`).
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Hashable
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel

from tsnet.base.addresses import parse_port
from tsnet.edge.io.descriptors import BUDGET, RETRY, Lease, is_out, told_when_out
from tsnet.edge.pipes.operations import async_event
from tsnet.errors import ConfigError

Target = int | str

_RESET = struct.pack("ii", 1, 0)
_BACKLOG = 128


class LocalStream(anyio.abc.ByteStream):
    """lease: its descriptor, which is given back when it is closed."""

    peer = None
    """A program of this machine: nobody in particular."""

    def __init__(self, sock: socket.socket, lease: Lease | None = None) -> None:
        sock.setblocking(False)
        self._socket, self._lease = sock, lease

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        while True:
            await anyio.lowlevel.checkpoint()
            try:
                data = self._socket.recv(max_bytes)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
                continue
            except OSError as error:
                raise self._failure(error) from error
            if not data:
                raise anyio.EndOfStream
            return data

    async def send(self, item: bytes) -> None:
        left = memoryview(item)
        await anyio.lowlevel.checkpoint()
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)
            except OSError as error:
                raise self._failure(error) from error

    async def send_eof(self) -> None:
        await anyio.lowlevel.checkpoint()
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self._failure(error) from error

    async def aclose(self) -> None:
        self._close()
        await anyio.lowlevel.checkpoint()

    def abort(self) -> None:
        """Reset the connection; on a Unix socket the nearest there is, a plain end."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._close()

    def _close(self) -> None:
        if self._socket.fileno() >= 0:
            anyio.notify_closing(self._socket)
        self._socket.close()
        if self._lease is not None:
            self._lease.give_back()

    def _failure(self, error: OSError) -> Exception:
        if self._socket.fileno() < 0:
            return anyio.ClosedResourceError()
        return anyio.BrokenResourceError(str(error))


class LocalListener:
    """A bound, listening socket of the host. `address` is what a client of it is to be told."""

    def __init__(self, where: Target) -> None:
        self._path = _path(where)
        with told_when_out("a listening socket of this machine"):
            self._socket = _listen_unix(self._path) if self._path else _listen_tcp(*split(where))
        self._socket.setblocking(False)

    @property
    def address(self) -> str:
        return self._path or "{}:{}".format(*self._socket.getsockname()[:2])

    @property
    def port(self) -> int | None:
        """None for a Unix socket."""
        return None if self._path else int(self._socket.getsockname()[1])

    async def accept(self) -> LocalStream:
        """The next connection. While there is no descriptor for it, it waits in the kernel's backlog."""
        while True:
            await anyio.lowlevel.checkpoint()
            if self._socket.fileno() < 0:
                raise anyio.ClosedResourceError
            await anyio.wait_readable(self._socket)
            lease = await leased(None)
            try:
                return LocalStream(self._socket.accept()[0], lease)
            except BaseException as error:
                lease.give_back(used=False)
                await self._accept_failed(error)

    async def _accept_failed(self, error: BaseException) -> None:
        """Return if `accept` is to be called again; raise if not."""
        if self._socket.fileno() < 0:
            raise anyio.ClosedResourceError from error
        if is_out(error):
            BUDGET.say_out()
            await anyio.sleep(RETRY)
        elif not isinstance(error, (BlockingIOError, ConnectionAbortedError)):  # it went away while it waited
            raise error

    async def aclose(self) -> None:
        if self._socket.fileno() >= 0:
            anyio.notify_closing(self._socket)
            self._socket.close()
            if self._path:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._path)
        await anyio.lowlevel.checkpoint()


async def connect_local(target: Target, *, timeout: float = 10, peer: Hashable = None) -> LocalStream:
    """Connect over the host's network, when there is a descriptor for the peer. Raises OSError."""
    while True:
        lease = await leased(peer)
        try:
            with anyio.fail_after(timeout):
                return await _connect_first(target, lease)
        except BaseException as error:
            lease.give_back(used=False)
            if not is_out(error):
                raise
            BUDGET.say_out()
        await anyio.sleep(RETRY)


async def leased(peer: Hashable) -> Lease:
    """A descriptor for the peer, when there is one."""
    while (found := BUDGET.borrow(peer)) is None:
        event, wake = async_event()
        BUDGET.when_free(wake)
        try:
            with anyio.move_on_after(RETRY):
                await event.wait()
        finally:
            BUDGET.forget(wake)
    return found


async def _connect_first(target: Target, lease: Lease) -> LocalStream:
    path = _path(target)
    if path:
        return await _connect(socket.AF_UNIX, path, lease)
    host, port = split(target)
    failure: OSError | None = None
    for family, _, _, _, address in await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            return await _connect(family, address, lease)
        except OSError as error:
            failure = error
    raise failure or OSError(f"{host} has no address")


async def _connect(family: int, address: Any, lease: Lease) -> LocalStream:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect(address)
        await anyio.wait_writable(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code), str(address))
    except BaseException:
        sock.close()
        raise
    if family != getattr(socket, "AF_UNIX", None):
        with contextlib.suppress(OSError):  # reset already: the next call says so
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return LocalStream(sock, lease)


def check_target(where: Target) -> None:
    """Raise ConfigError for what is neither a port, nor host:port, nor a path."""
    if _path(where) is None:
        split(where)


def split(where: Target) -> tuple[str, int]:
    """("127.0.0.1", 3000) from 3000, "3000", "host:3000" or "[::1]:3000"."""
    host, _, port = str(where).rpartition(":")
    has_brackets = host.startswith("[") and host.endswith("]")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    number = parse_port(port)
    if number is None or (":" in host and not has_brackets):
        raise ConfigError(f"{where!r} is no port, no host:port and no path of a Unix socket")
    return host, number


def _path(where: Target) -> str | None:
    return where if isinstance(where, str) and os.sep in where else None


def _listen_tcp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def _listen_unix(path: str) -> socket.socket:
    """The socket file is replaced if nobody answers it any more, and opened to this user alone."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        mask = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(mask)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return  # not ours to remove: bind says that it exists
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
