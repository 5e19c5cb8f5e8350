"""Servers that are far away: ports of loopback in front of them, whose bytes take as long as a long way would.

    with FarAway(0.08) as far:
        far.streams(443, TLS_PORT)             # TCP, to a server that listens at TLS_PORT
        far.datagrams(13478, 3478)             # UDP

| what                       | when it arrives                                                                      |
|----------------------------|--------------------------------------------------------------------------------------|
| a connection               | at once at the client, since loopback answers its SYN; so what the client says on it |
|                            | leaves one round trip later, as if the SYN had taken that long                       |
| bytes, the end of a stream | half a round trip after they were sent; in order                                     |
| a datagram                 | half a round trip after it was sent; each client has a port of its own at the server |

`count` begins to count round trips: `serial` is how many have followed one another since, on all connections that were
opened since. What a client says counts one more than all that it has heard before, whatever the time was; so a slow
machine makes the count no higher than its own turns do.

`TlsFront` opens TLS in front of a server that speaks in the clear, as a front end on the same host would.

Bandwidth, loss and a congestion window are not imitated: only round trips cost anything. All is done by one thread.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Self

LOOPBACK = "127.0.0.1"
CHUNK = 1 << 16

Address = tuple[str, int]


class _Way:
    """One connection, or one client's datagrams. reached: the round trip in which the server heard of it last."""

    def __init__(self, far: FarAway, begun: int) -> None:
        self._far, self.reached, self._epoch = far, begun, far.epoch

    def says(self, *, at_least: int) -> int:
        """The number of the round trip that something begins which the client says now."""
        return max(self._far.serial, at_least) + 1 if self._epoch == self._far.epoch else 0

    def arrived(self, number: int) -> None:
        self.reached = max(self.reached, number)

    def heard(self) -> None:
        if self._epoch == self._far.epoch:
            self._far.serial = max(self._far.serial, self.reached)


class FarAway:
    """Entering it begins; ports may be opened before that and after. serial: see above."""

    def __init__(self, round_trip: float) -> None:
        self.round_trip = round_trip
        self.serial = self.epoch = 0
        self._selector = selectors.DefaultSelector()
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._sockets: set[socket.socket] = set()
        self._bell, self._ringer = socket.socketpair()
        self._ends = False
        self._thread = threading.Thread(target=self._run, name="far away")
        self._watch(self._bell, lambda: self._bell.recv(CHUNK))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends = True
        self._ringer.send(b"!")
        self._thread.join(10)
        for sock in (*self._sockets, self._ringer):
            sock.close()
        self._selector.close()

    def count(self) -> None:
        """Count anew, what is opened from now on."""
        self.epoch, self.serial = self.epoch + 1, 0

    # --- ports ----------------------------------------------------------------------------------------------------

    def streams(self, port: int, target: int) -> None:
        listening = socket.create_server((LOOPBACK, port), backlog=64)
        self._watch(listening, lambda: self._accept(listening, target))

    def datagrams(self, port: int, target: int) -> None:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((LOOPBACK, port))
        routes: dict[Address, Callable[[bytes], None]] = {}

        def from_client() -> None:
            data, client = server.recvfrom(CHUNK)
            if client not in routes:
                routes[client] = self._toward(target, lambda back: server.sendto(back, client))
            routes[client](data)

        self._watch(server, from_client)

    def _toward(self, target: int, answer: Callable[[bytes], object]) -> Callable[[bytes], None]:
        """A port of one client's own at the server. Returns what sends from there."""
        sock, way = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), _Way(self, 0)
        sock.connect((LOOPBACK, target))

        def send(data: bytes) -> None:
            number = way.says(at_least=0)

            def arrive() -> None:
                way.arrived(number)
                sock.send(data)

            self._later(arrive)

        def receive() -> None:
            data = sock.recv(CHUNK)

            def arrive() -> None:
                way.heard()
                answer(data)

            self._later(arrive)

        self._watch(sock, receive)
        return send

    def _accept(self, listening: socket.socket, target: int) -> None:
        client, _ = listening.accept()
        server = socket.create_connection((LOOPBACK, target))
        way = _Way(self, 0)
        opening = way.says(at_least=0)  # the SYN
        way.arrived(opening)
        is_there = time.monotonic() + self.round_trip  # when the client would know that the connection is made
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def from_client() -> None:
            number, data = way.says(at_least=opening), self._read(client)

            def arrive() -> None:
                way.arrived(number)
                _write(server, data)

            self._later(arrive, is_there)

        def from_server() -> None:
            data = self._read(server)

            def arrive() -> None:
                way.heard()
                _write(client, data)

            self._later(arrive, is_there)

        self._watch(client, from_client)
        self._watch(server, from_server)

    def _read(self, source: socket.socket) -> bytes:
        """What has come; empty at the end, after which it is watched no more."""
        data = b""
        with contextlib.suppress(OSError):
            data = source.recv(CHUNK)
        if not data:
            self._selector.unregister(source)
        return data

    # --- the thread -----------------------------------------------------------------------------------------------

    def _watch(self, sock: socket.socket, on_readable: Callable[[], object]) -> None:
        self._sockets.add(sock)
        self._selector.register(sock, selectors.EVENT_READ, on_readable)

    def _later(self, what: Callable[[], object], not_before: float = 0.0) -> None:
        """Half a round trip from now, or from a later moment."""
        at = max(time.monotonic(), not_before) + self.round_trip / 2
        heapq.heappush(self._due, (at, next(self._numbers), lambda: _try(what)))

    def _run(self) -> None:
        while not self._ends:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            for key, _mask in self._selector.select(wait):
                key.data()
            while self._due and self._due[0][0] <= time.monotonic():
                heapq.heappop(self._due)[2]()


def _write(sink: socket.socket, data: bytes) -> None:
    if data:
        sink.sendall(data)
    else:
        sink.shutdown(socket.SHUT_WR)


def _try(what: Callable[[], object]) -> None:
    with contextlib.suppress(OSError):  # the other end has gone meanwhile
        what()


class TlsFront:
    """Takes TLS at `port`, and speaks in the clear to `target`."""

    def __init__(self, port: int, target: int, context: ssl.SSLContext) -> None:
        self._target, self._context = target, context
        self._listening = socket.create_server((LOOPBACK, port), backlog=64)
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, name="TLS front")]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._listening, *tuple(self._open)):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._start(self._serve, self._listening.accept()[0])

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, name="TLS front"))
        self._threads[-1].start()

    def _serve(self, raw: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            self._context.wrap_socket(raw, server_side=True) as client,
            socket.create_connection((LOOPBACK, self._target)) as server,
        ):
            both = {client, server}
            self._open |= both
            self._start(_pour, server, client)
            _pour(client, server)
            self._open -= both


def _pour(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := source.recv(CHUNK):
            sink.sendall(data)
    for sock in (source, sink):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
