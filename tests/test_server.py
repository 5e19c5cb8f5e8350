from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import tsnet
from tsnet.edge.io.store import MemoryStore
from tsnet.errors import ConfigError, NotUp
from tsnet.testing.simulated import SimulatedWorld
from tsnet.testing.tailnet import Tailnet


@pytest.fixture(scope="module")
def tailnet() -> Iterator[Tailnet]:
    with Tailnet() as tailnet:
        yield tailnet


def server(tailnet: Tailnet, name: str, **options: Any) -> tsnet.Server:
    return tsnet.Server(
        name,
        **{
            "control_url": tailnet.control_url,
            "auth_key": tailnet.auth_key,
            "state": MemoryStore(),
            "ephemeral": True,
            **options,
        },
    )


@pytest.fixture(scope="module")
def nodes(tailnet: Tailnet) -> Iterator[tuple[tsnet.Server, tsnet.Server]]:
    with server(tailnet, "a") as a, server(tailnet, "b") as b:
        yield a, b


def test_it_needs_its_own_thread() -> None:
    for options in ({"own_thread": False}, {"world": SimulatedWorld()}):
        with pytest.raises(ConfigError, match="own thread"):
            tsnet.Server("a", control_url="https://control.test", **options)


def test_sockets_with_tailnet_addresses(nodes: tuple[tsnet.Server, tsnet.Server]) -> None:
    a, b = nodes
    with a.listen(0) as listener, b.dial("a", listener.getsockname()[1]) as client:
        accepted, address = listener.accept()
        with accepted:
            assert address == accepted.getpeername() == client.getsockname()
            assert client.getpeername()[0] == str(a.addresses[0])
            client.sendall(b"hello")
            assert accepted.recv(10) == b"hello"
            client.shutdown(socket.SHUT_WR)
            assert accepted.recv(10) == b""
            accepted.sendall(b"half-closed")
            accepted.close()
            assert client.recv(100) == b"half-closed"
            assert client.recv(100) == b""


def test_one_connection_too_many_is_refused(nodes: tuple[tsnet.Server, tsnet.Server]) -> None:
    a, b = nodes
    with a.listen(0, backlog=1, max_connections=3) as listener:
        port = listener.getsockname()[1]
        with b.dial("a", port) as one, b.dial("a", port) as two:
            with pytest.raises(tsnet.DialRefused), b.dial("a", port):
                pass
            with a.dial("a", port) as other:  # another peer, the node itself
                accepted = [listener.accept()[0] for _ in range(3)]
                for sock in (one, two, other):
                    sock.sendall(b"x")
                assert [sock.recv(1) for sock in accepted] == [b"x"] * 3
                for sock in accepted:
                    sock.close()


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "9"])
@pytest.mark.parametrize("name", ["backlog", "max_connections"])
def test_a_limit_that_lets_nobody_in_is_an_error(
    nodes: tuple[tsnet.Server, tsnet.Server], name: str, limit: object
) -> None:
    with pytest.raises(ConfigError, match=f"{name}= takes a number from 1 on"):
        nodes[0].listen(0, **{name: limit})  # type: ignore[arg-type]


def test_much_both_ways(nodes: tuple[tsnet.Server, tsnet.Server]) -> None:
    a, b = nodes
    payload = os.urandom(4 * 1024 * 1024)
    digests: list[bytes] = []

    def talk(sock: socket.socket) -> None:
        def write() -> None:
            sock.sendall(payload)
            sock.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=write)
        writer.start()
        digest = hashlib.sha256()
        while data := sock.recv(65_536):
            digest.update(data)
        writer.join()
        digests.append(digest.digest())

    with a.listen(0) as listener, b.dial("a", listener.getsockname()[1]) as client:
        accepted, _ = listener.accept()
        with accepted:
            threads = [threading.Thread(target=talk, args=(sock,)) for sock in (client, accepted)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
    assert digests == [hashlib.sha256(payload).digest()] * 2


def test_datagrams(nodes: tuple[tsnet.Server, tsnet.Server]) -> None:
    a, b = nodes
    with a.listen_packet(53) as listener, b.dial_packet("a", 53) as client:
        client.send(b"question")
        data, sender = listener.recvfrom(100)
        assert data == b"question"
        listener.sendto(b"answer", sender)
        client.settimeout(5)
        assert client.recv(100) == b"answer"


def test_the_usual_errors(nodes: tuple[tsnet.Server, tsnet.Server]) -> None:
    a, b = nodes
    with pytest.raises(ConnectionRefusedError):
        b.dial("a", 9)
    with pytest.raises(OSError, match="nobody"):
        b.dial("nobody", 80)
    with a.listen(80), pytest.raises(OSError, match="already"):
        a.listen(80)
    with pytest.raises(ConfigError):
        b.ping("a", kind="arp")
    assert b.ping("a").seconds < 5


def test_methods_from_any_thread(nodes: tuple[tsnet.Server, tsnet.Server]) -> None:
    _, b = nodes
    results: list[object] = []
    threads = [threading.Thread(target=lambda: results.append(b.ping("a").kind)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert results == ["icmp"] * 8


def test_the_end_of_a_node_is_seen_by_its_sockets(tailnet: Tailnet, nodes: tuple[tsnet.Server, tsnet.Server]) -> None:
    a, _ = nodes
    errors: list[str] = []
    node = server(tailnet, "c")
    with a.listen(0) as far, node, node.listen(0) as listener, node.listen_packet(0) as packets:
        client = node.dial("a", far.getsockname()[1])
        accepted, _ = far.accept()
        client.sendall(b"parting")

        def wait(name: str, call: Any) -> None:
            try:
                errors.append(f"{name} {call()!r}")
            except OSError:
                errors.append(name)

        waits = [
            ("accept", listener.accept),
            ("recv", lambda: client.recv(10)),
            ("recvfrom", lambda: packets.recvfrom(9)),
        ]
        threads = [threading.Thread(target=wait, args=one) for one in waits]
        for thread in threads:
            thread.start()
        node.close()
        for thread in threads:
            thread.join(10)
        assert sorted(errors) == ["accept", "recv", "recvfrom"]
        with accepted:
            assert accepted.recv(100) == b"parting"
            assert accepted.recv(100) == b""
        client.close()
        for use in (lambda: node.dial("a", 80), lambda: node.listen(80), node.up, lambda: node.ping("a")):
            with pytest.raises(NotUp):
                use()


def test_what_a_socket_took_is_delivered_though_the_node_closes_at_once(tailnet: Tailnet) -> None:
    payload = os.urandom(1_000_000)
    with server(tailnet, "d") as d, d.listen(0) as listener:
        port = listener.getsockname()[1]
        received = bytearray()

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                while data := sock.recv(65_536):
                    received.extend(data)

        thread = threading.Thread(target=serve)
        thread.start()
        with server(tailnet, "e") as e:
            client = e.dial("d", port)
            client.sendall(payload)
        thread.join(10)
        client.close()
    assert bytes(received) == payload


def test_events(tailnet: Tailnet) -> None:
    node = server(tailnet, "f")
    seen: list[str] = []
    ready = threading.Event()

    def watch() -> None:
        events = node.events()
        ready.set()
        seen.extend(type(event).__name__ for event in events)

    thread = threading.Thread(target=watch)
    thread.start()
    ready.wait(5)
    with node:
        node.reachable()
    thread.join(10)
    assert not thread.is_alive()


def test_on_auth_url_runs_in_a_thread_of_its_own(tailnet: Tailnet) -> None:
    def approve(url: str) -> None:
        tailnet.approve(url)

    with server(tailnet, "g", auth_key=None, on_auth_url=approve) as node:
        assert node.name == "g"
