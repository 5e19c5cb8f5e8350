from __future__ import annotations

import gc
import operator
import random
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import anyio.streams.tls
import pytest
import trio
import trio.testing

import tsnet
from tests.authority import issue
from tests.virtual import VirtualTailnet
from tsnet.edge.io.store import MemoryStore
from tsnet.errors import ConfigError, DialRefused, MessageTooLong, NotUp
from tsnet.testing.tailnet import Tailnet

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
PORT = 7000


class Streams(VirtualTailnet):
    """Nodes a and b; pairs of connected streams, which it closes at the end."""

    async def __aenter__(self) -> Streams:
        await super().__aenter__()
        self._made: list[tsnet.Stream] = []
        self.a, self.b = self.server("a"), self.server("b")
        await self.a.up()
        await self.b.up()
        self.listener = await self.a.listen(PORT)
        return self

    async def __aexit__(self, *exc: object) -> None:
        with anyio.CancelScope(shield=True):
            for stream in self._made:
                await stream.aclose()
            await self.a.close()
            await self.b.close()
        await super().__aexit__(*exc)

    async def pair(self) -> tuple[tsnet.Stream, tsnet.Stream]:
        """(the dialled end, the accepted one)."""
        dialled = await self.dial()
        return dialled, await self.accept()

    async def dial(self) -> tsnet.Stream:
        self._made.append(await self.b.dial("a", PORT))
        return self._made[-1]

    async def accept(self) -> tsnet.Stream:
        self._made.append(await self.listener.accept())
        return self._made[-1]


def run(test: Callable[[Streams], Awaitable[None]], backend: str) -> None:
    async def main() -> None:
        async with Streams() as streams:
            await test(streams)

    anyio.run(main, backend=backend)


async def blocked(task: Callable[[], Awaitable[Any]], group: anyio.abc.TaskGroup, errors: list[BaseException]) -> None:
    """Start a task, and wait until it waits; its exception goes to the list."""

    async def catch() -> None:
        try:
            await task()
        except Exception as error:
            errors.append(error)

    group.start_soon(catch)
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


# --- bytes and ends ---------------------------------------------------------------------------------------------


@BACKENDS
def test_bytes_both_ways_at_once(backend: str) -> None:
    payload = random.Random(1).randbytes(1_000_000)

    async def read_all(stream: tsnet.Stream) -> bytes:
        received = bytearray()
        async for data in stream:
            received += data
        return bytes(received)

    async def test(streams: Streams) -> None:
        results: list[bytes] = []

        async def talk(stream: tsnet.Stream) -> None:
            async def send() -> None:
                await stream.send(payload)
                await stream.send_eof()

            async with stream, anyio.create_task_group() as group:
                group.start_soon(send)
                results.append(await read_all(stream))

        async with anyio.create_task_group() as group:
            for stream in await streams.pair():
                group.start_soon(talk, stream)
        assert results == [payload, payload]

    run(test, backend)


@BACKENDS
def test_at_most_what_is_asked_for_then_the_end_again_and_again(backend: str) -> None:
    async def test(streams: Streams) -> None:
        left, right = await streams.pair()
        await left.send(b"abcdef")
        await left.aclose()
        assert await right.receive(4) == b"abcd"
        assert await right.receive(4) == b"ef"
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await right.receive()

    run(test, backend)


@BACKENDS
def test_a_reset_is_broken_with_its_cause(backend: str) -> None:
    async def test(streams: Streams) -> None:
        left, right = await streams.pair()
        left.abort()
        with pytest.raises(anyio.BrokenResourceError) as broken:
            await right.receive()
        assert isinstance(broken.value.__cause__, tsnet.StreamReset)
        with pytest.raises(anyio.BrokenResourceError):
            await right.send(b"x")
        with pytest.raises(anyio.ClosedResourceError):
            await left.receive()

    run(test, backend)


@BACKENDS
def test_the_node_closes_under_a_stream(backend: str) -> None:
    async def test(streams: Streams) -> None:
        left, _ = await streams.pair()
        await streams.b.close()
        for use in (left.receive, lambda: left.send(b"x")):
            with pytest.raises(anyio.BrokenResourceError) as broken:
                await use()
            assert isinstance(broken.value.__cause__, NotUp)

    run(test, backend)


# --- one reader, one writer -------------------------------------------------------------------------------------


@BACKENDS
def test_two_readers_or_writers_are_busy(backend: str) -> None:
    async def test(streams: Streams) -> None:
        left, _ = await streams.pair()
        errors: list[BaseException] = []
        async with anyio.create_task_group() as group:
            await blocked(left.receive, group, errors)
            with pytest.raises(anyio.BusyResourceError):
                await left.receive()
            await blocked(lambda: left.send(bytes(20_000_000)), group, errors)
            with pytest.raises(anyio.BusyResourceError):
                await left.send(b"x")
            await left.aclose()
        assert [type(error) for error in errors] == [anyio.ClosedResourceError] * 2

    run(test, backend)


@BACKENDS
def test_close_wakes_whoever_waits(backend: str) -> None:
    async def test(streams: Streams) -> None:
        for end in ("aclose", "abort", "send_eof"):
            left, _ = await streams.pair()
            errors: list[BaseException] = []
            async with anyio.create_task_group() as group:
                if end != "send_eof":
                    await blocked(left.receive, group, errors)
                await blocked(lambda: left.send(bytes(20_000_000)), group, errors)  # noqa: B023
                result = getattr(left, end)()
                if result is not None:
                    await result
            assert {type(error) for error in errors} == {anyio.ClosedResourceError}

    run(test, backend)


@BACKENDS
def test_a_cancelled_receive_loses_nothing(backend: str) -> None:
    async def test(streams: Streams) -> None:
        left, right = await streams.pair()
        with anyio.move_on_after(0):
            await right.receive()
        for _ in range(5):
            async with anyio.create_task_group() as group:
                group.start_soon(right.receive)
                for _ in range(3):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
        await left.send(b"all of it")
        assert await right.receive() == b"all of it"

    run(test, backend)


@BACKENDS
def test_a_slow_reader_is_felt_by_the_sender(backend: str) -> None:
    async def test(streams: Streams) -> None:
        left, right = await streams.pair()
        sent = anyio.Event()

        async def send() -> None:
            await left.send(bytes(20_000_000))
            sent.set()

        async with anyio.create_task_group() as group:
            group.start_soon(send)
            await streams.sleep(30)
            assert not sent.is_set()
            received = 0
            while received < 20_000_000:
                received += len(await right.receive(1 << 20))
        assert sent.is_set()

    run(test, backend)


class Face(trio.abc.HalfCloseableStream):
    """A stream as trio's own check wants it."""

    def __init__(self, stream: tsnet.Stream) -> None:
        self.stream = stream

    async def _translated(self, call: Awaitable[Any]) -> Any:
        try:
            return await call
        except anyio.ClosedResourceError:
            raise trio.ClosedResourceError from None
        except anyio.BrokenResourceError as error:
            raise trio.BrokenResourceError from error
        except anyio.BusyResourceError as error:
            raise trio.BusyResourceError from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._translated(self.stream.send(bytes(data)))

    async def wait_send_all_might_not_block(self) -> None:
        await self._translated(self.stream.send(b""))

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        try:
            data: bytes = await self._translated(self.stream.receive(max_bytes or 65_536))
        except anyio.EndOfStream:
            return b""
        return data

    async def send_eof(self) -> None:
        await self._translated(self.stream.send_eof())

    async def aclose(self) -> None:
        await self.stream.aclose()


def test_trio_finds_it_conformant() -> None:
    async def main() -> None:
        async with Tailnet() as tailnet, node(tailnet, "a") as a, node(tailnet, "b") as b, await a.listen(PORT) as ear:

            async def make() -> tuple[Face, Face]:
                dialled = await b.dial("a", PORT)
                return Face(dialled), Face(await ear.accept())

            with trio.fail_after(40):
                await trio.testing.check_half_closeable_stream(make, None)

    trio.run(main)


def node(tailnet: Tailnet, name: str) -> tsnet.AsyncServer:
    """With a thread of its own: what trio checks needs a loop that can be idle."""
    return tsnet.AsyncServer(
        name, control_url=tailnet.control_url, auth_key=tailnet.auth_key, state=MemoryStore(), ephemeral=True
    )


@BACKENDS
def test_tls_over_it(backend: str) -> None:
    authority = issue(is_authority=True)
    server = issue(["a.tailnet.test"], by=authority).server_context()
    client = authority.client_context()

    async def test(streams: Streams) -> None:
        left, right = await streams.pair()

        async def serve() -> None:
            async with await anyio.streams.tls.TLSStream.wrap(right, server_side=True, ssl_context=server) as stream:
                await stream.send((await stream.receive()).upper())

        async with anyio.create_task_group() as group:
            group.start_soon(serve)
            wrapped = await anyio.streams.tls.TLSStream.wrap(left, hostname="a.tailnet.test", ssl_context=client)
            await wrapped.send(b"secret")
            assert await wrapped.receive() == b"SECRET"
            with pytest.raises(anyio.EndOfStream):
                await wrapped.receive()
            await wrapped.aclose()

    run(test, backend)


# --- what it says of itself -------------------------------------------------------------------------------------


@BACKENDS
def test_addresses_attributes_and_info(backend: str) -> None:
    async def test(streams: Streams) -> None:
        left, right = await streams.pair()
        assert left.remote_address == (str(streams.a.addresses[0]), PORT) == right.local_address
        attribute = anyio.abc.SocketAttribute
        assert left.extra(attribute.remote_port) == PORT
        assert left.extra(attribute.local_address) == left.local_address
        assert left.info().state == "ESTABLISHED"
        assert not left.readable
        await right.send(b"x")
        await streams.sleep(1)
        assert left.readable
        assert (
            repr(left) == f"<Stream {left.local_address[0]}:{left.local_address[1]} - {streams.a.addresses[0]}:{PORT}>"
        )
        await left.aclose()
        assert "closed" in repr(left)
        assert left.readable

    run(test, backend)


# --- listeners --------------------------------------------------------------------------------------------------


@BACKENDS
def test_serve_handles_each_until_the_listener_closes(backend: str) -> None:
    async def test(streams: Streams) -> None:
        async def echo(stream: Any) -> None:
            async for data in stream:
                await stream.send(data)

        ended = anyio.Event()

        async def serve() -> None:
            await streams.listener.serve(echo)
            ended.set()

        async with anyio.create_task_group() as group:
            group.start_soon(serve)
            for number in range(3):
                async with await streams.b.dial("a", PORT) as stream:
                    await stream.send(b"%d" % number)
                    assert await stream.receive() == b"%d" % number
            await streams.listener.aclose()
        assert ended.is_set()
        with pytest.raises(anyio.ClosedResourceError):
            await streams.listener.accept()
        assert "closed" in repr(streams.listener)

    run(test, backend)


@BACKENDS
def test_serve_and_iteration_end_with_the_node_and_accept_says_so(backend: str) -> None:
    async def test(streams: Streams) -> None:
        other = await streams.a.listen(PORT + 1)
        third = await streams.a.listen(PORT + 2)
        errors: list[BaseException] = []

        async def iterate() -> None:
            async for _ in other:
                pass

        async with anyio.create_task_group() as group:
            await blocked(lambda: streams.listener.serve(lambda _: anyio.lowlevel.checkpoint()), group, errors)
            await blocked(iterate, group, errors)
            await blocked(third.accept, group, errors)
            await streams.a.close()
        assert [type(error) for error in errors] == [NotUp]
        assert third._pipe.error is not None
        assert third._pipe.error.__traceback__ is None

    run(test, backend)


@BACKENDS
def test_a_cancelled_accept_leaves_the_connection_to_the_next(backend: str) -> None:
    async def test(streams: Streams) -> None:
        accepted: list[tsnet.Stream] = []

        async def accept() -> None:
            accepted.append(await streams.accept())

        async with anyio.create_task_group() as group, anyio.create_task_group() as first:
            first.start_soon(accept)
            group.start_soon(accept)
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            await streams.dial()
            first.cancel_scope.cancel()
        assert len(accepted) == 1

    run(test, backend)


@BACKENDS
def test_addresses_of_a_listener(backend: str) -> None:
    async def test(streams: Streams) -> None:
        assert streams.listener.port == PORT
        assert streams.listener.addresses == tuple((str(address), PORT) for address in streams.a.addresses)
        assert streams.listener.extra(anyio.abc.SocketAttribute.local_port) == PORT

    run(test, backend)


# --- datagrams --------------------------------------------------------------------------------------------------


@BACKENDS
def test_datagrams(backend: str) -> None:
    async def test(streams: Streams) -> None:
        async with await streams.a.listen_packet(53) as server, await streams.b.dial_packet("a", 53) as client:
            await client.send(b"question")
            data, sender = await server.receive_from()
            assert (data, sender) == (b"question", client.local_address[:1] + sender[1:])
            await server.send_to(b"answer", sender)
            assert await client.receive() == b"answer"
            with pytest.raises(MessageTooLong):
                await client.send(bytes(65_508))
            with pytest.raises(ConfigError):
                await server.send(b"to whom?")
            assert "53" in repr(server)

    run(test, backend)


@BACKENDS
def test_datagrams_end_with_the_connection_or_the_node(backend: str) -> None:
    async def test(streams: Streams) -> None:
        closed, left = await streams.a.listen_packet(53), await streams.a.listen_packet(54)
        errors: list[BaseException] = []

        async def iterate() -> None:
            async for _ in await streams.a.listen_packet(55):
                pass

        async with anyio.create_task_group() as group:
            await blocked(closed.receive_from, group, errors)
            with pytest.raises(anyio.BusyResourceError):
                await closed.receive_from()
            await blocked(left.receive_from, group, errors)
            await blocked(iterate, group, errors)
            await closed.aclose()
            await streams.a.close()
        assert {type(error) for error in errors} == {anyio.ClosedResourceError, NotUp}
        with pytest.raises(NotUp):
            await left.send_to(b"x", ("100.64.0.1", 1))
        with pytest.raises(anyio.ClosedResourceError):
            await closed.send_to(b"x", ("100.64.0.1", 1))

    run(test, backend)


@BACKENDS
def test_nobody_listens_on_a_dialled_udp_port(backend: str) -> None:
    async def test(streams: Streams) -> None:
        async with await streams.b.dial_packet("a", 9) as client:
            await client.send(b"anyone?")
            with pytest.raises(DialRefused):
                await client.receive()

    run(test, backend)


# --- dropped without a close ------------------------------------------------------------------------------------


@BACKENDS
def test_a_dropped_stream_is_warned_of_and_ends(backend: str) -> None:
    async def test(streams: Streams) -> None:
        dialled = await streams.b.dial("a", PORT)
        accepted = await streams.accept()
        await dialled.send(b"last words")
        dropped = [dialled]
        del dialled
        with pytest.warns(ResourceWarning, match="unclosed <Stream .*: use `async with`"):
            dropped.clear()
        with anyio.fail_after(10):
            assert [data async for data in accepted] == [b"last words"]

    run(test, backend)


@BACKENDS
def test_a_dropped_listener_and_packet_conn_are_warned_of_and_free_their_ports(backend: str) -> None:
    async def test(streams: Streams) -> None:
        for listen in (streams.a.listen, streams.a.listen_packet):
            held = [await listen(53)]
            with pytest.warns(ResourceWarning, match=r"unclosed <(Listener|PacketConn) .*53>"):
                held.clear()
            async with await listen(53):
                pass

    run(test, backend)


@BACKENDS
def test_what_is_over_already_may_be_dropped(backend: str) -> None:
    """Nothing of it is open: it broke, ended in both directions, became a socket, or its node was closed."""

    async def test(streams: Streams) -> None:
        dialled, accepted = await streams.b.dial("a", PORT), await streams.accept()
        accepted.abort()
        with pytest.raises(anyio.BrokenResourceError):
            await dialled.receive()
        del dialled
        dialled, accepted = await streams.b.dial("a", PORT), await streams.accept()
        for one, other in ((dialled, accepted), (accepted, dialled)):
            await one.send_eof()
            with pytest.raises(anyio.EndOfStream):
                await other.receive()
        del dialled, one, other
        held = [await streams.b.dial("a", PORT), await streams.b.listen(1), await streams.b.listen_packet(1)]
        await streams.accept()
        await streams.b.close()
        held.clear()
        gc.collect()

    run(test, backend)


@BACKENDS
def test_path_and_round_trip_time_are_attributes(backend: str) -> None:
    async def test(streams: Streams) -> None:
        dialled, accepted = await streams.pair()
        await streams.until(lambda: dialled.path.is_direct and accepted.path.is_direct)
        assert dialled.extra(tsnet.StreamAttribute.path) == dialled.path
        assert dialled.path.address
        assert dialled.extra(tsnet.StreamAttribute.rtt) == dialled.info().srtt > 0
        listener = await streams.b.listen(PORT)
        async with await streams.b.dial("b", PORT) as own, await listener.accept() as other, listener:
            assert not own.path
            assert not other.path

    run(test, backend)
