"""A node's connections as anyio streams: Stream, Listener, PacketConn.

    Stream.receive -> Pipe.take, or wait until the node's thread has put something in
    Stream.send    -> Pipe.give, or wait until the node's thread has taken something out

They run under asyncio and trio, and may be cancelled at any await. A stream has one reader and one writer at a time.
The end of a stream is `anyio.EndOfStream`. A reset is `anyio.BrokenResourceError`, whose cause is the `tsnet` error.

Not here: the deques in between (`edge.pipes.pipes`), real descriptors (`sockets`, which the server hands in).
"""

from __future__ import annotations

import socket
import warnings
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from typing import Any

import anyio
import anyio.abc
from anyio.lowlevel import checkpoint

from netstack import TcpInfo
from tsnet.base.addresses import join_host_port
from tsnet.edge.io.log import log
from tsnet.edge.pipes.listening import ListenPipe
from tsnet.edge.pipes.operations import async_event
from tsnet.edge.pipes.packets import MAX_PAYLOAD, PacketPipe
from tsnet.edge.pipes.pipes import Pipe
from tsnet.engine.peerpath import NO_PATH, PeerPath
from tsnet.errors import ConfigError, Error, MessageTooLong, NotUp, again
from tsnet.protocols import Address, ByteStream, StreamListener

__all__ = ["Listener", "PacketConn", "Stream", "StreamAttribute"]

CHUNK = 256 * 1024


class StreamAttribute(anyio.TypedAttributeSet):
    """What `stream.extra(StreamAttribute.path)` tells of a node's stream, also through a TLS stream around it.

    path: how its peer is reached now (`PeerPath`). rtt: the connection's smoothed round-trip time, in seconds; 0.0
    before anything was measured.
    """

    path: PeerPath = anyio.typed_attribute()
    rtt: float = anyio.typed_attribute()


class Stream(ByteStream):
    """One TCP connection on the tailnet."""

    def __init__(
        self,
        pipe: Pipe,
        make_socket: Callable[[Pipe], socket.socket],
        path_to: Callable[[bytes], PeerPath] = lambda _key: NO_PATH,
    ) -> None:
        self._pipe = pipe
        self._make_socket = make_socket
        self._path_to = path_to
        self._closed = self._finished = self._moved = False  # moved: into a socket
        self._receiving = self._sending = False
        self.local_address: Address = pipe.local
        self.remote_address: Address = pipe.remote

    @property
    def peer(self) -> Hashable:
        return self._pipe.peer

    @property
    def path(self) -> PeerPath:
        """How the peer is reached now: directly, or by which relay. NO_PATH if the peer is this node itself."""
        link = self._pipe.connection.link
        return self._path_to(link) if isinstance(link, bytes) else NO_PATH

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        own = {StreamAttribute.path: lambda: self.path, StreamAttribute.rtt: lambda: self.info().srtt}
        return {**super().extra_attributes, **own}

    @property
    def readable(self) -> bool:
        return self._closed or self._pipe.has_news

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """1 to max_bytes bytes. Raises EndOfStream, BrokenResourceError, ClosedResourceError, BusyResourceError."""
        await checkpoint()
        if self._receiving:
            raise anyio.BusyResourceError("receiving from")
        self._receiving = True
        try:
            while True:
                data = self._take(max_bytes)
                if data:
                    return data
                event, wake = async_event()
                if self._pipe.when_readable(wake):
                    await event.wait()
        finally:
            self._receiving = False

    def _take(self, max_bytes: int) -> bytes:
        if self._closed:
            raise anyio.ClosedResourceError
        try:
            data = self._pipe.take(max_bytes)
        except Error as error:
            raise anyio.BrokenResourceError(str(error)) from error
        if data is None:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        """Queue all of it. Waits while the node's buffers are full, but not for delivery.

        Raises BrokenResourceError, ClosedResourceError, BusyResourceError.
        """
        await checkpoint()
        if self._sending:
            raise anyio.BusyResourceError("sending to")
        self._sending = True
        try:
            await self._send(memoryview(item))
        finally:
            self._sending = False

    async def _send(self, data: memoryview) -> None:
        while True:
            if self._closed or self._finished:
                raise anyio.ClosedResourceError
            try:
                taken = self._pipe.give(data[:CHUNK])
            except Error as error:
                raise anyio.BrokenResourceError(str(error)) from error
            data = data[taken:]
            if not data:
                return
            if not taken:
                event, wake = async_event()
                if self._pipe.when_writable(wake):
                    await event.wait()

    async def send_eof(self) -> None:
        """Half-close: the peer finds the end after what was sent, and may go on sending."""
        await checkpoint()
        if self._closed:
            raise anyio.ClosedResourceError
        self._finished = True
        self._pipe.finish()

    async def aclose(self) -> None:
        """Close in order. What was sent is still delivered; what arrives is dropped."""
        self._closed = True
        if not self._moved:
            self._pipe.close()  # also a second time: the first call may have been interrupted
        await checkpoint()

    def abort(self) -> None:
        """Reset the connection. What is queued in either direction is lost."""
        self._closed = True
        self._pipe.abort()

    def info(self) -> TcpInfo:
        """A snapshot of the connection: state, round-trip time, windows, counters."""
        return self._pipe.connection.info()

    def to_socket(self) -> socket.socket:
        """A connected socket in place of this object.

        Whoever waits in `receive` or `send` gets ClosedResourceError, and so does a call after this one or `aclose`.
        """
        if self._closed:
            raise anyio.ClosedResourceError
        self._closed = self._moved = True
        self._pipe.wake_all()
        return self._make_socket(self._pipe)

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if not self._closed and self._pipe.is_open:
            _end_dropped(self, self._pipe)

    def __repr__(self) -> str:
        ends = f"{join_host_port(*self.local_address)} - {join_host_port(*self.remote_address)}"
        return f"<Stream {ends}{' closed' if self._closed else ''}>"


class Listener(StreamListener[Stream]):
    """A TCP port of this node."""

    def __init__(
        self,
        pipe: ListenPipe,
        wrap: Callable[[Pipe], Stream],
        make_socket: Callable[[ListenPipe], socket.socket],
    ) -> None:
        self._pipe = pipe
        self._wrap = wrap
        self._make_socket = make_socket
        self._closed = self._moved = False  # moved: into a socket
        self.port: int = pipe.port
        self.addresses: tuple[Address, ...] = tuple((address, pipe.port) for address in pipe.addresses)

    async def accept(self) -> Stream:
        """The next connection. Raises ClosedResourceError if the listener was closed, NotUp if the node was."""
        await checkpoint()
        while True:
            if self._closed:
                raise anyio.ClosedResourceError
            if self._pipe.error is not None:
                raise again(self._pipe.error)
            pipe = self._pipe.accept_nowait()
            if pipe is not None:
                return self._wrap(pipe)
            event, wake = async_event()
            try:
                if self._pipe.when_acceptable(wake):
                    await event.wait()
            except BaseException:
                self._pipe.forget(wake)
                raise

    async def serve(self, handler: Callable[[Stream], Any], task_group: anyio.abc.TaskGroup | None = None) -> None:
        """Run `handler(stream)` in a task for each connection, until the listener or the node is closed.

        A handler that raises ends its own connection, by a reset, and the log tells of it. It tells, too, if the end is
        a failure of the node.
        """
        async with anyio.create_task_group() as own:
            group = task_group or own
            async for stream in self:
                group.start_soon(_handle, handler, stream)

    async def aclose(self) -> None:
        """Free the port. Accepted streams live on; those that nobody accepted are reset.

        A `listen` on the same port that comes after this call finds it free.
        """
        self._closed = True
        if not self._moved:
            self._pipe.close()  # also a second time: the first call may have been interrupted
        await checkpoint()

    @property
    def extra_attributes(self) -> dict[Any, Callable[[], Any]]:
        return {
            anyio.abc.SocketAttribute.local_address: lambda: self.addresses[0],
            anyio.abc.SocketAttribute.local_port: lambda: self.port,
        }

    def to_socket(self) -> socket.socket:
        """A listening socket in place of this object. Raises ClosedResourceError as `Stream.to_socket`."""
        if self._closed:
            raise anyio.ClosedResourceError
        self._closed = self._moved = True
        self._pipe.wake_all()
        return self._make_socket(self._pipe)

    def __aiter__(self) -> AsyncIterator[Stream]:
        return self._connections()

    async def _connections(self) -> AsyncIterator[Stream]:
        while True:
            try:
                stream = await self.accept()
            except anyio.ClosedResourceError:
                return
            except NotUp:
                if self._pipe.gone:  # one that was closed need not be told of
                    log.warning("port %s: no more connections are accepted: the node has failed", self.port)
                return
            yield stream

    async def __aenter__(self) -> Listener:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if not (self._closed or self._pipe.closed):
            _end_dropped(self, self._pipe)

    def __repr__(self) -> str:
        return f"<Listener port {self.port}{' closed' if self._closed else ''}>"


class PacketConn:
    """UDP on the tailnet. One from `dial_packet` has a `remote_address`, and receives from that address alone."""

    def __init__(self, pipe: PacketPipe, make_socket: Callable[[PacketPipe], socket.socket]) -> None:
        self._pipe = pipe
        self._make_socket = make_socket
        self._closed = self._receiving = self._moved = False  # moved: into a socket
        self.local_address: Address = pipe.local
        self.remote_address: Address | None = pipe.remote

    async def send_to(self, data: bytes, address: Address) -> None:
        """Queue a datagram of at most 65,507 bytes for `(IP address, port)`. Waits while the node's buffers are full.

        Raises MessageTooLong, ClosedResourceError, and NotUp if the node was closed.
        """
        await checkpoint()
        if len(data) > MAX_PAYLOAD:
            raise MessageTooLong(f"a UDP datagram carries at most {MAX_PAYLOAD} bytes, not {len(data)}")
        while not self._closed and not self._pipe.give(data, address):
            event, wake = async_event()
            if self._pipe.when_writable(wake):
                await event.wait()
        if self._closed:
            raise anyio.ClosedResourceError

    async def send(self, data: bytes) -> None:
        """Queue a datagram for the address that was dialled. Raises what `send_to` raises; ConfigError if none was."""
        if self.remote_address is None:
            raise ConfigError("this PacketConn listens: use send_to(data, address)")
        await self.send_to(data, self.remote_address)

    async def receive_from(self) -> tuple[bytes, Address]:
        """The next datagram and its sender's address, for one task at a time.

        Raises DialRefused if a dialled peer answers that nothing listens there, NotUp if the node was closed,
        ClosedResourceError, BusyResourceError.
        """
        await checkpoint()
        if self._receiving:
            raise anyio.BusyResourceError("receiving from")
        self._receiving = True
        try:
            while not self._closed:
                datagram = self._pipe.take()
                if datagram is not None:
                    return datagram
                event, wake = async_event()
                if self._pipe.when_readable(wake):
                    await event.wait()
            raise anyio.ClosedResourceError
        finally:
            self._receiving = False

    async def receive(self) -> bytes:
        """The next datagram without its sender's address. Raises what `receive_from` raises."""
        return (await self.receive_from())[0]

    async def aclose(self) -> None:
        """Free the port. What was queued is still sent.

        A `listen_packet` on the same port that comes after this call finds it free.
        """
        self._closed = True
        if not self._moved:
            self._pipe.close()  # also a second time: the first call may have been interrupted
        await checkpoint()

    def to_socket(self) -> socket.socket:
        """A datagram socket in place of this object. Raises ClosedResourceError as `Stream.to_socket`."""
        if self._closed:
            raise anyio.ClosedResourceError
        self._closed = self._moved = True
        self._pipe.wake_all()
        return self._make_socket(self._pipe)

    def __aiter__(self) -> PacketConn:
        return self

    async def __anext__(self) -> tuple[bytes, Address]:
        try:
            return await self.receive_from()
        except (anyio.ClosedResourceError, NotUp):
            raise StopAsyncIteration from None

    async def __aenter__(self) -> PacketConn:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if not (self._closed or self._pipe.closed or self._pipe.error):
            _end_dropped(self, self._pipe)

    def __repr__(self) -> str:
        return f"<PacketConn {join_host_port(*self.local_address)}{' closed' if self._closed else ''}>"


async def _handle(handler: Callable[[Stream], Any], stream: Stream) -> None:
    """One connection. What it meets with is its own: the others are handled on."""
    async with stream:
        try:
            await handler(stream)
        except anyio.BrokenResourceError as error:
            log.info("%r broke: %s", stream, error)
            stream.abort()
        except Exception:
            log.exception("the handler of %r failed; the listener goes on", stream)
            stream.abort()


def _end_dropped(
    dropped: object, pipe: Pipe | ListenPipe | PacketPipe, warn: Callable[..., None] = warnings.warn
) -> None:
    """In a finalizer, which runs in any thread, the node's own included: nothing here waits."""
    try:
        how = "use `async with`, or await its aclose()"
        warn(f"unclosed {dropped!r}: {how}", ResourceWarning, stacklevel=3, source=dropped)
    finally:  # also if warnings are errors
        pipe.close()
