"""A contract with waitress: the parts of its loop that the engine turns itself."""

from __future__ import annotations

import threading
import time
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel

from tests.adapters.loopback import LAPTOP, ListeningPort, LoopbackTailnet
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
    assert server.channel_class.service is not HTTPChannel.service
    assert callable(server.pull_trigger)
    end(engine)


def test_stop_before_run_ends_it_at_once(port: ListeningPort) -> None:
    engine = WaitressEngine(app, port.socket, 1)
    end(engine)
    assert engine._server._map == {}


def test_nothing_is_polled_while_nothing_happens(
    tailnet: LoopbackTailnet, port: ListeningPort, monkeypatch: Any
) -> None:
    turns: list[float] = []
    loop = wasyncore.loop

    def counted(**options: Any) -> None:
        turns.append(options["timeout"])
        loop(**options)

    monkeypatch.setattr(wasyncore, "loop", counted)
    engine = WaitressEngine(app, port.socket, 1)
    thread = threading.Thread(target=engine.run)
    thread.start()
    with tailnet.dialer_of(LAPTOP).dial_socket("shop", 80) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"200 OK" in sock.recv(1000)
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
