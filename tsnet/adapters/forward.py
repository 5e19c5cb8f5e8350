"""Raw TCP forwards, for programs that cannot be given a Python socket.

    forward_local    127.0.0.1:port or a Unix socket  ─> host:port on the tailnet
    forward_remote   a port of this node              ─> 127.0.0.1:port or a Unix socket

Each half-close is passed on, and so is a reset. Bytes are not looked at: a raw forward cannot remove identity headers
from HTTP, and an application behind `forward_remote` must not trust them.

A connection whose other end is not there yet is pending. At most MAX_PENDING are, two thirds of them of one peer; one
too many is reset at once, so that a slow target does not fill the process. A local end needs a descriptor: while peers
have as many as they may have, those that want one stay pending. What is refused is said once a minute.

Not here: the local ends (`local`), web apps in this process (`wsgi`, `asgi`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Protocol

import anyio
import anyio.abc

from netstack.limits import Shares
from tsnet.adapters.local import LocalListener, Target, check_target, connect_local
from tsnet.edge.io.log import Log, Seldom
from tsnet.errors import Error
from tsnet.protocols import Acceptor, ByteStream, Dialer, StreamListener

CHUNK = 256 * 1024
MAX_PENDING = 128
"""Connections of one forward whose other end is not there yet."""

_log = Log("tsnet.forward")


class End(Protocol):
    """One end of a forwarded connection: a tailnet stream or a local one.

    peer: who counts as its other end in limits; None for a program of this machine.
    """

    @property
    def peer(self) -> Hashable: ...
    async def receive(self, max_bytes: int = 65_536) -> bytes: ...
    async def send(self, item: bytes) -> None: ...
    async def send_eof(self) -> None: ...
    async def aclose(self) -> None: ...
    def abort(self) -> None: ...


class Source(Protocol):
    """Where forwarded connections come from."""

    async def accept(self) -> End: ...
    async def aclose(self) -> None: ...


class Forward:
    """A forward that listens. `run` serves it until `close`; so does `async with`. Both belong to one event loop.

    connect: dials the other end of a connection, given its peer.
    address: where it listens, "127.0.0.1:40123", "/run/db.sock" or "100.64.0.1:80"; port: None for a Unix socket.
    max_connections: how many may be open at once; None if somebody else bounds them.
    """

    def __init__(
        self,
        source: Source,
        connect: Callable[[Hashable], Awaitable[End]],
        address: str,
        port: int | None,
        *,
        max_connections: int | None = None,
    ) -> None:
        self.address: str = address
        self.port: int | None = port
        self.pending: Shares = Shares(MAX_PENDING)
        self._open = None if max_connections is None else Shares(max_connections)
        self._source, self._connect = source, connect
        self._failed, self._refused = Seldom(_log), Seldom(_log)
        self._closing = anyio.Event()
        self._stack = AsyncExitStack()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Forward until `close`; what is still open then is reset."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._accept, tasks)
                task_status.started()
                await self._closing.wait()
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._source.aclose()

    def close(self) -> None:
        self._closing.set()

    async def _accept(self, tasks: anyio.abc.TaskGroup) -> None:
        while True:
            try:
                end = await self._source.accept()
            except (anyio.ClosedResourceError, Error):  # with the node
                self.close()
                return
            if self._takes(end.peer):
                tasks.start_soon(self._forward_alone, end)
            else:
                end.abort()

    def _takes(self, peer: Hashable) -> bool:
        """Count one more connection of this peer, or say that it is one too many."""
        if self._open is not None and not self._open.take(peer):
            self._refuse("as many are open as may be (max_connections=%d)", self._open.total)
            return False
        if not self.pending.take(peer):
            self._ended(peer)
            self._refuse("%d of its peer still wait for what they are forwarded to", self.pending.of(peer))
            return False
        return True

    def _refuse(self, why: str, number: int) -> None:
        self._refused.warning(anyio.current_time(), "%s: a connection was reset: " + why, self.address, number)

    def _ended(self, peer: Hashable) -> None:
        if self._open is not None:
            self._open.give_back(peer)

    async def _forward_alone(self, end: End) -> None:
        """Whatever one connection meets with, the others go on."""
        try:
            await self._forward(end)
        except Exception:
            _log.exception("%s: a connection could not be forwarded; the others go on", self.address)
        finally:
            self._ended(end.peer)

    async def _forward(self, end: End) -> None:
        try:
            other = await self._connect(end.peer)
        except (OSError, Error) as error:
            reason = str(error) or "it did not answer in time"
            self._failed.warning(anyio.current_time(), "%s: nothing to forward to: %s", self.address, reason)
            end.abort()
            return
        except BaseException:
            end.abort()
            raise
        finally:
            self.pending.give_back(end.peer)
        await relay(end, other)

    async def __aenter__(self) -> Forward:
        tasks = await self._stack.enter_async_context(anyio.create_task_group())
        self._stack.callback(self.close)
        await tasks.start(self.run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, traceback)


async def forward_local(
    dialer: Dialer, host: str, port: int, *, local: Target = 0, max_connections: int | None = None
) -> Forward:
    """Listen on this machine, and forward each connection to host:port of the tailnet.

    local: a port of 127.0.0.1 (0 chooses one), "host:port", or the path of a Unix socket. Raises OSError.
    """
    listener = LocalListener(local)
    return Forward(
        listener,
        lambda peer: dialer.dial(host, port),
        listener.address,
        listener.port,
        max_connections=max_connections,
    )


async def forward_remote(acceptor: Acceptor, where: int | str, target: Target) -> Forward:
    """Listen on a port of this node, and forward each connection to a target of this machine.

    target: a port of 127.0.0.1, "host:port", or the path of a Unix socket. Raises `AddressInUse`.
    """
    check_target(target)  # one without sense is an error now, not at the first connection
    return forward_accepted(await acceptor.listen(where), target)


def forward_accepted(listener: StreamListener[ByteStream], target: Target) -> Forward:
    """Forward what this listener accepts, which bounds how many are open."""
    host, port = listener.addresses[0]
    return Forward(listener, lambda peer: connect_local(target, peer=peer), f"{host}:{port}", listener.port)


async def relay(one: End, other: End) -> None:
    """Copy both ways until both have ended. A reset on one side, or a cancellation, resets the other."""
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_copy, one, other, tasks.cancel_scope)
            tasks.start_soon(_copy, other, one, tasks.cancel_scope)
        broken = tasks.cancel_scope.cancel_called
    except BaseException:
        broken = True
        raise
    finally:
        for end in (one, other):
            if broken:
                end.abort()
            else:
                with anyio.CancelScope(shield=True):  # it does not wait, and the other end must be closed, too
                    await end.aclose()


async def _copy(source: End, target: End, scope: anyio.CancelScope) -> None:
    try:
        while True:
            await target.send(await source.receive(CHUNK))
    except anyio.EndOfStream:
        try:
            await target.send_eof()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            scope.cancel()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        scope.cancel()
