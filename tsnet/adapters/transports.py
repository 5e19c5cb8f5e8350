"""asyncio's Transport over a byte stream: runs protocol classes (uvicorn's, asyncio's own) without a descriptor.

    stream.receive ── one task ──> protocol.data_received, eof_received, connection_lost
    transport.write ── a buffer ──> stream.send, in a task that lives only while the buffer is not empty

    write_eof   half-close after the buffer          close   the buffer is sent, then aclose
    abort       reset, the buffer is lost            peer's reset   connection_lost(ConnectionResetError)

Source: the asyncio documentation, "Transports and Protocols".
Not here: trio, which has no such thing (`asgi` uses the stream itself there).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import anyio

from tsnet.protocols import ByteStream, Dialer

CHUNK = 64 * 1024
HIGH_WATER = 64 * 1024

P = TypeVar("P", bound=asyncio.Protocol)


def connect(stream: ByteStream, protocol_factory: Callable[[], P]) -> tuple[StreamTransport, P]:
    """Run a protocol over a stream that is connected already; the running loop's."""
    protocol = protocol_factory()
    return StreamTransport(stream, protocol), protocol


async def create_connection(
    dialer: Dialer, protocol_factory: Callable[[], P], host: str, port: int, *, timeout: float = 30
) -> tuple[StreamTransport, P]:
    """As `loop.create_connection`, over the tailnet."""
    return connect(await dialer.dial(host, port, timeout=timeout), protocol_factory)


class StreamTransport(asyncio.Transport):
    """The stream belongs to the transport from its construction on; `connection_made` has been called after it."""

    _start_tls_compatible = True  # what `loop.start_tls` asks for

    def __init__(
        self,
        stream: ByteStream,
        protocol: asyncio.BaseProtocol,
        on_lost: Callable[[StreamTransport], None] | None = None,
    ) -> None:
        super().__init__({"peername": stream.remote_address, "sockname": stream.local_address})
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._under_way = 0  # bytes that the stream has been given and not yet taken
        self._low, self._high = HIGH_WATER // 4, HIGH_WATER
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._writing_paused = self._eof_wanted = self._closing = self._lost = False
        self._writer: asyncio.Task[None] | None = None
        self._protocol, self._on_lost = protocol, on_lost
        self._reader = self._loop.create_task(self._read())
        protocol.connection_made(self)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._closing

    # --- reading ------------------------------------------------------------------------------------------------

    def is_reading(self) -> bool:
        return self._may_read.is_set() and not self._closing

    def pause_reading(self) -> None:
        self._may_read.clear()

    def resume_reading(self) -> None:
        self._may_read.set()

    async def _read(self) -> None:
        try:
            while True:
                await self._may_read.wait()
                data = await self._stream.receive(CHUNK)
                await self._may_read.wait()  # paused meanwhile: the protocol has no room for it yet
                self._deliver(data)
        except anyio.EndOfStream:
            self._end_of_stream()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            self._lose(_as_reset(error))
        except Exception as error:
            self._loop.call_exception_handler(
                {"message": "a protocol failed on received data", "exception": error, "protocol": self._protocol}
            )
            self.abort()

    def _deliver(self, data: bytes) -> None:
        if self._closing:
            return
        if isinstance(self._protocol, asyncio.BufferedProtocol):
            while data:
                room = memoryview(self._protocol.get_buffer(len(data)))
                size = min(len(room), len(data))
                room[:size] = data[:size]
                self._protocol.buffer_updated(size)
                data = data[size:]
        else:
            self._protocol.data_received(data)  # type: ignore[attr-defined]

    def _end_of_stream(self) -> None:
        if not self._closing and not self._protocol.eof_received():  # type: ignore[attr-defined]
            self.close()

    # --- writing ------------------------------------------------------------------------------------------------

    def get_write_buffer_size(self) -> int:
        return len(self._buffer) + self._under_way

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._low, self._high = low, high

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._eof_wanted:
            raise RuntimeError("cannot write after write_eof")
        if self._closing or not data:
            return
        self._buffer += data
        if self.get_write_buffer_size() > self._high and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()
        self._start_writer()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._eof_wanted and not self._closing:
            self._eof_wanted = True
            self._start_writer()

    def _start_writer(self) -> None:
        if self._writer is None:
            self._writer = self._loop.create_task(self._write())

    async def _write(self) -> None:
        """Send the buffer, what is added meanwhile, and the end that was asked for."""
        try:
            while self._buffer:
                data = bytes(self._buffer)
                self._buffer.clear()
                self._under_way = len(data)
                await self._stream.send(data)
                self._under_way = 0
                self._resume_writing()
            if self._closing:
                await self._stream.aclose()
                self._lose(None)
            elif self._eof_wanted:
                await self._stream.send_eof()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            self._lose(_as_reset(error))
        finally:
            self._writer = None
        if not self._lost and (self._buffer or self._closing):
            self._start_writer()

    def _resume_writing(self) -> None:
        if self._writing_paused and len(self._buffer) <= self._low:
            self._writing_paused = False
            self._protocol.resume_writing()

    # --- the end ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._reader.cancel()
            self._start_writer()

    def abort(self) -> None:
        if not self._lost:
            self._stream.abort()
            self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        """`connection_lost`, once, and not from inside a call of the protocol's."""
        if self._lost:
            return
        self._lost = self._closing = True
        self._buffer.clear()
        for task in (self._reader, self._writer):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        if error is not None:
            self._stream.abort()
        self._loop.call_soon(self._finish, error)

    def _finish(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)
        if self._on_lost is not None:
            self._on_lost(self)


def _as_reset(error: Exception) -> Exception:
    cause = error.__cause__
    return cause if isinstance(cause, OSError) else ConnectionResetError(str(cause or error) or "connection reset")


async def open_connection(
    dialer: Dialer, host: str, port: int, *, timeout: float = 30, limit: int = 2**16
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As `asyncio.open_connection`, over the tailnet."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await create_connection(dialer, lambda: protocol, host, port, timeout=timeout)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
