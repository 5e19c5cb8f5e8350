"""The standard library's WSGI server around a listening socket of the tailnet: no dependency, a thread a request.

HTTP/1.0, one request a connection. Accepting blocks, so an idle server never wakes; closing the socket ends it. A
connection gets a thread (`RequestThreads`) as soon as its caller may have one, and has a limited time to send the
header.

Not here: who calls (`wsgi.IdentityMiddleware`), how many connections there may be (the listening socket).
"""

from __future__ import annotations

import io
import math
import socket
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from tsnet.adapters.request_threads import RequestThreads
from tsnet.adapters.web_limits import THREADS, WebLimits
from tsnet.edge.io.descriptors import is_out
from tsnet.edge.io.log import Log

BODY_TIMEOUT = 60.0
"""Seconds without a byte of a request's body, or without a byte of the response that the caller takes."""

_PAUSE = 0.1
"""Without descriptors or memory to accept with."""

_log = Log("tsnet.wsgi")
Connection = tuple[socket.socket, Any]


class WsgirefEngine:
    """caller: who has that address; the same for all addresses of one node."""

    def __init__(
        self,
        app: Any,
        listening: socket.socket,
        threads: int = THREADS,
        *,
        limits: WebLimits | None = None,
        caller: Callable[[str], Hashable] = str,
    ) -> None:
        limits = limits or WebLimits(threads=threads)
        self._listening, self._caller = listening, caller
        listening.settimeout(None)
        self._server = _Server(listening.getsockname()[:2], app, limits.for_header)
        self._threads: RequestThreads[Connection] = RequestThreads(self._serve, limits.threads)
        self._connections: dict[socket.socket, None] = {}  # those with a thread
        self._deadline = -math.inf

    def run(self) -> None:
        try:
            while (accepted := self._accept()) is not None:
                self._threads.add(self._caller(accepted[1][0]), accepted)
        finally:
            self._listening.close()
            self._end_requests()

    def _accept(self) -> Connection | None:
        """The next connection; None if the listener was closed, by us or with the node."""
        while True:
            try:
                return self._listening.accept()
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if not is_out(error):
                    return None
                time.sleep(_PAUSE)  # who comes waits in the backlog

    def _serve(self, accepted: Connection) -> None:
        connection, address = accepted
        self._connections[connection] = None
        try:
            with connection, suppress(OSError):  # a client that goes away, or is late
                _Handler(connection, address, self._server)
        finally:
            del self._connections[connection]

    def _end_requests(self) -> None:
        for connection, _ in self._threads.close(max(0.0, self._deadline - time.monotonic())):
            connection.close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def stop(self, grace: float) -> None:
        self._deadline = time.monotonic() + grace
        self._listening.close()


class _Server(WSGIServer):
    """What wsgiref's handler asks of its server; the socket is elsewhere."""

    def __init__(self, address: tuple[str, int], app: Any, header_timeout: float) -> None:
        self.server_address = address
        self.server_name, self.server_port = str(address[0]), address[1]
        self.header_timeout = header_timeout
        self.setup_environ()
        self.set_app(_in_threads(app))


class _Handler(WSGIRequestHandler):
    server_version = "tsnet"
    server: _Server
    rfile: Any

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._reader = _TimedReader(self.connection, self.server.header_timeout)
        self.rfile = io.BufferedReader(self._reader)

    def get_environ(self) -> dict[str, Any]:
        """wsgiref asks for it when the header is there."""
        self._reader.has_header()
        return {**super().get_environ(), "REMOTE_PORT": str(self.client_address[1])}

    def address_string(self) -> str:
        return str(self.client_address[0])

    def log_message(self, format: str, *args: Any) -> None:
        _log.info("%s %s", self.address_string(), format % args)


class _TimedReader(io.RawIOBase):
    """A socket's bytes: those of the header until an instant, afterwards each within a time of its own."""

    def __init__(self, connection: socket.socket, header_timeout: float) -> None:
        self._connection = connection
        self._until = time.monotonic() + header_timeout

    def has_header(self) -> None:
        self._until = math.inf
        self._connection.settimeout(BODY_TIMEOUT)  # for the response, too

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the header of the request did not come in time")
        self._connection.settimeout(min(left, BODY_TIMEOUT))
        return self._connection.recv_into(buffer)


def _in_threads(app: Any) -> Any:
    """wsgiref itself serves one request at a time, and says so."""

    def call(environ: dict[str, Any], start_response: Any) -> Any:
        environ["wsgi.multithread"] = True
        return app(environ, start_response)

    return call
