"""A TCP proxy in front of a control server, which breaks connections as a bad network or a front end would.

with Proxy(8081, 8080) as proxy:
    proxy.cut_after = 2000                # bytes towards the client; then the connection is closed both ways
    proxy.answer = b"HTTP/1.1 503 …"      # new connections get this, and go nowhere
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import Self

LOOPBACK = "127.0.0.1"
IDLE = 0.05  # seconds without a byte, after which what was sent is taken to have arrived whole


class Proxy:
    """Entering it listens; each connection has a thread. connected, cuts: how many came, and ended by `cut_after`."""

    def __init__(self, port: int, target: int) -> None:
        self.url = f"http://{LOOPBACK}:{port}"
        self.cut_after: int | None = None
        self.answer = b""
        self.connected = self.cuts = 0
        self._target = target
        self._listening = socket.create_server((LOOPBACK, port))
        self._threads = [threading.Thread(target=self._accept, name="proxy")]
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def cut(self) -> None:
        """Every connection that there is."""
        for sock in tuple(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            answer = self.answer  # before it is counted: the test may change it from then on
            self.connected += 1
            self._threads.append(threading.Thread(target=self._serve, args=(client, answer), name="proxied"))
            self._threads[-1].start()

    def _serve(self, client: socket.socket, answer: bytes) -> None:
        with client, contextlib.suppress(OSError):
            if answer:
                client.recv(1 << 16)
                client.sendall(answer)
                return
            with socket.create_connection((LOOPBACK, self._target)) as server:
                self._open |= {client, server}
                try:
                    self._carry(client, server)
                finally:
                    self._open -= {client, server}

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        count = 0
        while True:
            is_full = self.cut_after is not None and count >= self.cut_after
            ready, _, _ = select.select([client, server], [], [], IDLE if is_full else None)
            if not ready:
                self.cuts += 1
                return
            for sock in ready:
                data = sock.recv(1 << 16)
                if not data:
                    return
                (server if sock is client else client).sendall(data)
                count += len(data) if sock is server else 0
