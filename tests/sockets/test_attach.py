"""Sockets of a real node, from its verbs; what each socket does is tested with its kind."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Iterator

import anyio
import pytest

import tsnet
from tests.test_server import server
from tsnet.testing.tailnet import Tailnet


@pytest.fixture(scope="module")
def tailnet() -> Iterator[Tailnet]:
    with Tailnet() as tailnet:
        yield tailnet


@pytest.fixture(scope="module")
def nodes(tailnet: Tailnet) -> Iterator[tuple[tsnet.Server, tsnet.Server]]:
    with server(tailnet, "a") as a, server(tailnet, "b") as b:
        yield a, b


def owners(node: tsnet.Server) -> int:
    return len(node._handle.pump.owners)


def wait_for(condition: object) -> None:
    for _ in range(2000):
        if condition():  # type: ignore[operator]
            return
        threading.Event().wait(0.002)
    raise AssertionError("it did not come true")


def test_a_listening_socket_frees_its_port_and_resets_who_waits(nodes: tuple[tsnet.Server, tsnet.Server]) -> None:
    a, b = nodes
    listener = a.listen(80)
    waiting = b.dial("a", 80)
    listener.close()
    waiting.settimeout(5)
    with pytest.raises(ConnectionResetError):
        waiting.recv(1)
    waiting.close()
    wait_for(lambda: not owners(a))
    a.listen(80).close()


def test_more_connections_than_the_queue_of_descriptors_holds(nodes: tuple[tsnet.Server, tsnet.Server]) -> None:
    a, b = nodes
    with a.listen(81) as listener:
        clients = [b.dial("a", 81) for _ in range(150)]
        for _ in clients:
            accepted, _address = listener.accept()
            accepted.close()
        for client in clients:
            client.close()
    gc.collect()
    wait_for(lambda: not owners(a) and not owners(b))


def test_nothing_is_left_of_closed_sockets(nodes: tuple[tsnet.Server, tsnet.Server]) -> None:
    a, b = nodes
    with a.listen(82) as listener:
        for _ in range(20):
            client = b.dial("a", 82)
            accepted, _ = listener.accept()
            client.sendall(b"x")
            assert accepted.recv(1) == b"x"
            accepted.close()
            client.close()
    wait_for(lambda: not owners(a) and not owners(b))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_streams_listeners_and_packets_become_sockets(tailnet: Tailnet, backend: str) -> None:
    async def main() -> None:
        options = {"control_url": tailnet.control_url, "auth_key": tailnet.auth_key, "ephemeral": True}
        from tsnet.edge.io.store import MemoryStore

        a = tsnet.AsyncServer("x", state=MemoryStore(), **options)  # type: ignore[arg-type]
        b = tsnet.AsyncServer("y", state=MemoryStore(), **options)  # type: ignore[arg-type]
        async with a, b:
            listener = (await a.listen(80)).to_socket()
            stream = await b.dial("x", 80)
            await stream.send(b"sent before it became a socket ")
            sock = stream.to_socket()
            with pytest.raises(anyio.ClosedResourceError):
                await stream.send(b"x")
            accepted, _ = await anyio.to_thread.run_sync(listener.accept)

            def talk() -> bytes:
                sock.sendall(b"and after")
                sock.shutdown(socket.SHUT_WR)
                received = b""
                while data := accepted.recv(100):
                    received += data
                return received

            assert await anyio.to_thread.run_sync(talk) == b"sent before it became a socket and after"
            packets = (await a.listen_packet(53)).to_socket()
            conn = await b.dial_packet("x", 53)
            await conn.send(b"datagram")
            assert (await anyio.to_thread.run_sync(packets.recvfrom, 100))[0] == b"datagram"
            for one in (listener, sock, accepted, packets):
                one.close()

    anyio.run(main, backend=backend)
