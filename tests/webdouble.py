"""A web server on loopback that plays somebody: it answers as a test says, and keeps what it was asked."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs


@attrs.frozen
class WebRequest:
    """headers: by any case."""

    method: str
    path: str
    headers: Message
    body: bytes


@attrs.frozen
class WebAnswer:
    """raw: these bytes, and the end of the connection, in place of an answer."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    raw: bytes | None = None


@attrs.frozen
class WebDouble:
    """url: without a slash at its end. asked: in the order in which the requests came."""

    url: str
    asked: list[WebRequest]


@contextlib.contextmanager
def web_double(answer: Callable[[WebRequest], WebAnswer]) -> Iterator[WebDouble]:
    """answer: is called in a thread of the server's."""
    asked: list[WebRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            request = WebRequest(self.command, self.path, self.headers, body)
            asked.append(request)
            told = answer(request)
            if told.raw is not None:
                self.wfile.write(told.raw)
                self.close_connection = True
                return
            self.send_response(told.status)
            for name, value in {**told.headers, "Content-Length": str(len(told.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):  # whoever asked has gone
                self.wfile.write(told.body)

        do_PUT = do_POST = do_GET

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield WebDouble(f"http://127.0.0.1:{server.server_port}", asked)
        finally:
            server.shutdown()
            thread.join()
