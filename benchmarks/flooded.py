"""The victim of `benchmarks.floods`, as a process: an embedded tailnet, and a node in it that serves.

    start · join(control_url, auth_key) · trim · quit

| port | what is there                                                        |
|------|----------------------------------------------------------------------|
| 7    | echo                                                                 |
| 8    | swallows until the end, then answers with the SHA-256 of what came   |
| 9    | sends without end                                                    |
| 10   | accepts, and answers as an HTTP server does                          |
| 80   | `serve_wsgi`                                                         |
| 81   | `serve_asgi`                                                         |
| 90   | `forward_remote` to a program that takes no connection               |
| 91   | `forward_remote` to an HTTP server                                   |

It uses the public names only, and what abd1e6a had of them, so that older versions can be measured by it.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import hashlib
import logging
import os
import resource
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tsnet
from benchmarks.answers import answer_lines
from benchmarks.programs import LOOPBACK
from tsnet.testing import Tailnet

HOSTNAME = "victim"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
TIMEOUT = 20.0
CHUNK = os.urandom(64 * 1024)


def echo(peer: socket.socket) -> None:
    while data := peer.recv(1 << 16):
        peer.sendall(data)


def swallow(peer: socket.socket) -> None:
    digest = hashlib.sha256()
    while data := peer.recv(1 << 20):
        digest.update(data)
    peer.sendall(digest.digest())


def send_for_ever(peer: socket.socket) -> None:
    while True:
        peer.sendall(CHUNK)


def answer(peer: socket.socket) -> None:
    if peer.recv(1 << 16):
        peer.sendall(ANSWER)


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def serve(listening: socket.socket, work: Callable[[socket.socket], None]) -> None:
    """A thread for each connection. A server that has no room waits a moment, as servers do."""

    def one(peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            work(peer)

    def accept() -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                if listening.fileno() < 0:
                    return
                threading.Event().wait(0.1)
                continue
            threading.Thread(target=one, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


class Victim:
    def __init__(self, folder: Path, udp: int) -> None:
        self._folder, self._udp = folder, udp
        self._exit = contextlib.ExitStack()

    def start(self) -> dict[str, Any]:
        tailnet = self._exit.enter_context(Tailnet())
        node = self._node = self._server(HOSTNAME, tailnet.control_url, tailnet.auth_key, port=self._udp)
        self._exit.enter_context(node)
        for port, work in {7: echo, 8: swallow, 9: send_for_ever, 10: answer}.items():
            serve(node.listen(port), work)
        node.serve_wsgi(wsgi, 80, block=False)
        node.serve_asgi(asgi, 81, block=False)
        node.forward_remote(90, self._full())
        local = self._exit.enter_context(socket.create_server((LOOPBACK, 0), backlog=128))
        serve(local, answer)
        node.forward_remote(91, local.getsockname()[1])
        node.reachable(timeout=TIMEOUT)
        [region] = tailnet.derp_map["Regions"].values()
        return {
            "control": int(tailnet.control_url.rpartition(":")[2]),
            "auth_key": tailnet.auth_key,
            "relay": region["Nodes"][0]["DERPPort"],
        }

    def _full(self) -> int:
        """A port whose queue is full: a further connection waits there."""
        listening = self._exit.enter_context(socket.create_server((LOOPBACK, 0), backlog=0))
        port: int = listening.getsockname()[1]
        for _ in range(2):
            waiting = self._exit.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((LOOPBACK, port))
        return port

    def _server(self, name: str, control_url: str, auth_key: str, *, port: int = 0) -> tsnet.Server:
        state = self._folder / name
        return tsnet.Server(name, control_url=control_url, auth_key=auth_key, state=state, port=port)

    def join(self, control_url: str, auth_key: str) -> None:
        """A second node of this process joins another tailnet; this does not wait until it has."""
        captive = self._server("captive", control_url, auth_key)

        def up() -> None:
            with contextlib.suppress(tsnet.Error, OSError):
                captive.up(timeout=TIMEOUT)

        threading.Thread(target=up, daemon=True).start()

    def trim(self) -> None:
        """Give back to the system what is free, so that RSS is what is held."""
        gc.collect()
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)

    def quit(self) -> None:
        os._exit(0)  # what was flooded may not end in time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--udp", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    answer_lines(Victim(options.folder, options.udp))


if __name__ == "__main__":
    main()
