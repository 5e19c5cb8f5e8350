"""Servers and loops that use the descriptor below Python: uvloop, uvicorn, hypercorn, gunicorn, trio."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sockets.node import LOCAL, MemoryPipe, NodeThread, connect
from tests.sockets.test_datagrams import Bridged
from tsnet.sockets import Backlog, ListeningSocket, listening, pairs
from tsnet.sockets.caller import caller_of

pytestmark = pytest.mark.skipif(not pairs.HAVE_UNIX, reason="needs AF_UNIX")

REQUEST = b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"
REMOTE = ("100.64.0.9", 7)


class Listener:
    """A listening socket, and a caller who sends one request. gone: the application has closed it."""

    def __init__(self, node: NodeThread) -> None:
        self.node, self.gone = node, threading.Event()
        self.socket: ListeningSocket
        self.backlog: Backlog
        self.socket, self.backlog = listening(LOCAL, node.reactor, self.gone.set)

    def ask(self, data: bytes) -> bytes:
        """What comes back until the server ends the connection."""
        pipe = MemoryPipe(remote=REMOTE)
        pipe.incoming += data
        assert self.node.call(lambda: self.backlog.offer(pipe, lambda: None))
        self.node.until(lambda: "eof" in pipe.log or "close" in pipe.log)
        return self.node.take(pipe)


@pytest.fixture
def listener(node: NodeThread) -> Listener:
    return Listener(node)


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def run_with(loop: str, main: Callable[[], Any]) -> Any:
    if loop == "uvloop":
        with asyncio.Runner(loop_factory=pytest.importorskip("uvloop").new_event_loop) as runner:
            return runner.run(main())
    return asyncio.run(main())


LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@LOOPS
def test_start_server_takes_the_socket(listener: Listener, loop: str) -> None:
    pytest.importorskip(loop)
    peers: list[Any] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername"))
        writer.write(await reader.read(100))
        writer.close()

    async def main() -> bytes:
        async with await asyncio.start_server(answer, sock=listener.socket):
            return await asyncio.to_thread(listener.ask, b"ping")

    assert run_with(loop, main) == b"ping"
    assert peers == [REMOTE] if loop == "asyncio" else caller_of(peers[0]).remote == REMOTE
    listener.socket.close()


@LOOPS
def test_open_connection_takes_the_socket(node: NodeThread, loop: str) -> None:
    pytest.importorskip(loop)
    pipe, application = connect(node)

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection(sock=application)
        await asyncio.to_thread(node.arrive, pipe, b"hello", end=True)
        data = await reader.read()
        writer.close()
        return data

    assert run_with(loop, main) == b"hello"


@LOOPS
def test_below_a_loop_the_addresses_stay_those_of_the_tailnet(listener: Listener, loop: str) -> None:
    pytest.importorskip(loop)

    async def main() -> tuple[Any, Any]:
        return listener.socket.getsockname(), listener.socket.family

    below = socket.AF_UNIX if loop == "uvloop" else socket.AF_INET
    assert run_with(loop, main) == (LOCAL, below)
    assert listener.socket.family == socket.AF_INET
    listener.socket.close()


@LOOPS
@pytest.mark.parametrize("how", ["sockets", "fd"])
def test_uvicorn(listener: Listener, loop: str, how: str) -> None:
    pytest.importorskip(loop)
    uvicorn = pytest.importorskip("uvicorn")
    fd = listener.socket.fileno() if how == "fd" else None
    server = uvicorn.Server(uvicorn.Config(asgi, loop=loop, fd=fd, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": None if fd else [listener.socket]})
    thread.start()
    answer = listener.ask(REQUEST)
    server.should_exit = True
    thread.join(10)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    listener.socket.close()


def test_hypercorn_takes_a_descriptor(listener: Listener) -> None:
    hypercorn = pytest.importorskip("hypercorn.asyncio")
    config = pytest.importorskip("hypercorn.config").Config()
    config.bind = [f"fd://{os.dup(listener.socket.fileno())}"]  # it closes what it is given

    async def main() -> bytes:
        done = asyncio.Event()
        serving = asyncio.ensure_future(hypercorn.serve(asgi, config, shutdown_trigger=done.wait))
        answer = await asyncio.to_thread(listener.ask, REQUEST)
        done.set()
        await serving
        return answer

    assert asyncio.run(main()).startswith(b"HTTP/1.1 200")
    listener.socket.close()


def test_trio_takes_a_plain_socket_with_the_descriptor(node: NodeThread) -> None:
    trio = pytest.importorskip("trio")
    pipe, application = connect(node)

    async def main() -> bytes:
        with trio.socket.from_stdlib_socket(socket.socket(fileno=application.detach())) as sock:
            await sock.send(b"x")
            await trio.to_thread.run_sync(node.arrive, pipe, b"hello")
            data: bytes = await sock.recv(100)
            return data

    assert trio.run(main) == b"hello"
    node.until(lambda: bytes(pipe.outgoing) == b"x" and "close" in pipe.log)


APP = "def app(environ, start):\n    start('200 OK', [('Content-Length', '2')])\n    return [b'ok']\n"


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["sync", "gthread"])
def test_gunicorn_takes_a_descriptor(listener: Listener, tmp_path: Path, workers: str) -> None:
    pytest.importorskip("gunicorn")
    (tmp_path / "wsgi_app.py").write_text(APP)
    number = listener.socket.fileno()
    command = [sys.executable, "-m", "gunicorn", "-k", workers, "-w", "2", "--bind", f"fd://{number}", "wsgi_app:app"]
    child = subprocess.Popen(command, cwd=tmp_path, pass_fds=[number], stderr=subprocess.DEVNULL)
    try:
        assert listener.ask(REQUEST).startswith(b"HTTP/1.1 200 OK")
    finally:
        child.terminate()
        child.wait(20)
    assert not listener.gone.is_set()
    listener.socket.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_server_in_uvloop_comes_to_rest_when_the_node_is_closed(listener: Listener) -> None:
    pytest.importorskip("uvloop")
    ended = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal ended
        ended += not await reader.read(100)
        writer.close()

    async def main() -> float:
        async with await asyncio.start_server(answer, sock=listener.socket):
            await asyncio.to_thread(listener.node.call, listener.backlog.close)
            while pairs.is_readable(listener.socket) or not ended:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            began = time.process_time()
            await asyncio.sleep(0.1)
            return time.process_time() - began

    assert run_with("uvloop", main) < 0.05
    assert ended >= 1
    listener.socket.close()


def test_uvloop_refuses_a_datagram_socket_aloud() -> None:
    uvloop = pytest.importorskip("uvloop")
    bridged = Bridged()

    async def main() -> None:
        with pytest.raises(ValueError, match="UDP Socket was expected"):
            await asyncio.get_running_loop().create_datagram_endpoint(asyncio.DatagramProtocol, sock=bridged.socket)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    bridged.close()
