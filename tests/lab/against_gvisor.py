"""One transfer between our stack and gVisor's, over UDP datagrams and a shim each way."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from netstack import Stack, TcpConnection
from tests.interop.harness.gvisor import V4, V6, GvisorPeer
from tests.lab.cases import DEADLINE, Case, Outcome
from tests.lab.dumbbell import Dumbbell, FdEnd, StackEnd, udp_socket
from tests.lab.shim import Shim

OURS_V4, OURS_V6 = ip_address("10.8.0.2"), ip_address("fd00:8::2")
PORT = 80
CHUNK = 262_144


class GvisorHost:
    """A stack at OURS_V4 and OURS_V6, and gVisor; between them a shim each way. Entered: they can talk."""

    def __init__(
        self, *, there: Shim | None = None, back: Shim | None = None, mtu: int = 1280, congestion: str = "reno"
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.socket = udp_socket()
        self.peer = GvisorPeer(Path(self._folder.name), wire=self.socket.getsockname(), mtu=mtu, congestion=congestion)
        now = time.monotonic()
        self.stack = Stack(entropy=os.urandom, mtu=mtu, now=now)
        self.stack.set_addresses([OURS_V4, OURS_V6], now)
        self.wire = Dumbbell([(StackEnd(self.stack), ())], FdEnd(self.socket.fileno()), there=there, back=back)
        self.wire.describe = lambda: (self.stack.dropped, self.stack.connections)

    def __enter__(self) -> Self:
        self.peer.__enter__()
        self.socket.connect(self.peer.wire)
        return self

    def __exit__(self, *_: object) -> None:
        self.peer.__exit__()
        self.socket.close()
        self._folder.cleanup()

    def result(self, future: Future[Any], timeout: float = DEADLINE) -> Any:
        self.wire.run_until(lambda now: future.done(), timeout)
        return future.result()

    def connect(self, case: Case, timeout: float) -> TcpConnection:
        """To gVisor's listener."""
        connection = self.stack.connect(ip_address(V6 if case.v6 else V4), PORT, time.monotonic())
        self.wire.run_until(lambda now: connection.connected or connection.finished, timeout)
        assert connection.connected, connection.error
        return connection

    def accept(self, timeout: float) -> TcpConnection:
        listener = self.stack.listen(PORT)
        self.wire.run_until(lambda now: listener.readable, timeout)
        connection = listener.accept()
        assert connection is not None
        return connection


def transfer(case: Case, timeout: float = DEADLINE) -> Outcome:
    there, back = case.shims()
    begun = time.monotonic()
    with GvisorHost(there=there, back=back) as host:
        move = _ours_sends if case.sender == "ours" else _theirs_sends
        connection, expected, got, count = move(host, case, timeout)
        retransmitted = connection.info().retransmitted
        seconds = time.monotonic() - begun
        return Outcome(
            expected, got, count, seconds, connection.error, there.counts, back.counts, retransmitted, host.peer.stats()
        )


Moved = tuple[TcpConnection, str, str, int]


def _ours_sends(host: GvisorHost, case: Case, timeout: float) -> Moved:
    """To a sink of theirs, or to one that fetches from us."""
    if case.dials == "ours":
        host.peer.listen(f":{PORT}", "sink")
        told = host.peer.start("accepted", address=f":{PORT}", timeout=timeout)
        connection = host.connect(case, timeout)
    else:
        ours = f"[{OURS_V6}]:{PORT}" if case.v6 else f"{OURS_V4}:{PORT}"
        told = host.peer.start("fetch", address=ours, timeout=timeout)
        connection = host.accept(timeout)
    payload = case.payload
    host.wire.run_until(pouring(connection, payload), timeout)
    result = host.result(told, timeout)
    return connection, hashlib.sha256(payload).hexdigest(), result["sha256"], result["bytes"]


def _theirs_sends(host: GvisorHost, case: Case, timeout: float) -> Moved:
    if case.dials == "ours":
        host.peer.listen(f":{PORT}", "source", size=case.size)
        told = host.peer.start("accepted", address=f":{PORT}", timeout=timeout)
        connection = host.connect(case, timeout)
    else:
        ours = f"[{OURS_V6}]:{PORT}" if case.v6 else f"{OURS_V4}:{PORT}"
        told = host.peer.start("send", address=ours, size=case.size, timeout=timeout)
        connection = host.accept(timeout)
    digest, count = hashlib.sha256(), [0]
    host.wire.run_until(draining(connection, digest, count), timeout)
    connection.close(time.monotonic())
    result = host.result(told, timeout)
    return connection, result.get("sent", result)["sha256"], digest.hexdigest(), count[0]


def pouring(connection: TcpConnection, payload: bytes) -> Callable[[float], bool]:
    """Writes all, ends the stream, and is done when nothing of it is left here."""
    sent = 0

    def step(now: float) -> bool:
        nonlocal sent
        assert connection.error is None, connection.error
        if sent < len(payload):
            sent += connection.write(payload[sent : sent + CHUNK], now)
            if sent == len(payload):
                connection.shutdown_write(now)
        return sent == len(payload)

    return step


def draining(connection: TcpConnection, digest: hashlib._Hash, count: list[int]) -> Callable[[float], bool]:
    """Reads to the end."""

    def step(now: float) -> bool:
        data = connection.read()
        digest.update(data)
        count[0] += len(data)
        assert connection.error is None, connection.error
        return connection.eof

    return step
