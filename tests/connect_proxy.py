"""A small HTTP proxy for CONNECT, which says what it was asked and may refuse. `tests/interop` asks tinyproxy the same.

with ConnectProxy() as proxy:
    proxy.routes["control.test", 80] = 8080       that host and port are this port of loopback; others are not reached
    proxy.refusal = b"HTTP/1.1 407 …"             every request gets this, until it is empty again
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import Self

LOOPBACK = "127.0.0.1"


class ConnectProxy:
    """requests: the head of each, as it came."""

    def __init__(self) -> None:
        self.routes: dict[tuple[str, int], int] = {}
        self.refusal = b""
        self.requests: list[str] = []
        self._listening = socket.create_server((LOOPBACK, 0))
        self._threads = [threading.Thread(target=self._accept, name="proxy")]
        self._open: set[socket.socket] = set()

    @property
    def port(self) -> int:
        return int(self._listening.getsockname()[1])

    def url(self, user: str = "") -> str:
        return f"http://{user}{'@' if user else ''}{LOOPBACK}:{self.port}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for sock in tuple(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self._open.add(client)
            self._threads.append(threading.Thread(target=self._serve, args=(client,), name="proxied"))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                if not (data := client.recv(4096)):
                    return
                head += data
            self.requests.append(head.decode())
            host, _, port = head.split()[1].decode().rpartition(":")
            if self.refusal or (host, int(port)) not in self.routes:
                client.sendall(self.refusal or b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
                return
            with socket.create_connection((LOOPBACK, self.routes[host, int(port)])) as server:
                self._open.add(server)
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                _carry(client, server)


def _carry(one: socket.socket, other: socket.socket) -> None:
    while True:
        for sock in select.select([one, other], [], [])[0]:
            data = sock.recv(1 << 16)
            if not data:
                return
            (other if sock is one else one).sendall(data)
