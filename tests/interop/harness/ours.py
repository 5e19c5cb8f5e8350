"""Our own node in a scene: a tsnet.Server where a real peer would be, and small services on it.

    with node(headscale, "ours", auth_key=key) as ours, serve_http(ours), serve_echo(ours, 7):
        peer.get("http://ours/")

| service      | what a connection gets                                                      |
|--------------|-----------------------------------------------------------------------------|
| `serve_http` | JSON: who called (by the netmap), from where, what was asked and sent       |
| `serve_echo` | all it says, back; the half-close too                                       |
| `serve_once` | one connection, handed to a function; its result is waited for              |

Blocking code all of it, as the peers are driven: a stream is a real socket.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import pytest

from tests.interop.harness.control import Control
from tsnet import Server
from tsnet.edge.io import claim
from tsnet.edge.io.store import MemoryStore
from tsnet.status import PeerStatus
from tsnet.wsgi import WsgiServer, current_peer

T = TypeVar("T")
CHUNK = 1 << 18
PLAIN_DERP, RELAYS_ONLY = "TS_DEBUG_USE_DERP_HTTP", "TS_DEBUG_ALWAYS_USE_DERP"  # our options have no words for these


def node(control: Control, hostname: str, *, auth_key: str = "", relays_only: bool = False, **options: Any) -> Server:
    """Not started. As Go, it uses plain DERP where the control server says so; its state is in memory.

    relays_only: it uses no direct paths.
    """
    options = {"state": MemoryStore(), "ssl_context": getattr(control, "ssl_context", None), **options}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PLAIN_DERP, control.environment.get(PLAIN_DERP, ""))
        patch.setenv(RELAYS_ONLY, "1" if relays_only else "")
        return Server(hostname, control_url=control.url, auth_key=auth_key or None, **options)


@contextlib.contextmanager
def on_another_machine() -> Iterator[None]:
    """A node that begins meanwhile is not noticed by others that run here with its identity."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claim, "IS_SUPPORTED", False)
        yield


def until(condition: Callable[[], Any], timeout: float = 20, what: str = "") -> float:
    """Wait for something that others do; returns the seconds it took."""
    start = time.monotonic()
    while not condition():
        taken = time.monotonic() - start
        assert taken < timeout, f"not in {timeout} s: {what or condition}"
        time.sleep(0.01)
    return time.monotonic() - start


def peer_of(server: Server, name: str) -> PeerStatus | None:
    return next((peer for peer in server.status().peers if peer.name == name), None)


def is_online(server: Server, name: str) -> bool:
    found = peer_of(server, name)
    return found is not None and bool(found.online)


def follow(server: Server, kind: type[Any]) -> list[Any]:
    """The events of one kind from now on, as they come."""
    found: list[Any] = []
    events = server.events()

    def read() -> None:
        found.extend(event for event in events if isinstance(event, kind))

    threading.Thread(target=read, daemon=True, name="events").start()
    return found


def log_out(server: Server) -> None:
    """What `tailscale logout` says to control, by a node that is not ephemeral; the node is then closed."""
    handle = server._handle

    def say() -> None:
        handle.node.control.logout(handle.pump.now())
        handle.pump.mark()

    handle.host.call(say)
    until(lambda: handle.node.leaving.is_over, 10, "logged out")
    server.close()


# --- services ---------------------------------------------------------------------------------------------------


def tell(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The WSGI app behind `serve_http`."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    caller = current_peer()
    told = {
        "name": caller.name if caller else "",
        "user": caller.user_login if caller else "",
        "tags": list(caller.tags) if caller else [],
        "remote": environ["REMOTE_ADDR"],
        "host": environ.get("HTTP_HOST", ""),
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"],
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]


@contextlib.contextmanager
def serve_http(server: Server, port: int = 80, app: Any = tell) -> Iterator[WsgiServer]:
    with WsgiServer(app, server.listen(port), server) as serving:
        serving.start()
        yield serving
    assert serving.wait(5)


class Service:
    """A listener with a thread for each connection, until the end of a block."""

    def __init__(self, server: Server, port: int, handle: Callable[[socket.socket], object]) -> None:
        self._listening, self._handle = server.listen(port), handle
        self._threads = [threading.Thread(target=self._accept, name=f"service {port}")]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                stream, _ = self._listening.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(stream,), name="service stream"))
            self._threads[-1].start()

    def _serve(self, stream: socket.socket) -> None:
        with stream, contextlib.suppress(ConnectionError, TimeoutError):
            stream.settimeout(60)
            self._handle(stream)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(10)


def serve_echo(server: Server, port: int) -> Service:
    return Service(server, port, echo)


def echo(stream: socket.socket) -> None:
    while data := stream.recv(CHUNK):
        stream.sendall(data)
    stream.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def serve_once(server: Server, port: int, handle: Callable[[socket.socket], T]) -> Iterator[Callable[[], T]]:
    """Yields what waits for the result of the one connection's handling."""
    results: list[T | BaseException] = []

    def accept() -> None:
        try:
            stream, _ = listening.accept()
            with stream:
                stream.settimeout(60)
                results.append(handle(stream))
        except BaseException as error:
            results.append(error)

    def result() -> T:
        until(lambda: results, 90, "the connection is handled")
        found = results[0]
        if isinstance(found, BaseException):
            raise found
        return found

    with server.listen(port) as listening:
        listening.settimeout(60)
        thread = threading.Thread(target=accept, name=f"service {port}")
        thread.start()
        yield result
        thread.join(90)


# --- bytes ------------------------------------------------------------------------------------------------------


def drain(stream: socket.socket) -> tuple[int, str]:
    """All that comes, as its count and hash."""
    digest, count = hashlib.sha256(), 0
    while data := stream.recv(CHUNK):
        digest.update(data)
        count += len(data)
    return count, digest.hexdigest()


def pour(stream: socket.socket, size: int, seed: str) -> str:
    """Random bytes, then the half-close; their hash."""
    data = random.Random(seed).randbytes(size)
    stream.sendall(data)
    stream.shutdown(socket.SHUT_WR)
    return hashlib.sha256(data).hexdigest()


def exchange(stream: socket.socket, size: int, seed: str = "") -> tuple[str, int, str]:
    """Pour and drain at once: (hash sent, count received, hash received)."""
    sent: list[str] = []
    pouring = threading.Thread(target=lambda: sent.append(pour(stream, size, seed)), name="pouring")
    pouring.start()
    count, received = drain(stream)
    pouring.join(60)
    return sent[0], count, received
