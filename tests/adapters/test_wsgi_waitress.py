"""A contract with waitress: the parts of its loop that the engine turns itself."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from waitress import wasyncore
from waitress.channel import HTTPChannel

from tests.adapters.loopback import DESK, LAPTOP, ListeningPort, LoopbackTailnet
from tests.waits import until
from tsnet.adapters import wsgi_waitress
from tsnet.adapters.web_limits import WebLimits
from tsnet.adapters.wsgi_waitress import WaitressEngine


def app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def end(engine: WaitressEngine) -> None:
    stopper = threading.Thread(target=engine.stop, args=(0.0,))
    stopper.start()
    engine.run()
    stopper.join(10)
    assert not stopper.is_alive()


def test_the_server_has_the_parts_that_are_used(port: ListeningPort) -> None:
    engine = WaitressEngine(app, port.socket, 1)
    server = engine._server
    assert server.active_channels == {}
    assert callable(server.trigger._physical_pull)
    assert server.task_dispatcher._threads is engine._threads
    assert issubclass(server.channel_class.func, HTTPChannel)
    assert callable(server.pull_trigger)
    end(engine)


def test_stop_before_run_ends_it_at_once(port: ListeningPort) -> None:
    engine = WaitressEngine(app, port.socket, 1)
    end(engine)
    assert engine._server._map == {}


@pytest.mark.parametrize("limits", [{}, {"keep_alive_timeout": 0}])
def test_nothing_is_polled_while_nothing_happens(
    tailnet: LoopbackTailnet, port: ListeningPort, monkeypatch: Any, limits: dict[str, Any]
) -> None:
    turns: list[float] = []
    loop = wasyncore.loop

    def counted(**options: Any) -> None:
        turns.append(options["timeout"])
        loop(**options)

    monkeypatch.setattr(wasyncore, "loop", counted)
    engine = WaitressEngine(app, port.socket, limits=WebLimits(**limits))
    thread = threading.Thread(target=engine.run)
    thread.start()
    with tailnet.dialer_of(LAPTOP).dial_socket("shop", 80) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"200 OK" in sock.recv(1000)
    until(lambda: not engine._server.active_channels)
    begun = len(turns)
    time.sleep(0.05)
    assert len(turns) <= begun + 3
    assert max(turns) >= 10
    engine.stop(1)
    thread.join(10)


def test_a_connection_that_becomes_idle_between_two_looks_is_closed_in_time(
    tailnet: LoopbackTailnet, port: ListeningPort
) -> None:
    engine = WaitressEngine(app, port.socket, limits=WebLimits(header_timeout=60, keep_alive_timeout=0.05))
    thread = threading.Thread(target=engine.run)
    thread.start()
    with tailnet.dialer_of(LAPTOP).dial_socket("shop", 80) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
        assert b"".join(iter(lambda: sock.recv(1000), b"")).endswith(b"ok")
    engine.stop(1)
    thread.join(10)


GET = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"


@contextlib.contextmanager
def running(port: ListeningPort, app: Any = app, **limits: Any) -> Iterator[WaitressEngine]:
    engine = WaitressEngine(app, port.socket, limits=WebLimits(**limits))
    thread = threading.Thread(target=engine.run)
    thread.start()
    try:
        yield engine
    finally:
        engine.stop(1)
        thread.join(10)


def read_until(sock: socket.socket, end: bytes) -> None:
    received = b""
    while not received.endswith(end):
        received += (more := sock.recv(1000))
        assert more, received


def upload(sock: socket.socket, size: int, sent: int) -> None:
    """Begin a request whose body is never complete."""
    sock.sendall(b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: %d\r\n\r\n" % size)
    sock.sendall(bytes(sent))


def test_a_connection_may_be_idle_for_as_long_as_its_option_says(tailnet: LoopbackTailnet, port: ListeningPort) -> None:
    with (
        running(port, keep_alive_timeout=None) as engine,
        tailnet.dialer_of(LAPTOP).dial_socket("shop", 80) as sock,
    ):
        for _ in range(2):
            sock.sendall(GET)
            read_until(sock, b"ok")
            engine._server.maintenance(time.time() + 3600)


def test_a_response_that_nobody_takes_is_given_up(
    tailnet: LoopbackTailnet, port: ListeningPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wsgi_waitress, "BODY_TIMEOUT", 0.1)
    monkeypatch.setattr(wsgi_waitress, "_TICK", 0.05)
    ended = threading.Event()

    def endless(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                yield bytes(4_000_000)
        finally:
            ended.set()

    with running(port, endless), tailnet.dialer_of(LAPTOP).dial_socket("shop", 80) as sock:
        sock.sendall(GET)
        assert ended.wait(10)


def test_a_body_that_stops_is_given_up_and_keeps_nothing(
    tailnet: LoopbackTailnet, port: ListeningPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wsgi_waitress, "BODY_TIMEOUT", 0.1)
    monkeypatch.setattr(wsgi_waitress, "_TICK", 0.05)
    with running(port) as engine, tailnet.dialer_of(LAPTOP).dial_socket("shop", 80) as sock:
        upload(sock, 1000, 500)
        assert sock.recv(1000) == b""
        assert engine._bodies.kept == 0


def test_the_bodies_of_one_caller_leave_room_for_those_of_another(
    tailnet: LoopbackTailnet, port: ListeningPort, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wsgi_waitress, "BODIES", 300_000)
    caplog.set_level(logging.WARNING, "tsnet.wsgi")

    def length(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"%d" % len(environ["wsgi.input"].read())]

    with running(port, length) as engine, contextlib.ExitStack() as connections:

        def connect(address: str) -> socket.socket:
            return connections.enter_context(tailnet.dialer_of(address).dial_socket("shop", 80))

        kept = [connect(LAPTOP) for _ in range(2)]
        for sock in kept:
            upload(sock, 500_000, 95_000)
        until(lambda: engine._bodies.kept == 190_000)
        refused = connect(LAPTOP)
        upload(refused, 50_000, 20_000)
        assert refused.recv(1000).startswith(b"HTTP/1.1 503 ")
        assert "a request was refused: bodies of " in caplog.text

        other = connect(DESK)
        upload(other, 80_000, 80_000)
        read_until(other, b"80000")
        until(lambda: engine._bodies.kept == 190_000)

        for sock in kept:
            sock.close()
        until(lambda: not engine._bodies.kept)
