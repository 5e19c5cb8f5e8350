"""asyncio's own machinery over a transport that has no descriptor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from tests.adapters.loopback import LAPTOP, SHOP, LoopbackTailnet, read_all
from tsnet.adapters.transports import StreamTransport, connect, create_connection, open_connection
from tsnet.protocols import ByteStream

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Recorder(asyncio.Protocol):
    """What a transport tells its protocol, in order."""

    def __init__(self, *, stay_open: bool = False) -> None:
        self.log: list[Any] = []
        self.received = bytearray()
        self.lost = asyncio.Event()
        self.ended = asyncio.Event()
        self.resumed = asyncio.Event()
        self.stay_open = stay_open

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.log.append("made")

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> bool:
        self.log.append("eof")
        self.ended.set()
        return self.stay_open

    def pause_writing(self) -> None:
        self.log.append("pause")

    def resume_writing(self) -> None:
        self.log.append("resume")
        self.resumed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.log.append(exc)
        self.lost.set()


@asynccontextmanager
async def connected(
    tailnet: LoopbackTailnet, protocol: asyncio.Protocol
) -> AsyncIterator[tuple[StreamTransport, ByteStream]]:
    """A transport at one end, the bare stream at the other."""
    async with await tailnet.listen(9) as listener:
        transport, _ = await create_connection(tailnet, lambda: protocol, "shop", 9)
        stream = await listener.accept()
        try:
            with anyio.fail_after(10):
                yield transport, stream
        finally:
            transport.abort()
            stream.abort()
            await asyncio.sleep(0.01)


async def test_addresses_are_the_tailnets(tailnet: LoopbackTailnet) -> None:
    async with connected(tailnet, Recorder()) as (transport, _):
        assert transport.get_extra_info("peername") == (SHOP, 9)
        assert transport.get_extra_info("sockname")[0] == LAPTOP
        assert transport.get_extra_info("socket") is None


async def test_data_end_and_close_in_order(tailnet: LoopbackTailnet) -> None:
    protocol = Recorder()
    async with connected(tailnet, protocol) as (transport, stream):
        await stream.send(b"hello")
        await stream.send_eof()
        await protocol.lost.wait()
        assert protocol.received == b"hello"
        assert protocol.log == ["made", "eof", None]
        assert transport.is_closing()


async def test_half_close_lets_the_other_direction_go_on(tailnet: LoopbackTailnet) -> None:
    protocol = Recorder(stay_open=True)
    async with connected(tailnet, protocol) as (transport, stream):
        await stream.send_eof()
        await protocol.ended.wait()
        assert transport.can_write_eof()
        transport.write(b"after the end")
        transport.write_eof()
        with pytest.raises(RuntimeError, match="write_eof"):
            transport.write(b"no")
        assert await read_all(stream) == b"after the end"
        assert not protocol.lost.is_set()
        transport.close()
        await protocol.lost.wait()


async def test_close_sends_the_buffer_first(tailnet: LoopbackTailnet) -> None:
    protocol = Recorder()
    async with connected(tailnet, protocol) as (transport, stream):
        transport.write(bytes(3_000_000))
        transport.write(b"end")
        transport.close()
        transport.write(b"ignored")
        received = await read_all(stream)
        assert len(received) == 3_000_003
        assert received.endswith(b"end")
        await protocol.lost.wait()
        assert protocol.log[-1] is None


async def test_a_slow_reader_pauses_the_writer(tailnet: LoopbackTailnet) -> None:
    protocol = Recorder()
    async with connected(tailnet, protocol) as (transport, stream):
        transport.write(bytes(20_000_000))
        assert protocol.log == ["made", "pause"]
        await asyncio.sleep(0.01)
        assert protocol.log == ["made", "pause"]
        assert transport.get_write_buffer_size() > 1_000_000
        received = 0
        while received < 20_000_000:
            received += len(await stream.receive())
        await protocol.resumed.wait()
        assert transport.get_write_buffer_size() == 0


async def test_paused_reading_delivers_nothing(tailnet: LoopbackTailnet) -> None:
    protocol = Recorder()
    async with connected(tailnet, protocol) as (transport, stream):
        transport.pause_reading()
        assert not transport.is_reading()
        await stream.send(b"wait")
        await asyncio.sleep(0.02)
        assert protocol.received == b""
        transport.resume_reading()
        await stream.send_eof()
        await protocol.lost.wait()
        assert protocol.received == b"wait"


async def test_abort_resets_the_peer(tailnet: LoopbackTailnet) -> None:
    protocol = Recorder()
    async with connected(tailnet, protocol) as (transport, stream):
        transport.abort()
        transport.abort()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()
        await protocol.lost.wait()
        assert protocol.log == ["made", None]


async def test_a_reset_is_told_as_one(tailnet: LoopbackTailnet) -> None:
    protocol = Recorder()
    async with connected(tailnet, protocol) as (_, stream):
        stream.abort()
        await protocol.lost.wait()
        assert isinstance(protocol.log[-1], ConnectionResetError)


async def test_a_protocol_that_closes_at_once_is_obeyed(tailnet: LoopbackTailnet) -> None:
    class Shy(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            transport.close()

    protocol = Shy()
    async with connected(tailnet, protocol) as (_, stream):
        assert await read_all(stream) == b""
        await protocol.lost.wait()


async def test_a_protocol_that_fails_is_reported_and_reset(tailnet: LoopbackTailnet) -> None:
    class Broken(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError

    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
    protocol = Broken()
    async with connected(tailnet, protocol) as (_, stream):
        await stream.send(b"x")
        await protocol.lost.wait()
        assert [type(report["exception"]) for report in reports] == [ZeroDivisionError]


async def test_a_buffered_protocol_is_filled(tailnet: LoopbackTailnet) -> None:
    class Filled(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer, self.received, self.done = bytearray(3), bytearray(), asyncio.Event()

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.received += self.buffer[:nbytes]

        def eof_received(self) -> None:
            self.done.set()

    protocol = Filled()
    async with await tailnet.listen(9) as listener:
        transport, _ = connect(await tailnet.dial("shop", 9), lambda: protocol)  # type: ignore[type-var]
        async with await listener.accept() as stream:
            await stream.send(b"eleven chars")
            await stream.send_eof()
            await asyncio.wait_for(protocol.done.wait(), 10)
        assert protocol.received == b"eleven chars"
        transport.abort()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("high", "low", "limits"), [(None, None, (16_384, 65_536)), (100, None, (25, 100)), (None, 9, (9, 36))]
)
async def test_limits_default_as_asyncios_do(
    tailnet: LoopbackTailnet, high: int | None, low: int | None, limits: tuple[int, int]
) -> None:
    async with connected(tailnet, Recorder()) as (transport, _):
        transport.set_write_buffer_limits(high, low)
        assert transport.get_write_buffer_limits() == limits
        with pytest.raises(ValueError, match="must be"):
            transport.set_write_buffer_limits(1, 2)


async def test_asyncio_streams(tailnet: LoopbackTailnet) -> None:
    async with await tailnet.listen(9) as listener:
        reader, writer = await open_connection(tailnet, "shop", 9)
        async with await listener.accept() as stream:
            writer.write(b"question\n")
            writer.write_eof()
            assert await read_all(stream) == b"question\n"
            await stream.send(b"answer\n")
        assert await reader.readline() == b"answer\n"
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
