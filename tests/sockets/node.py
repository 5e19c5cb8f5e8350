"""The node's side of a bridge, for tests: a reactor in its own thread and pipes that live in memory."""

from __future__ import annotations

import gc
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tsnet.edge.io.reactor import Reactor
from tsnet.errors import Error
from tsnet.protocols import Address
from tsnet.sockets import TailnetSocket, bridge

T = TypeVar("T")

LOCAL: Address = ("100.64.0.1", 80)
REMOTE: Address = ("100.64.0.2", 40_000)


class MemoryPipe:
    """A stream whose far side is the test. Bounded both ways, like the real one."""

    def __init__(self, room: int = 256 * 1024, local: Address = LOCAL, remote: Address = REMOTE) -> None:
        self.local_address, self.remote_address = local, remote
        self.room = room
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.peer_ended = False
        self.error: OSError | None = None
        self.gone: Error | None = None
        self.log: list[str] = []
        self.written = 0
        self._callback: Callable[[], None] | None = None

    def read_available(self, max_bytes: int) -> bytes | None:
        data = bytes(self.incoming[:max_bytes])
        del self.incoming[:max_bytes]
        if data:
            return data
        if self.error is not None:
            raise self.error
        return None if self.peer_ended else b""

    def write_some(self, data: bytes) -> int:
        if self.error is not None:
            raise self.error
        taken = min(len(data), self.room - len(self.outgoing))
        self.outgoing += data[:taken]
        self.written += taken
        return taken

    def send_eof(self) -> None:
        self.log.append("eof")

    def close(self) -> None:
        self.log.append("close")
        self.written_at_close = self.written

    def abort(self) -> None:
        self.log.append("abort")

    def on_change(self, callback: Callable[[], None] | None) -> None:
        self._callback = callback
        if self.gone is not None:
            self.changed()

    def changed(self) -> None:
        if self._callback is not None:
            self._callback()


class NodeThread:
    """A reactor that runs in a thread, and what a test does to the things that belong to it."""

    def __init__(self) -> None:
        self.reactor = Reactor(time.monotonic)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping:
            self.reactor.wait(time.monotonic() + 60)

    def call(self, function: Callable[[], T]) -> T:
        """The function's result, computed on the node's thread."""
        done = threading.Event()
        results: list[T] = []
        failures: list[BaseException] = []

        def run() -> None:
            try:
                results.append(function())
            except BaseException as error:
                failures.append(error)
            done.set()

        self.reactor.call_soon(run)
        assert done.wait(10), "the node's thread is stuck"
        if failures:
            raise failures[0]
        return results[0]

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the node's thread brings about."""
        limit = time.monotonic() + 10
        while not self.call(condition):
            assert time.monotonic() < limit, "it never happened"
            time.sleep(0.001)

    def arrive(self, pipe: MemoryPipe, data: bytes = b"", *, end: bool = False, error: OSError | None = None) -> None:
        """What the peer does: send, end, reset."""

        def change() -> None:
            pipe.incoming += data
            pipe.peer_ended = pipe.peer_ended or end
            pipe.error = error or pipe.error
            pipe.changed()

        self.call(change)

    def take(self, pipe: MemoryPipe) -> bytes:
        """What has gone out to the peer; there is room again for as much."""

        def change() -> bytes:
            data = bytes(pipe.outgoing)
            pipe.outgoing.clear()
            pipe.changed()
            return data

        return self.call(change)

    def stop(self) -> None:
        self.call(lambda: None)  # what the test has closed is noticed before this
        self._stopping = True
        self.reactor.call_soon(lambda: None)
        self._thread.join(10)
        assert not self._thread.is_alive()
        self.reactor.close()


def connect(
    node: NodeThread, pipe: MemoryPipe | None = None, *, room: int = 256 * 1024
) -> tuple[MemoryPipe, TailnetSocket]:
    """A pipe, one with that room unless it is given, and the application's socket at the end of a bridge to it."""
    pipe = pipe or MemoryPipe(room)
    application = bridge(pipe, node.reactor)
    application.settimeout(10)
    return pipe, application


def fill(sock: socket.socket, size: int = 16_384) -> int:
    """Write to a socket that does not block until it refuses; how much it took."""
    written = 0
    while True:
        try:
            written += sock.send(bytes(size))
        except BlockingIOError:
            return written


@contextmanager
def node_thread() -> Iterator[NodeThread]:
    node = NodeThread()
    try:
        yield node
    finally:
        node.stop()


def open_descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def is_nothing_left(before: int) -> bool:
    """Whether no more descriptors are open than before; what is garbage does not count."""
    if open_descriptors() > before:
        gc.collect()
    return open_descriptors() <= before


class Idle:
    """A reactor that only the test turns, and how many descriptors were open before what it tries."""

    def __init__(self) -> None:
        self.reactor = Reactor(time.monotonic)
        self.pipe = MemoryPipe()
        self.before = open_descriptors()
        self.made: list[socket.socket] = []

    def turn(self) -> None:
        for _ in range(4):
            self.reactor.wait(-math.inf)
            self.settle()

    def settle(self) -> None:
        """What else is the node's to do, if anything is."""

    def close(self) -> None:
        """Whatever was made is closed: nothing is left."""
        while self.made:
            self.made.pop().close()
        self.turn()
        assert is_nothing_left(self.before)
        self.reactor.close()
