"""WSGI apps over the listening lookalike, by both engines, with clients on plain sockets."""

from __future__ import annotations

import http.client
import importlib.util
import socket
import struct
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import flask
import pytest
import werkzeug.debug

from tests.adapters.loopback import (
    DESK,
    LAPTOP,
    PEERS,
    RUNNER,
    SHOP,
    STRANGER,
    ListeningPort,
    LoopbackTailnet,
)
from tests.waits import until
from tsnet.adapters.identity import current_peer
from tsnet.adapters.web_limits import WebLimits
from tsnet.adapters.wsgi import IdentityMiddleware, WsgiServer, wants_debugger

app = flask.Flask("shop")


@app.get("/whoami")
def whoami() -> Any:
    peer = current_peer()
    assert peer == flask.request.environ["tsnet.peer"]
    headers = [name for name in dict(flask.request.headers) if "tailscale" in name.replace("_", "-").lower()]
    environ = flask.request.environ
    return {"peer": peer.name if peer else None, "client": environ["REMOTE_ADDR"], "forged": headers}


@app.get("/stream/<int:size>")
def stream(size: int) -> flask.Response:
    def chunks() -> Iterator[bytes]:
        for _ in range(size):
            peer = current_peer()
            assert peer is not None
            yield peer.name.encode().ljust(1000)

    return flask.Response(chunks())


@app.post("/length")
def length() -> str:
    return str(sum(len(chunk) for chunk in iter(lambda: flask.request.stream.read(10_000), b"")))


@app.get("/remote")
def remote() -> str:
    return f"{flask.request.environ['REMOTE_PORT']} {flask.request.environ['wsgi.multithread']}"


@pytest.fixture(params=["waitress", "wsgiref"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    find = importlib.util.find_spec
    if request.param == "wsgiref":
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "waitress" else find(name))
    return str(request.param)


@contextmanager
def serving(tailnet: LoopbackTailnet, port: ListeningPort, app: Any, **options: Any) -> Iterator[WsgiServer]:
    server = WsgiServer(app, port.socket, tailnet, **options)
    server.start()
    with server:
        yield server
    assert server.wait(10)


class Client(http.client.HTTPConnection):
    """http.client from another node."""

    def __init__(self, tailnet: LoopbackTailnet, address: str = LAPTOP) -> None:
        super().__init__("shop", timeout=10)
        self._dialer = tailnet.dialer_of(address)

    def connect(self) -> None:
        self.sock = self._dialer.dial_socket(self.host, self.port)


def get(
    tailnet: LoopbackTailnet, path: str, headers: dict[str, str] | None = None, *, of: str = LAPTOP
) -> tuple[int, bytes]:
    client = Client(tailnet, of)
    try:
        client.request("GET", path, headers=headers or {})
        response = client.getresponse()
        return response.status, response.read()
    finally:
        client.close()


def at_once(count: int, tailnet: LoopbackTailnet, path: str) -> list[int]:
    """The statuses of so many requests side by side."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda _: get(tailnet, path)[0], range(count), timeout=20))


pytestmark = pytest.mark.usefixtures("engine")


@pytest.mark.parametrize(("caller", "name"), [(LAPTOP, '"laptop"'), (RUNNER, '"runner"'), (STRANGER, "null")])
def test_the_app_knows_who_calls(tailnet: LoopbackTailnet, port: ListeningPort, caller: str, name: str) -> None:
    forged = {"Tailscale-User-Login": "root@example.com", "tailscale_user_name": "root", "TAILSCALE-X": "1"}
    with serving(tailnet, port, app) as server:
        status, body = get(tailnet, "/whoami", forged, of=caller)
        assert server.port == 80
    assert status == 200
    text = body.decode().replace(" ", "").replace("\n", "")
    assert text == f'{{"client":"{caller}","forged":[],"peer":{name}}}'


@pytest.mark.parametrize("target", ["*", "shop:80", "http://", "//", "a b", "\x1b[2J"])
@pytest.mark.parametrize("method", ["GET", "CONNECT", "OPTIONS", "*"])
def test_ts_2026_008_a_target_that_is_no_path_is_answered(
    tailnet: LoopbackTailnet, port: ListeningPort, method: str, target: str
) -> None:
    """Go's Serve looked for the parent of "*" for ever; another caller is served meanwhile."""
    with serving(tailnet, port, app):
        with tailnet.dialer_of(LAPTOP).dial_socket("shop", 80, timeout=5) as sock:
            sock.sendall(f"{method} {target} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n".encode())
            assert sock.recv(100).startswith((b"HTTP/1.", b"<!DOCTYPE", b""))
        assert get(tailnet, "/whoami")[0] == 200


@pytest.mark.parametrize(("caller", "status"), [(LAPTOP, 200), (DESK, 403), (RUNNER, 200), (STRANGER, 403)])
def test_allow_keeps_others_out(tailnet: LoopbackTailnet, port: ListeningPort, caller: str, status: int) -> None:
    with serving(tailnet, port, app, allow=["ann@example.com", "tag:ci"]):
        got, body = get(tailnet, "/whoami", of=caller)
    assert got == status
    if caller == DESK:
        assert body == b"403 Forbidden: this app does not admit desk (bob@example.com)\n"


def test_the_callers_port_and_the_threads_are_told(tailnet: LoopbackTailnet, port: ListeningPort) -> None:
    with serving(tailnet, port, app):
        client = Client(tailnet)
        client.request("GET", "/remote")
        local_port = client.sock.getsockname()[1]
        assert client.getresponse().read() == f"{local_port} True".encode()
        client.close()


def test_bodies_stream_both_ways_and_the_generator_knows_the_peer(
    tailnet: LoopbackTailnet, port: ListeningPort
) -> None:
    with serving(tailnet, port, app):
        status, body = get(tailnet, "/stream/1000")
        assert (status, len(body), body[:6]) == (200, 1_000_000, b"laptop")
        client = Client(tailnet)
        client.request("POST", "/length", body=bytes(2_000_000))
        assert client.getresponse().read() == b"2000000"
        client.close()
    assert current_peer() is None


def test_a_hundred_requests_at_once(tailnet: LoopbackTailnet, port: ListeningPort) -> None:
    with serving(tailnet, port, app):
        assert at_once(100, tailnet, "/whoami") == [200] * 100


def test_requests_run_side_by_side(tailnet: LoopbackTailnet, port: ListeningPort) -> None:
    together = threading.Barrier(20)

    def wait_for_all(environ: Any, start_response: Any) -> list[bytes]:
        together.wait(10)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    with serving(tailnet, port, wait_for_all):
        assert at_once(20, tailnet, "/") == [200] * 20


def test_a_client_that_goes_away_ends_the_generator(tailnet: LoopbackTailnet, port: ListeningPort) -> None:
    closed = threading.Event()

    class Endless:
        def __iter__(self) -> Endless:
            return self

        def __next__(self) -> bytes:
            return b"x" * 10_000

        def close(self) -> None:
            closed.set()

    def endless(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Endless()

    with serving(tailnet, port, endless):
        sock = tailnet.dialer_of(LAPTOP).dial_socket("shop", 80)
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert sock.recv(1000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        assert closed.wait(10)


def test_a_client_that_half_closes_gets_its_answer(tailnet: LoopbackTailnet, port: ListeningPort) -> None:
    with serving(tailnet, port, app), tailnet.dialer_of(LAPTOP).dial_socket("shop", 80) as sock:
        sock.sendall(b"GET /whoami HTTP/1.0\r\nHost: shop\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: sock.recv(1000), b""))
    assert b"200 OK" in answer
    assert b"laptop" in answer


def test_a_client_that_says_nothing_sensible_harms_nobody(tailnet: LoopbackTailnet, port: ListeningPort) -> None:
    with serving(tailnet, port, app):
        with tailnet.dialer_of(LAPTOP).dial_socket("shop", 80) as sock:
            sock.sendall(b"\x16\x03\x01 what?\r\n\r\n")
            assert b"400" in sock.recv(1000)
        assert get(tailnet, "/whoami")[0] == 200


def test_close_lets_a_request_finish_and_accepts_no_more(tailnet: LoopbackTailnet, port: ListeningPort) -> None:
    started, finish = threading.Event(), threading.Event()

    def slow(environ: Any, start_response: Any) -> list[bytes]:
        started.set()
        finish.wait(10)
        start_response("200 OK", [("Content-Length", "4")])
        return [b"done"]

    answers: list[tuple[int, bytes]] = []
    with serving(tailnet, port, slow) as server:
        client = threading.Thread(target=lambda: answers.append(get(tailnet, "/")))
        client.start()
        assert started.wait(10)
        closer = threading.Thread(target=server.close, args=(10,))
        closer.start()
        assert not server.wait(0.05) or server.wait(0)
        finish.set()
        client.join(10)
        closer.join(10)
    assert answers == [(200, b"done")]
    assert port.socket.fileno() < 0


def test_close_does_not_wait_for_ever(tailnet: LoopbackTailnet, port: ListeningPort) -> None:
    started, release = threading.Event(), threading.Event()

    def stuck(environ: Any, start_response: Any) -> list[bytes]:
        started.set()
        release.wait(10)
        start_response("200 OK", [])
        return []

    with serving(tailnet, port, stuck) as server:
        sock = tailnet.dialer_of(LAPTOP).dial_socket("shop", 80)
        with sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert started.wait(10)
            server.close(0.05)
            assert server.wait(10)
            release.set()
            assert b"200" not in sock.recv(1000)


def test_an_idle_connection_does_not_hold_up_the_close(tailnet: LoopbackTailnet, port: ListeningPort) -> None:
    with serving(tailnet, port, app) as server, tailnet.dialer_of(LAPTOP).dial_socket("shop", 80) as sock:
        sock.sendall(b"GET /whoami HTTP/1.1\r\nHost: shop\r\n\r\n")
        assert b"200 OK" in sock.recv(1000)
        server.close(10)
        assert server.wait(0)


def test_the_server_ends_with_the_node(tailnet: LoopbackTailnet, port: ListeningPort) -> None:
    server = WsgiServer(app, port.socket, tailnet)
    server.start()
    assert get(tailnet, "/whoami")[0] == 200
    port.close_node()
    assert server.wait(10)
    server.close()


def test_one_that_is_closed_before_it_runs_never_does(tailnet: LoopbackTailnet, port: ListeningPort) -> None:
    with WsgiServer(app, port.socket, tailnet) as server:
        pass
    assert server.wait(0)
    assert port.socket.fileno() == -1
    server.run()


def test_run_blocks_in_the_callers_thread(tailnet: LoopbackTailnet, port: ListeningPort) -> None:
    server = WsgiServer(app, port.socket, tailnet)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert get(tailnet, "/whoami")[0] == 200
    assert thread.is_alive()
    server.close()
    thread.join(10)
    assert not thread.is_alive()


DEBUGGED = werkzeug.debug.DebuggedApplication(app, evalex=True)


@pytest.mark.parametrize(
    "path", ["/?__debugger__=yes&cmd=resource&f=style.css", "/console", "/console/", "/?a=b&__debugger__"]
)
@pytest.mark.parametrize(
    ("caller", "owner", "let_in"), [(LAPTOP, SHOP, True), (DESK, SHOP, False), (LAPTOP, RUNNER, False)]
)
def test_the_debugger_answers_the_owner_alone(
    tailnet: LoopbackTailnet, port: ListeningPort, path: str, caller: str, owner: str, let_in: bool
) -> None:
    with serving(tailnet, port, DEBUGGED, owner=lambda: PEERS[owner]):
        status, body = get(tailnet, path, of=caller)
    refused = status == 403 and b"owner of this node" in body
    assert refused is not let_in


def test_wants_debugger_is_about_werkzeug(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not wants_debugger({"PATH_INFO": "/", "QUERY_STRING": "x=__debugger__"})
    assert not wants_debugger({})
    monkeypatch.delitem(sys.modules, "werkzeug.debug")
    assert not wants_debugger({"PATH_INFO": "/console"})
    assert wants_debugger({"PATH_INFO": "/console", "QUERY_STRING": "__debugger__=yes"})


def test_lists_and_file_wrappers_stay_what_they_are(tailnet: LoopbackTailnet) -> None:
    class Wrapper:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"file"])

    bodies: list[Any] = [[b"x"], (b"y",), Wrapper()]
    middleware = IdentityMiddleware(lambda environ, start_response: body, tailnet)
    for body in bodies:
        environ = {"REMOTE_ADDR": LAPTOP, "wsgi.file_wrapper": Wrapper}
        assert middleware(environ, lambda *args: lambda data: None) is body


def test_a_body_without_close_is_closed_quietly(tailnet: LoopbackTailnet) -> None:
    middleware = IdentityMiddleware(lambda environ, start_response: iter([b"x"]), tailnet)
    body: Any = middleware({"REMOTE_ADDR": STRANGER}, lambda *args: lambda data: None)
    assert list(body) == [b"x"]
    body.close()


# --- what callers may take --------------------------------------------------------------------------------------

SHORT = 0.05


def until_closed(sock: socket.socket) -> bytes:
    try:
        return b"".join(iter(lambda: sock.recv(1000), b""))
    except ConnectionError:
        return b""


def test_a_connection_that_says_nothing_is_closed(tailnet: LoopbackTailnet, port: ListeningPort) -> None:
    with (
        serving(tailnet, port, app, limits=WebLimits(header_timeout=SHORT)),
        tailnet.dialer_of(LAPTOP).dial_socket("shop", 80) as sock,
    ):
        assert until_closed(sock) == b""


def test_a_header_that_comes_a_byte_at_a_time_is_cut_off(tailnet: LoopbackTailnet, port: ListeningPort) -> None:
    with (
        serving(tailnet, port, app, limits=WebLimits(header_timeout=SHORT)),
        tailnet.dialer_of(LAPTOP).dial_socket("shop", 80) as sock,
    ):
        sock.sendall(b"GET / HTTP/1.1\r\nX: ")
        sock.settimeout(SHORT / 20)
        ended = False
        while not ended:
            try:
                sock.sendall(b"x")
                ended = sock.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                ended = True


def test_a_request_that_takes_longer_than_a_header_may_is_answered(
    tailnet: LoopbackTailnet, port: ListeningPort
) -> None:
    begun, may_answer = threading.Event(), threading.Event()

    def slow(environ: Any, start_response: Any) -> list[bytes]:
        begun.set()
        may_answer.wait(10)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with (
        serving(tailnet, port, slow, limits=WebLimits(header_timeout=SHORT)),
        tailnet.dialer_of(LAPTOP).dial_socket("shop", 80) as sock,
    ):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        assert begun.wait(10)
        with tailnet.dialer_of(LAPTOP).dial_socket("shop", 80) as later:
            until_closed(later)
        may_answer.set()
        assert until_closed(sock).endswith(b"ok")


def test_a_caller_whose_streams_last_takes_no_more_than_its_share(
    tailnet: LoopbackTailnet, port: ListeningPort, caplog: pytest.LogCaptureFixture
) -> None:
    """The threads of the others are free, also for a request that comes when all of the caller's wait."""
    end = threading.Event()

    def stream(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"x" * 100
        if environ["PATH_INFO"] == "/stream":
            end.wait(10)

    with serving(tailnet, port, stream, limits=WebLimits(threads=3)), ExitStack() as stack:
        for _ in range(4):
            sock = stack.enter_context(tailnet.dialer_of(LAPTOP).dial_socket("shop", 80))
            sock.sendall(b"GET /stream HTTP/1.0\r\n\r\n")
        until(lambda: "two thirds" in caplog.text)
        assert get(tailnet, "/", of=DESK) == (200, b"x" * 100)
        end.set()
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    assert "threads=" in caplog.text
