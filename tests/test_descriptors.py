"""A program with few descriptors, and a peer that opens twice as many connections as it has, and holds them.

The node lives, serves another peer meanwhile, serves all of them afterwards, and says once what was short.
"""

from __future__ import annotations

import errno
import functools
import os
import resource
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest

import tsnet
from tests import crowded
from tests.exhausted import none_left
from tests.guests import guest_of
from tsnet.adapters.local import LocalListener, connect_local
from tsnet.edge.io.store import MemoryStore
from tsnet.errors import Error
from tsnet.sockets.pairs import is_readable
from tsnet.testing.tailnet import Tailnet

ROOT = Path(__file__).parent.parent
SHORT = "descriptors are running out"
PATIENCE = 30.0
QUIET = 2.0
"""Seconds after which a crowd that has not grown will not grow any more."""

REQUEST = b"GET / HTTP/1.1\r\nHost: crowded\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module", autouse=True)
def many_descriptors() -> Iterator[None]:
    """Of this process, which plays all peers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def tailnet() -> Iterator[Tailnet]:
    with Tailnet() as tailnet:
        yield tailnet


@contextmanager
def program(tailnet: Tailnet, kind: str, limit: int, target: str, log: Path) -> Iterator[tuple[Any, str]]:
    command = [sys.executable, "-m", "tests.crowded", kind, str(limit), tailnet.control_url, tailnet.auth_key, target]
    with (
        log.open("wb") as said,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            cwd=ROOT,
            env=os.environ | {"HOME": str(log.parent)},
        ) as process,
    ):
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().decode().strip()
            process.terminate()  # the node logs out, so that the next one gets its name
            process.wait(10)
        finally:
            process.kill()


@asynccontextmanager
async def node(tailnet: Tailnet, name: str) -> AsyncIterator[tsnet.AsyncServer]:
    options: Any = guest_of(tailnet)
    async with tsnet.AsyncServer(name, state=MemoryStore(), **options) as server:
        yield server


class Crowd:
    """One peer's connections. dial: makes one."""

    def __init__(self, dial: Any) -> None:
        self._dial = dial
        self.held: list[Any] = []
        self.refused = 0

    async def one(self) -> None:
        try:
            connection = await self._dial()
            self.held.append(connection)
            await connection.send(b"G")
        except (Error, OSError, anyio.BrokenResourceError):
            self.refused += 1

    async def settle(self, count: int) -> None:
        """Until all have an answer, or none comes any more."""
        with anyio.move_on_after(PATIENCE):
            seen = -1
            while len(self.held) + self.refused not in (seen, count):
                seen = len(self.held) + self.refused
                await anyio.sleep(QUIET)

    def end(self) -> None:
        for connection in self.held:
            connection.abort()
        self.held.clear()


async def exchange(dial: Any, request: bytes, answer: bytes) -> None:
    """Until the answer is there; what is refused meanwhile is tried again."""
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                connection = await dial()
            except (Error, OSError):
                await anyio.sleep(0.1)
                continue
            try:
                await connection.send(request)
                data = b""
                while answer not in data:
                    data += await connection.receive()
                return
            except (anyio.BrokenResourceError, anyio.EndOfStream):
                await anyio.sleep(0.1)
            finally:
                connection.abort()


async def crowd(dial: Any, other: Any, count: int, request: bytes, answer: bytes) -> None:
    """Open that many connections, hold them, and see what others notice."""
    await exchange(other, request, answer)
    greedy = Crowd(dial)
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(greedy.one)
        if other is not dial:
            await exchange(other, request, answer)
        await greedy.settle(count)
        if other is not dial:
            await exchange(other, request, answer)
        tasks.cancel_scope.cancel()
    greedy.end()
    for peer in (other, dial):
        await exchange(peer, request, answer)


async def run(tailnet: Tailnet, kind: str, limit: int, target: str, log: Path) -> None:
    is_echo = kind in ("listen", "forward_remote", "forward_local")
    request, answer = (b"ping", b"ping") if is_echo else (REQUEST, crowded.ANSWER)
    async with (
        node(tailnet, "greedy") as greedy,
        node(tailnet, "innocent") as innocent,
        anyio.create_task_group() as tasks,
    ):
        dial: Any
        other: Any
        if kind == "forward_remote":
            source: Any = LocalListener(0)
            target = source.address
            tasks.start_soon(echo, source)
        elif kind == "forward_local":
            target = f"{innocent.name}:7"
            tasks.start_soon(echo, await innocent.listen(7, backlog=4096))
        with program(tailnet, kind, limit, target, log) as (process, where):
            assert where
            if kind == "forward_local":  # all programs of this machine are one to it
                dial = other = functools.partial(connect_local, where)
            else:
                dial = functools.partial(greedy.dial, crowded.NAME, crowded.PORT)
                other = functools.partial(innocent.dial, crowded.NAME, crowded.PORT)
            await crowd(dial, other, 2 * limit, request, answer)
            assert process.poll() is None
        tasks.cancel_scope.cancel()


async def echo(source: Any) -> None:
    async def one(connection: Any) -> None:
        try:
            while True:
                await connection.send(await connection.receive())
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            """Its peer has ended it."""
        finally:
            connection.abort()

    try:
        async with anyio.create_task_group() as tasks:
            while True:
                tasks.start_soon(one, await source.accept())
    finally:
        with anyio.CancelScope(shield=True):
            await source.aclose()


@pytest.mark.slow
@pytest.mark.parametrize("limit", [64, 128, 256, 1024])
@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("listen", ""),
        ("wsgi", ""),
        ("asgi", ""),
        ("forward_local", ""),
        ("forward_remote", ""),
        ("command", "FOLDER"),
        ("command", "tests.crowded:app"),
    ],
)
def test_a_peer_that_opens_twice_as_many_connections(
    tailnet: Tailnet, kind: str, target: str, limit: int, tmp_path: Path
) -> None:
    if target == "FOLDER":
        (tmp_path / "served").mkdir()
        (tmp_path / "served" / "index.html").write_bytes(crowded.ANSWER)
        target = str(tmp_path / "served")
    log = tmp_path / "log"
    anyio.run(run, tailnet, kind, limit, target, log)
    said = log.read_text()
    assert "Traceback" not in said, said
    assert said.count(SHORT) <= 1, said
    if kind != "asgi":
        assert said.count(SHORT) + said.count("was reset") >= 1, said


# --- the application's own calls --------------------------------------------------------------------------------


def blocking(tailnet: Tailnet, name: str) -> tsnet.Server:
    options: Any = guest_of(tailnet)
    return tsnet.Server(name, state=MemoryStore(), **options)


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc to count descriptors")


@needs_proc
def test_a_call_without_a_descriptor_is_an_error_and_leaves_nothing(tailnet: Tailnet) -> None:
    with blocking(tailnet, "one") as one, blocking(tailnet, "two") as two, two.listen(7):
        calls: list[Callable[[], socket.socket]] = [
            lambda: one.dial("two", 7),
            lambda: one.listen(80),
            lambda: one.listen_packet(53),
            lambda: one.dial_packet("two", 53),
        ]
        one.reachable()
        two.reachable()
        with none_left():
            for call in calls:
                with pytest.raises(tsnet.OutOfDescriptors, match="ulimit -n") as caught:
                    call()
                assert caught.value.errno == errno.EMFILE
        for call in calls:
            call().close()  # and the ports are free


@needs_proc
def test_a_node_that_cannot_begin_says_so_and_begins_later(tailnet: Tailnet) -> None:
    with blocking(tailnet, "first"):  # it runs, so that the process has its loop
        late = blocking(tailnet, "late")
        with none_left(), pytest.raises(tsnet.NotUp, match="ulimit -n"):
            late.up(timeout=10)
        late.up(timeout=10)
        assert late.name == "late"
        late.close()


@needs_proc
def test_a_connection_waits_while_there_is_no_descriptor_and_nothing_else_ends(tailnet: Tailnet) -> None:
    """Its dial does not wait: the handshake needs no descriptor."""

    async def main() -> None:
        with blocking(tailnet, "one") as one, one.listen(7) as listener:
            async with node(tailnet, "two") as two:
                await two.reachable()
                before = await two.dial("one", 7)
                accepted = listener.accept()[0]
                with none_left():
                    waiting = await two.dial("one", 7)
                    await before.send(b"still here")
                    assert accepted.recv(100) == b"still here"
                    assert not is_readable(listener)
                listener.settimeout(5)
                late = listener.accept()[0]
                await waiting.send(b"x")
                assert late.recv(1) == b"x"
                for end in (late, accepted):
                    end.close()
                for stream in (before, waiting):
                    await stream.aclose()

    anyio.run(main)
