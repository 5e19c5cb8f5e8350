"""The standard library's WSGI server around a listening socket of the tailnet: no dependency, a thread a connection.

HTTP/1.0, one request a connection. Accepting blocks, so an idle server never wakes; closing the socket ends it.

Not here: who calls (`wsgi.IdentityMiddleware`).
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import suppress
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

CONNECTIONS = 256
"""Threads at once; more connections wait in the backlog."""

_log = logging.getLogger("tsnet.wsgi")


class WsgirefEngine:
    def __init__(self, app: Any, listening: socket.socket) -> None:
        self._listening = listening
        self._server = _Server(listening.getsockname()[:2], app)
        self._room = threading.Semaphore(CONNECTIONS)
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._ended = threading.Event()

    def run(self) -> None:
        self._listening.settimeout(None)
        try:
            while True:
                self._room.acquire()
                connection, address = self._listening.accept()
                thread = threading.Thread(target=self._serve, args=(connection, address), daemon=True)
                self._connections[thread] = connection
                thread.start()
        except OSError:  # closed, by us or with the node
            self._listening.close()
        finally:
            self._ended.set()

    def _serve(self, connection: socket.socket, address: Any) -> None:
        try:
            with connection, suppress(OSError):  # a client that goes away
                _Handler(connection, address, self._server)
        finally:
            self._connections.pop(threading.current_thread(), None)
            self._room.release()

    def stop(self, grace: float) -> None:
        deadline = time.monotonic() + grace
        self._listening.close()
        self._room.release()  # `run` may wait for room, not in `accept`: one more than there is harms nobody now
        for thread, connection in list(self._connections.items()):
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._ended.wait(max(0.0, deadline - time.monotonic()))


class _Server(WSGIServer):
    """What wsgiref's handler asks of its server; the socket is elsewhere."""

    def __init__(self, address: tuple[str, int], app: Any) -> None:
        self.server_address = address
        self.server_name, self.server_port = str(address[0]), address[1]
        self.setup_environ()
        self.set_app(_in_threads(app))


class _Handler(WSGIRequestHandler):
    timeout = 60
    server_version = "tsnet"

    def get_environ(self) -> dict[str, Any]:
        return {**super().get_environ(), "REMOTE_PORT": str(self.client_address[1])}

    def address_string(self) -> str:
        return str(self.client_address[0])

    def log_message(self, format: str, *args: Any) -> None:
        """The request line is the caller's: nothing in it may move a terminal's cursor or begin another line."""
        text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in format % args)
        _log.info("%s %s", self.address_string(), text)


def _in_threads(app: Any) -> Any:
    """wsgiref itself serves one request at a time, and says so."""

    def call(environ: dict[str, Any], start_response: Any) -> Any:
        environ["wsgi.multithread"] = True
        return app(environ, start_response)

    return call
