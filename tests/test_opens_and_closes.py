"""Everything that can be opened can be opened and closed for ever: descriptors, threads, objects and memory stay flat.

Each case is one cycle, and runs some dozens of times; five times as often as `slow`, and 10,000 times under
TSNET_NIGHTLY=1.

What is kept for a while and has a bound of its own is kept for a moment here: TIME_WAIT, the UDP flows of a packet
filter, trio's past deadlines, and the log records that pytest shows.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

import tsnet
from tests.footprint import PATIENCE, Watch
from tsnet.testing import Tailnet

ROOT = Path(__file__).parent.parent
NIGHTLY = os.environ.get("TSNET_NIGHTLY") == "1"
PORT, PACKETS = 7, 8
POLLS = 100
WARM_UP = 500
"""Cycles, at most, before the first count: what is made once and kept is there by then."""
TRIES = 2
"""What leaks does so again. What was made once, and by chance just then (a cache, a thread of a pool), does not."""


Cycle = Callable[["Place"], None]
AsyncCycle = Callable[["Place"], Awaitable[None]]


@attrs.frozen
class Place:
    """A tailnet with two nodes; `a_here` and `a_there` are the same ones for tasks. They listen at PORT of `there`, and
    at a UDP port of the same number there. ask: an HTTP client of this machine."""

    options: dict[str, Any]
    here: tsnet.Server
    there: tsnet.Server
    a_here: tsnet.AsyncServer
    a_there: tsnet.AsyncServer
    listening: socket.socket
    datagrams: socket.socket

    def guest(self) -> tsnet.Server:
        return tsnet.Server("guest", **self.options)


TAILNET = """
import sys
from tsnet.testing import Tailnet

with Tailnet() as tailnet:
    print(tailnet.control_url, tailnet.auth_key, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def tailnet_elsewhere() -> Iterator[dict[str, Any]]:
    """In another process: control keeps some things for a minute, and here is asked what nodes keep."""
    command = [sys.executable, "-c", TAILNET]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        control_url, auth_key = process.stdout.readline().split()
        yield {"control_url": control_url, "auth_key": auth_key, "ephemeral": True}
        process.stdin.close()


@pytest.fixture(scope="module")
def nothing_kept() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("netstack.tcp.timewait.TIME_WAIT_TIMEOUT", 0.01)
        patch.setattr("tsnet.netmap.packetfilter.FLOWS_KEPT", 8)
        patch.setattr("tsnet.netmap.filterrules.DECISIONS_KEPT", 8)
        patch.setattr("trio._core._run.DEADLINE_HEAP_MIN_PRUNE_THRESHOLD", 0)
        logging.disable()
        yield
        logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def place(nothing_kept: None, tailnet_elsewhere: dict[str, Any]) -> Iterator[Place]:
    with (
        tsnet.Server("here", **tailnet_elsewhere) as here,
        tsnet.Server("there", **tailnet_elsewhere) as there,
        there.listen(PORT) as listening,
        there.listen_packet(PORT) as datagrams,
    ):
        there.reachable()
        a_here, a_there = tsnet.AsyncServer._of(here), tsnet.AsyncServer._of(there)
        yield Place(tailnet_elsewhere, here, there, a_here, a_there, listening, datagrams)


# --- blocking ---------------------------------------------------------------------------------------------------


def server(place: Place) -> None:
    with place.guest():
        pass


def server_never_up(place: Place) -> None:
    place.guest().close()


def server_dropped(place: Place) -> None:
    place.guest()


def server_refused(place: Place) -> None:
    with pytest.raises(tsnet.AuthKeyRejected), tsnet.Server("guest", **{**place.options, "auth_key": "wrong"}):
        pass


def tailnet(place: Place) -> None:
    with Tailnet():
        pass


def tailnet_kept(place: Place) -> None:
    with tempfile.TemporaryDirectory() as folder, Tailnet(state=folder):
        pass


def dialled_and_accepted(place: Place) -> None:
    with place.here.dial("there", PORT) as dialled, place.listening.accept()[0] as accepted:
        dialled.sendall(b"ping")
        assert accepted.recv(4) == b"ping"
        accepted.shutdown(socket.SHUT_WR)
        assert dialled.recv(1) == b""


def refused(place: Place) -> None:
    with pytest.raises(tsnet.DialRefused):
        place.here.dial("there", 9)


def copied(place: Place) -> None:
    with place.here.dial("there", PORT) as dialled, place.listening.accept()[0], dialled.dup():
        pass


def listening_socket(place: Place) -> None:
    place.there.listen(0).close()


def listener_with_a_caller(place: Place) -> None:
    with place.there.listen(0) as listening, place.here.dial("there", listening.getsockname()[1]):
        pass


def datagram_sockets(place: Place) -> None:
    with place.here.dial_packet("there", PORT) as dialled:
        dialled.send(b"ping")
        data, address = place.datagrams.recvfrom(100)
        place.datagrams.sendto(data, address)
        assert dialled.recv(100) == b"ping"


def datagram_listener(place: Place) -> None:
    place.there.listen_packet(0).close()


def forward_local(place: Place) -> None:
    with place.here.forward_local("there", PORT) as forward:
        assert forward.port is not None
        pass_through(("127.0.0.1", forward.port), place.listening)


def forward_remote(place: Place) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as local,
        place.there.forward_remote(0, local.getsockname()[1]) as forward,
    ):
        assert forward.port is not None
        with place.here.dial("there", forward.port) as dialled, local.accept()[0] as accepted:
            dialled.sendall(b"ping")
            assert accepted.recv(4) == b"ping"


def pass_through(address: tuple[str, int], listening: socket.socket) -> None:
    with socket.create_connection(address) as local, listening.accept()[0] as accepted:
        local.sendall(b"ping")
        assert accepted.recv(4) == b"ping"


def serve_wsgi(place: Place) -> None:
    with place.there.serve_wsgi(wsgi, 0, block=False) as serving:
        get(place, serving.port)


def serve_asgi(place: Place) -> None:
    with place.there.serve_asgi(asgi, 0, block=False) as serving:
        get(place, serving.port)


def get(place: Place, port: int | None) -> None:
    assert port is not None
    with place.here.dial("there", port) as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nHost: there\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := stream.recv(4096):
            answer += data
    assert answer.endswith(b"ok")


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def events(place: Place) -> None:
    with place.here.events():
        pass


def events_dropped(place: Place) -> None:
    place.here.events()


def events_of_a_closed_node(place: Place) -> None:
    guest = place.guest()
    guest.close()
    assert list(guest.events()) == []


def httpx_client(place: Place) -> None:
    with place.there.serve_wsgi(wsgi, block=False), place.here.httpx_client() as client:
        assert client.get("http://there/").text == "ok"


BLOCKING: dict[Cycle, int] = {
    server: 12,
    server_never_up: 50,
    server_dropped: 50,
    server_refused: 12,
    tailnet: 20,
    tailnet_kept: 12,
    dialled_and_accepted: 50,
    copied: 50,
    refused: 50,
    listening_socket: 200,
    listener_with_a_caller: 50,
    datagram_sockets: 100,
    datagram_listener: 200,
    forward_local: 50,
    forward_remote: 50,
    serve_wsgi: 30,
    serve_asgi: 20,
    events: 200,
    events_dropped: 200,
    events_of_a_closed_node: 50,
    httpx_client: 20,
}
"""How often in a short run, which is to take less than a second."""


# --- asynchronous -----------------------------------------------------------------------------------------------


async def async_server(place: Place) -> None:
    async with tsnet.AsyncServer("guest", **place.options):
        pass


async def async_tailnet(place: Place) -> None:
    async with Tailnet():
        pass


async def stream(place: Place) -> None:
    async with (
        await place.a_there.listen(0) as listener,
        await place.a_here.dial("there", listener.port) as dialled,
        await listener.accept() as accepted,
    ):
        await dialled.send(b"ping")
        assert await accepted.receive() == b"ping"


async def stream_to_socket(place: Place) -> None:
    async with await place.a_there.listen(0) as listener:
        dialled = (await place.a_here.dial("there", listener.port)).to_socket()
        with dialled, (await listener.accept()).to_socket():
            pass


async def given_up(place: Place) -> None:
    async with await place.a_there.listen(0) as listener:
        with anyio.move_on_after(0):
            async with await place.a_here.dial("there", listener.port):
                """It came all the same."""


async def stream_aborted(place: Place) -> None:
    async with (
        await place.a_there.listen(0) as listener,
        await place.a_here.dial("there", listener.port) as dialled,
        await listener.accept(),
    ):
        dialled.abort()


async def listener(place: Place) -> None:
    async with await place.a_there.listen(0):
        pass


async def listener_serves(place: Place) -> None:
    async def handle(accepted: Any) -> None:
        async with accepted:
            await accepted.send(await accepted.receive())

    async with await place.a_there.listen(0) as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, handle)
        async with await place.a_here.dial("there", listener.port) as dialled:
            await dialled.send(b"ping")
            assert await dialled.receive() == b"ping"
        group.cancel_scope.cancel()


async def packets(place: Place) -> None:
    async with (
        await place.a_there.listen_packet(PACKETS) as there,
        await place.a_here.dial_packet("there", PACKETS) as us,
    ):
        await us.send(b"ping")
        _, address = await there.receive_from()
        await there.send_to(b"pong", address)
        assert await us.receive() == b"pong"


async def packets_to_sockets(place: Place) -> None:
    (await place.a_there.listen_packet(PACKETS)).to_socket().close()
    (await place.a_here.dial_packet("there", PORT)).to_socket().close()


async def listener_to_socket(place: Place) -> None:
    (await place.a_there.listen(0)).to_socket().close()


async def async_forward_local(place: Place) -> None:
    async with await place.a_here.forward_local("there", PORT):
        pass


async def async_forward_remote(place: Place) -> None:
    async with await place.a_there.forward_remote(0, 9):
        pass


async def async_serve_asgi(place: Place) -> None:
    async with await place.a_there.serve_asgi(asgi, 0, block=False):
        pass


async def async_serve_wsgi(place: Place) -> None:
    async with await place.a_there.serve_wsgi(wsgi, 0, block=False):
        pass


async def async_events(place: Place) -> None:
    async with place.a_here.events():
        pass


async def async_httpx_client(place: Place) -> None:
    async with place.a_here.httpx_client():
        pass


ASYNC: dict[AsyncCycle, int] = {
    async_server: 12,
    async_tailnet: 20,
    stream: 50,
    stream_to_socket: 30,
    stream_aborted: 30,
    given_up: 50,
    listener: 100,
    listener_to_socket: 100,
    listener_serves: 30,
    packets: 50,
    packets_to_sockets: 50,
    async_forward_local: 50,
    async_forward_remote: 50,
    async_serve_asgi: 20,
    async_serve_wsgi: 30,
    async_events: 100,
    async_httpx_client: 10,
}


# --- what must hold ---------------------------------------------------------------------------------------------


def check(cycle: Cycle, place: Place, count: int) -> None:
    with Watch() as watch:
        for _ in range(min(count // 2, WARM_UP)):
            cycle(place)
        for _ in range(TRIES):
            watch.begin()
            for _ in range(count):
                cycle(place)
            grown = watch.left_over(count)
            if not grown:
                return
        assert grown == {}


def often(seldom: int) -> int:
    return 10_000 if NIGHTLY else 5 * seldom


async def check_async(cycle: AsyncCycle, place: Place, count: int) -> None:
    with Watch() as watch:
        for _ in range(min(count // 2, WARM_UP)):
            await cycle(place)
        for _ in range(TRIES):
            watch.begin()
            for _ in range(count):
                await cycle(place)
            grown = await left_over(watch, count)
            if not grown:
                return
        assert grown == {}


async def left_over(watch: Watch, count: int) -> dict[str, int]:
    """`Watch.left_over`, in a loop that goes on meanwhile."""
    for _ in range(POLLS):
        if not watch.grown(count):
            return {}
        await anyio.sleep(PATIENCE / POLLS)
    return watch.grown(count)


@pytest.mark.parametrize("cycle", BLOCKING, ids=lambda cycle: cycle.__name__)
def test_it_leaves_nothing(place: Place, cycle: Cycle) -> None:
    check(cycle, place, BLOCKING[cycle])


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("cycle", ASYNC, ids=lambda cycle: cycle.__name__)
def test_it_leaves_nothing_in_a_loop(place: Place, cycle: AsyncCycle, backend: str) -> None:
    anyio.run(check_async, cycle, place, ASYNC[cycle], backend=backend)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("cycle", BLOCKING, ids=lambda cycle: cycle.__name__)
def test_it_leaves_nothing_for_ever(place: Place, cycle: Cycle) -> None:
    check(cycle, place, often(BLOCKING[cycle]))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("cycle", ASYNC, ids=lambda cycle: cycle.__name__)
def test_it_leaves_nothing_in_a_loop_for_ever(place: Place, cycle: AsyncCycle, backend: str) -> None:
    anyio.run(check_async, cycle, place, often(ASYNC[cycle]), backend=backend)
