from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.adapters.loopback import read_all
from tsnet.adapters.local import LocalListener, LocalStream, Target, connect_local, split
from tsnet.errors import ConfigError

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["tcp", "unix"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    return 0 if request.param == "tcp" else str(tmp_path / "s.sock")


async def pair(where: Target) -> tuple[LocalListener, LocalStream, LocalStream]:
    listener = LocalListener(where)
    one = await connect_local(listener.address)
    return listener, one, await listener.accept()


async def test_megabytes_and_half_closes(where: Target) -> None:
    listener, one, other = await pair(where)
    data = os.urandom(3_000_000)

    async def send() -> None:
        await one.send(data)
        await one.send_eof()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        assert await read_all(other) == data
    await other.send(b"answer")
    await other.aclose()
    assert await read_all(one) == b"answer"
    await one.aclose()
    await listener.aclose()


async def test_an_abort_is_a_reset(where: Target) -> None:
    listener, one, other = await pair(where)
    one.abort()
    one.abort()
    with anyio.fail_after(10):
        if listener.port is None:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await other.receive()
        else:
            with pytest.raises(anyio.BrokenResourceError):
                await other.receive()
    await other.aclose()
    await listener.aclose()


async def test_a_closed_stream_says_so(where: Target) -> None:
    listener, one, other = await pair(where)
    await one.aclose()
    for call in (one.receive(), one.send(b"x"), one.send_eof()):
        with pytest.raises(anyio.ClosedResourceError):
            await call
    await other.aclose()
    await listener.aclose()
    with pytest.raises(anyio.ClosedResourceError):
        await listener.accept()


async def test_a_slow_reader_is_felt(where: Target) -> None:
    listener, one, other = await pair(where)
    with anyio.move_on_after(0.05) as scope:
        while True:
            await one.send(bytes(1_000_000))
    assert scope.cancelled_caught
    one.abort()
    other.abort()
    await listener.aclose()


async def test_addresses_are_what_a_client_is_told(tmp_path: Path) -> None:
    listener = LocalListener("127.0.0.1:0")
    assert listener.address == f"127.0.0.1:{listener.port}"
    await listener.aclose()
    unix = LocalListener(str(tmp_path / "s"))
    assert (unix.address, unix.port) == (str(tmp_path / "s"), None)
    await unix.aclose()


async def test_a_unix_socket_is_private_and_goes_with_its_listener(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listener = LocalListener(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await listener.aclose()
    await listener.aclose()
    assert not path.exists()


async def test_a_stale_socket_file_is_replaced_a_living_one_and_a_file_are_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listener = LocalListener(str(path))
    with pytest.raises(OSError, match="in use"):
        LocalListener(str(path))
    await listener.aclose()
    path.write_text("mine")
    with pytest.raises(OSError, match="in use"):
        LocalListener(str(path))
    assert path.read_text() == "mine"


class Short(socket.socket):
    """A listening socket in a process that is short of descriptors, twice."""

    failures = 2

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


async def test_without_descriptors_those_who_come_wait() -> None:
    """A forward must not end because the process was short of descriptors for a moment."""
    listener = LocalListener(0)
    listener._socket = Short(fileno=listener._socket.detach())
    one = await connect_local(listener.address)
    with anyio.fail_after(5):
        other = await listener.accept()
    await one.send(b"here")
    assert await other.receive() == b"here"
    for end in (one, other, listener):
        await end.aclose()


async def test_nobody_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await connect_local(port)
    with pytest.raises(FileNotFoundError):
        await connect_local(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("where", "parts"),
    [
        (3000, ("127.0.0.1", 3000)),
        ("3000", ("127.0.0.1", 3000)),
        (":3000", ("127.0.0.1", 3000)),
        ("localhost:3000", ("localhost", 3000)),
        ("[::1]:3000", ("::1", 3000)),
    ],
)
async def test_targets_in_each_form(where: Target, parts: tuple[str, int]) -> None:
    assert split(where) == parts


@pytest.mark.parametrize("where", ["localhost", "host:", "host:http", "1:70000", "-1", ""])
async def test_targets_without_sense(where: str) -> None:
    with pytest.raises(ConfigError, match="no port"):
        split(where)
