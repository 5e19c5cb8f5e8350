"""Byte machines over real loopback sockets: one thread, one selector, no edge. For talks with foreign relays.

A machine is anything with `receive(event, now)`, `transmit(now, budget)` and `deadline()`.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, Protocol, Self

from tsnet.base.links import Accepted, Close, Closed, Data, Effect, Event, Full, Link, Open, Opened, Received, Room
from tsnet.edge.io.certificates import presented_chain, server_key_of

BUDGET = 1 << 20
WRITE_BUFFER = 1 << 20


class Machine(Protocol):
    def receive(self, event: Event, now: float) -> Any: ...
    def transmit(self, now: float, budget: int) -> list[Effect]: ...
    def deadline(self) -> float: ...


class Wire:
    """One connected socket and what it could not yet take."""

    def __init__(self, link: Link, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self.link, self.socket = link, connection
        self.unsent = bytearray()
        self.is_full = self.is_closing = False


class Sockets:
    """Drives one machine. `up` sees what `receive` returns; `server_tls` is for connections taken in."""

    def __init__(
        self, machine: Machine, *, up: Callable[[Any], object] = id, server_tls: ssl.SSLContext | None = None
    ) -> None:
        self.machine = machine
        self._up = up
        self._server_tls = server_tls
        self._selector = selectors.DefaultSelector()
        self._wires: dict[Link, Wire] = {}
        self._accepted = 0
        self._listener: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for wire in list(self._wires.values()):
            self._drop(wire)
        if self._listener is not None:
            self._listener.close()
        self._selector.close()

    def listen(self) -> int:
        """Take connections in on a free port of 127.0.0.1."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector.register(self._listener, selectors.EVENT_READ)
        port: int = self._listener.getsockname()[1]
        return port

    def run(self, until: Callable[[], object], timeout: float = 5.0) -> None:
        end = time.monotonic() + timeout
        while not until():
            assert time.monotonic() < end, "nothing came of it in time"
            self.turn(min(0.05, end - time.monotonic()))

    def turn(self, wait: float = 0.05) -> None:
        self._transmit()
        pause = min(wait, max(0.0, self.machine.deadline() - time.monotonic()))
        for ready, mask in self._selector.select(pause):
            if ready.fileobj is self._listener:
                self._accept()
            elif ready.data.socket.fileno() >= 0:
                if mask & selectors.EVENT_WRITE:
                    self._write(ready.data)
                self._read(ready.data)
        self._transmit()

    def _tell(self, event: Event) -> None:
        self._up(self.machine.receive(event, time.monotonic()))

    def _transmit(self) -> None:
        for effect in self.machine.transmit(time.monotonic(), BUDGET):
            match effect:
                case Open():
                    self._open(effect)
                case Data(link=link, data=data) if link in self._wires:
                    self._wires[link].unsent += data
                    self._write(self._wires[link])
                case Close(link=link) if link in self._wires:
                    self._wires[link].is_closing = True
                    self._write(self._wires[link])

    def _open(self, effect: Open) -> None:
        server_key = b""
        try:
            connection = socket.create_connection((effect.hosts[0], effect.port), timeout=5)
            if effect.tls is not None:
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                tls = connection = context.wrap_socket(connection, server_hostname=effect.tls.server_name)
                server_key = server_key_of(presented_chain(tls)) if tls.version() == "TLSv1.3" else b""
        except OSError:
            self._tell(Closed(effect.link, "refused"))
            return
        self._add(effect.link, connection)
        self._tell(Opened(effect.link, server_key))

    def _accept(self) -> None:
        assert self._listener is not None
        connection, remote = self._listener.accept()
        connection.settimeout(5)
        if self._server_tls is not None:
            try:
                connection = self._server_tls.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()
                return
        self._accepted += 1
        link = Link("served", "", self._accepted)
        self._add(link, connection)
        self._tell(Accepted(link, (remote[0], remote[1])))

    def _add(self, link: Link, connection: socket.socket) -> None:
        wire = self._wires[link] = Wire(link, connection)
        self._selector.register(connection, selectors.EVENT_READ, wire)

    def _read(self, wire: Wire) -> None:
        while wire.link in self._wires:
            try:
                data = wire.socket.recv(1 << 18)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            except OSError:
                data = b""
            if not data:
                self._drop(wire)
                self._tell(Closed(wire.link, "eof"))
                return
            self._tell(Received(wire.link, data))

    def _write(self, wire: Wire) -> None:
        with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError, ConnectionError):
            while wire.unsent:
                del wire.unsent[: wire.socket.send(wire.unsent)]
        if not wire.unsent and wire.is_closing:
            self._drop(wire)
            return
        full = len(wire.unsent) > (0 if wire.is_full else WRITE_BUFFER)
        if full != wire.is_full and not wire.is_closing:
            wire.is_full = full
            self._tell(Full(wire.link) if full else Room(wire.link))
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if wire.unsent else 0)
        self._selector.modify(wire.socket, mask, wire)

    def _drop(self, wire: Wire) -> None:
        if self._wires.pop(wire.link, None) is not None:
            self._selector.unregister(wire.socket)
            wire.socket.close()
