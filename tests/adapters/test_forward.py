"""Raw TCP through a forward: bytes, half-closes and resets, towards the tailnet and from it."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.adapters.loopback import LoopbackTailnet, read_all
from tsnet.adapters.forward import MAX_PENDING, End, Forward, forward_local, forward_remote, relay
from tsnet.adapters.local import LocalListener, LocalStream, connect_local
from tsnet.edge.io.descriptors import BUDGET
from tsnet.errors import ConfigError

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def path(tailnet: LoopbackTailnet, direction: str, folder: Path) -> AsyncIterator[tuple[End, End]]:
    """A forward, the client that came through it and what it reached."""
    source: Any
    if direction == "local":
        source = await tailnet.listen(5432)
        forward = await forward_local(tailnet, "shop", 5432, local=str(folder / "s") if os.name == "posix" else 0)
    else:
        source = LocalListener(0)
        forward = await forward_remote(tailnet, 80, source.address)
    with anyio.fail_after(10):
        async with forward:
            client: Any
            if direction == "local":
                client = await connect_local(forward.address)
            else:
                assert (forward.address, forward.port) == ("100.64.0.1:80", 80)
                client = await tailnet.dial("shop", 80)
            server = await source.accept()
            try:
                yield client, server
            finally:
                client.abort()
                server.abort()
                await source.aclose()


@pytest.fixture(params=["local", "remote"])
def direction(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_bytes_and_half_closes_go_through(tailnet: LoopbackTailnet, direction: str, tmp_path: Path) -> None:
    request, response = os.urandom(2_000_000), os.urandom(2_000_000)

    async def send(end: End, data: bytes) -> None:
        await end.send(data)
        await end.send_eof()

    async with path(tailnet, direction, tmp_path) as (client, server), anyio.create_task_group() as tasks:
        tasks.start_soon(send, client, request)
        assert await read_all(server) == request
        tasks.start_soon(send, server, response)  # the other direction is still open
        assert await read_all(client) == response


@pytest.mark.parametrize("who", ["client", "server"])
async def test_a_reset_goes_through(tailnet: LoopbackTailnet, direction: str, tmp_path: Path, who: str) -> None:
    if direction == "local" and who == "client":
        pytest.skip("a Unix socket's end cannot be a reset")
    async with path(tailnet, direction, tmp_path) as (client, server):
        await client.send(b"x")
        assert await server.receive() == b"x"
        breaks, sees = (client, server) if who == "client" else (server, client)
        breaks.abort()
        expected: Any = anyio.BrokenResourceError
        if direction == "local":  # its client end is a Unix socket, which can only end
            expected = (anyio.BrokenResourceError, anyio.EndOfStream)
        with pytest.raises(expected):
            await sees.receive()


async def test_closing_the_forward_resets_what_is_open(tailnet: LoopbackTailnet) -> None:
    async with await tailnet.listen(5432) as listener:
        async with await forward_local(tailnet, "shop", 5432) as forward:
            assert forward.port
            client = await connect_local(forward.port)
            server = await listener.accept()
            await client.send(b"x")
            assert await server.receive() == b"x"
        with anyio.fail_after(10), pytest.raises(anyio.BrokenResourceError):
            await client.receive()
        with anyio.fail_after(10), pytest.raises(anyio.BrokenResourceError):
            await server.receive()
        with pytest.raises(ConnectionRefusedError):
            await connect_local(forward.port)
        await client.aclose()
        await server.aclose()


@pytest.mark.parametrize("direction", ["local", "remote"])
async def test_a_target_that_refuses_resets_the_client_and_is_logged(
    tailnet: LoopbackTailnet, direction: str, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]

    async def receive_once(port: int) -> None:
        client: Any = await (connect_local(port) if direction == "local" else tailnet.dial("shop", port))
        try:
            await client.receive()
        finally:
            await client.aclose()

    forward: Forward
    if direction == "local":
        forward = await forward_local(tailnet, "shop", 5432)
    else:
        forward = await forward_remote(tailnet, 80, free)
    with caplog.at_level(logging.WARNING, "tsnet.forward"):
        async with forward:
            assert forward.port
            with anyio.fail_after(10), pytest.raises((anyio.BrokenResourceError, ConnectionResetError)):
                await receive_once(forward.port)
    assert "nothing to forward to" in caplog.text


async def test_it_ends_when_the_node_closes_its_listener(tailnet: LoopbackTailnet) -> None:
    forward = await forward_remote(tailnet, 80, 1)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            await tasks.start(forward.run)
            await anyio.wait_all_tasks_blocked()
            await forward._source.aclose()
    assert tailnet.ports == {}


async def test_many_at_once(tailnet: LoopbackTailnet) -> None:
    async def echo(stream: Any) -> None:
        async with stream:
            await stream.send(await read_all(stream))

    async def ask(port: int, number: int) -> None:
        client = await connect_local(port)
        await client.send(b"%d" % number)
        await client.send_eof()
        assert await read_all(client) == b"%d" % number
        await client.aclose()

    async with await tailnet.listen(7) as listener, anyio.create_task_group() as serving:
        serving.start_soon(listener.serve, echo)
        async with await forward_local(tailnet, "shop", 7) as forward, anyio.create_task_group() as tasks:
            assert forward.port
            for number in range(50):
                tasks.start_soon(ask, forward.port, number)
        serving.cancel_scope.cancel()


async def test_a_target_without_sense_is_refused_before_listening(tailnet: LoopbackTailnet) -> None:
    with pytest.raises(ConfigError):
        await forward_remote(tailnet, 80, "nowhere")
    assert tailnet.ports == {}


class Silent:
    """Where forwarded connections come from, as many as asked for; nothing of them is ever read."""

    def __init__(self, peers: list[str]) -> None:
        self.ends = [Pending(peer) for peer in peers]
        self.left = list(self.ends)

    async def accept(self) -> Pending:
        if not self.left:
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        return self.left.pop(0)

    async def aclose(self) -> None:
        """Nothing is open."""


class Pending:
    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


async def test_one_peer_cannot_take_all_that_may_wait_for_a_slow_target(caplog: pytest.LogCaptureFixture) -> None:
    async def never(peer: object) -> Any:
        await anyio.sleep_forever()

    source = Silent(["greedy"] * 1000 + ["innocent"] * 3)
    forward = Forward(source, never, "here", 1)  # type: ignore[arg-type]
    async with anyio.create_task_group() as tasks:
        await tasks.start(forward.run)
        await anyio.wait_all_tasks_blocked()
        share = MAX_PENDING * 2 // 3
        assert [end.aborted for end in source.ends] == [False] * share + [True] * (1000 - share) + [False] * 3
        assert (forward.pending.of("greedy"), forward.pending.of("innocent")) == (share, 3)
        forward.close()
    assert forward.pending.taken == 0
    texts = [record.getMessage() for record in caplog.records if record.name == "tsnet.forward"]
    assert texts == [f"here: a connection was reset: {share} of its peer still wait for what they are forwarded to"]


async def test_refusals_are_said_once_a_minute_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    async def slow(peer: object) -> Any:
        raise TimeoutError

    source = Silent(["peer"] * 200)
    forward = Forward(source, slow, "here", 1)  # type: ignore[arg-type]
    async with anyio.create_task_group() as tasks:
        await tasks.start(forward.run)
        await anyio.wait_all_tasks_blocked()
        forward.close()
    assert all(end.aborted for end in source.ends)
    assert forward.pending.taken == 0
    texts = [record.getMessage() for record in caplog.records if record.name == "tsnet.forward"]
    assert texts == ["here: nothing to forward to: it did not answer in time"]


async def end_of(port: int) -> None:
    client = await connect_local(port)
    try:
        await client.receive()
    finally:
        client.abort()


async def test_a_local_forward_has_a_limit_of_its_own(
    tailnet: LoopbackTailnet, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        await tailnet.listen(5432) as listener,
        await forward_local(tailnet, "shop", 5432, max_connections=2) as forward,
    ):
        assert forward.port is not None
        clients = [await connect_local(forward.port) for _ in range(2)]
        servers = [await listener.accept() for _ in clients]
        with anyio.fail_after(10), pytest.raises((anyio.BrokenResourceError, ConnectionResetError)):
            await end_of(forward.port)
        opened: list[Any] = [*clients, *servers]
        for end in opened:
            end.abort()
        with anyio.fail_after(10):
            while forward.pending.taken or forward._open.taken:  # type: ignore[union-attr]
                await anyio.lowlevel.checkpoint()
        again = await connect_local(forward.port)
        server = await listener.accept()
        await again.send(b"x")
        assert await server.receive() == b"x"
        again.abort()
        await server.aclose()
    assert "as many are open as may be (max_connections=2)" in caplog.text


async def test_without_a_descriptor_a_connection_waits_for_one(
    tailnet: LoopbackTailnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the budget, or of the kernel's."""
    monkeypatch.setattr(BUDGET, "_limit", lambda: 4)
    one, two = BUDGET.borrow("other", 1), BUDGET.borrow("one more", 1)
    assert one is not None
    assert two is not None
    source = LocalListener(0)
    connecting: list[Any] = []

    async def connect() -> None:
        connecting.append(await connect_local(source.address, peer="peer"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connect)
        await anyio.wait_all_tasks_blocked()
        assert not connecting
        one.give_back()
    two.give_back()
    assert BUDGET.taken == 1
    accepted = await source.accept()
    assert BUDGET.taken == 2
    for end in (accepted, *connecting):
        end.abort()
    assert BUDGET.taken == 0
    await source.aclose()


@pytest.mark.parametrize("steps", range(12))
async def test_a_connection_that_ends_while_its_forward_closes_leaves_neither_end_open(steps: int) -> None:
    """At whatever moment the forward closes: some of these come between the two ends."""
    (here, one), (other, there) = socket.socketpair(), socket.socketpair()
    with here, there:
        here.shutdown(socket.SHUT_WR)
        there.shutdown(socket.SHUT_WR)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(relay, LocalStream(one), LocalStream(other))
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert (one.fileno(), other.fileno()) == (-1, -1)
