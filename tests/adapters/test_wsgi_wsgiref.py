"""What the standard library's engine adds to wsgiref."""

from __future__ import annotations

import errno
import logging
import threading
from contextlib import suppress
from typing import Any

import pytest

from tests.adapters.loopback import LAPTOP, ListeningPort, LoopbackTailnet
from tests.waits import until
from tsnet.adapters import wsgi_wsgiref
from tsnet.adapters.wsgi_wsgiref import WsgirefEngine
from tsnet.sockets import ListeningSocket


def app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def ask(tailnet: LoopbackTailnet, path: bytes = b"/path") -> bytes:
    with tailnet.dialer_of(LAPTOP).dial_socket("shop", 80) as sock:
        sock.sendall(b"GET " + path + b" HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: sock.recv(1000), b""))


def test_requests_are_logged_not_printed(
    tailnet: LoopbackTailnet,
    port: ListeningPort,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    engine = WsgirefEngine(app, port.socket)
    thread = threading.Thread(target=engine.run)
    with caplog.at_level(logging.INFO, "tsnet.wsgi"):
        thread.start()
        assert ask(tailnet).endswith(b"ok")
        engine.stop(10)
        thread.join(10)
    assert f'{LAPTOP} "GET /path HTTP/1.0" 200 2' in caplog.text
    assert capfd.readouterr().err == ""


def test_a_request_cannot_write_the_log(
    tailnet: LoopbackTailnet, port: ListeningPort, caplog: pytest.LogCaptureFixture
) -> None:
    engine = WsgirefEngine(app, port.socket)
    thread = threading.Thread(target=engine.run)
    with caplog.at_level(logging.INFO, "tsnet.wsgi"):
        thread.start()
        ask(tailnet, b"/\x1b[2J\x0bGET\x85/forged\r200")
        engine.stop(10)
        thread.join(10)
    assert caplog.messages
    assert all(message.isprintable() for message in caplog.messages)


def test_connections_beyond_the_limit_wait(tailnet: LoopbackTailnet, port: ListeningPort) -> None:
    started, release = threading.Event(), threading.Event()

    def slow(environ: Any, start_response: Any) -> list[bytes]:
        started.set()
        release.wait(10)
        return app(environ, start_response)

    engine = WsgirefEngine(slow, port.socket, 1)
    thread = threading.Thread(target=engine.run)
    thread.start()
    answers: list[bytes] = []
    clients = [threading.Thread(target=lambda: answers.append(ask(tailnet))) for _ in range(3)]
    for client in clients:
        client.start()
    assert started.wait(10)
    assert len(engine._connections) == 1
    release.set()
    for client in clients:
        client.join(10)
    assert len(answers) == 3
    engine.stop(10)
    thread.join(10)
    assert not thread.is_alive()


def test_those_that_still_wait_at_the_end_are_closed(tailnet: LoopbackTailnet, port: ListeningPort) -> None:
    started, release = threading.Event(), threading.Event()

    def slow(environ: Any, start_response: Any) -> list[bytes]:
        started.set()
        release.wait(10)
        return app(environ, start_response)

    engine = WsgirefEngine(slow, port.socket, 1)
    thread = threading.Thread(target=engine.run)
    thread.start()
    first, second = (tailnet.dialer_of(LAPTOP).dial_socket("shop", 80) for _ in range(2))
    with first, second:
        for sock in (first, second):
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert started.wait(10)
        until(lambda: engine._threads._waiting)
        engine.stop(0)
        with suppress(ConnectionError):
            assert second.recv(1) == b""
        release.set()
    thread.join(10)


def test_accepting_goes_on_when_there_are_descriptors_again(
    tailnet: LoopbackTailnet, port: ListeningPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept, errors = ListeningSocket.accept, [errno.EMFILE, errno.ECONNABORTED]

    def failing(listening: ListeningSocket) -> Any:
        if errors:
            raise OSError(errors.pop(), "no")
        return accept(listening)

    monkeypatch.setattr(ListeningSocket, "accept", failing)
    monkeypatch.setattr(wsgi_wsgiref, "_PAUSE", 0)
    engine = WsgirefEngine(app, port.socket)
    thread = threading.Thread(target=engine.run)
    thread.start()
    assert ask(tailnet).endswith(b"ok")
    assert not errors
    engine.stop(10)
    thread.join(10)
