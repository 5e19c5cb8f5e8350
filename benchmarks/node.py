"""A node of ours as a process of its own, driven by JSON lines as Go's is (tests/interop/peers/tsnetpeer).

    up · listen(address, mode) · accepted(address) · send(address, size) · rtt(address, size, count)
    rtt_beside(…) · connections(address, count) · path_to(name) · first_byte(hostname, address) · quit

One request at a time; listeners work beside it, in WORKERS threads each. Streams are the node's own pipes: what a
stream costs without a descriptor in between. Payload is random, hashes cover every byte and are taken after the clock
has stopped.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import tsnet
from benchmarks.answers import answer_lines
from tsnet.edge.io.store import MemoryStore
from tsnet.edge.pipes.listening import ListenPipe
from tsnet.edge.pipes.pipes import Pipe

CHUNK = 256 * 1024
TIMEOUT = 20.0
WORKERS = 4
"""Threads that accept and serve, each one stream at a time: to start one costs as much as a small connection."""


def wait_for(subscribe: Callable[[Callable[[], None]], bool]) -> None:
    woken: queue.SimpleQueue[None] = queue.SimpleQueue()
    if subscribe(functools.partial(woken.put, None)):
        woken.get()


def read(pipe: Pipe, limit: int = 1 << 20) -> bytes | None:
    """Some bytes; None at the end of the stream."""
    while (data := pipe.take(limit)) == b"":
        wait_for(pipe.when_readable)
    return data


def write(pipe: Pipe, data: bytes | memoryview) -> None:
    offset, view = 0, memoryview(data)
    while offset < len(view):
        taken = pipe.give(view[offset : offset + CHUNK])
        offset += taken
        if not taken:
            wait_for(pipe.when_writable)


class Clock:
    """Seconds passed, and CPU seconds that the whole process has spent meanwhile."""

    def __init__(self) -> None:
        self._begun, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        return {"seconds": time.perf_counter() - self._begun, "cpu": time.process_time() - self._cpu}


def drain(pipe: Pipe) -> dict[str, Any]:
    clock, size, chunks = Clock(), 0, []
    while (data := read(pipe)) is not None:
        size += len(data)
        chunks.append(data)
    spent = clock.read()
    return {"bytes": size, "sha256": hashlib.sha256(b"".join(chunks)).hexdigest(), **spent}


def sink(pipe: Pipe) -> dict[str, Any]:
    got = drain(pipe)
    pipe.close()
    return got


def echo(pipe: Pipe) -> dict[str, Any]:
    while (data := read(pipe)) is not None:
        write(pipe, data)
    pipe.close()
    return {}


class Node:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._server = self._make(options.hostname, options.port)
        self._arrivals: dict[str, queue.SimpleQueue[dict[str, Any]]] = {}

    def _make(self, hostname: str, port: int = 0) -> tsnet.Server:
        options = self._options
        return tsnet.Server(
            hostname,
            control_url=options.control,
            auth_key=options.authkey,
            state=MemoryStore(),
            ephemeral=True,
            port=port,
        )

    def up(self) -> dict[str, Any]:
        begun = time.perf_counter()
        self._server.up(timeout=TIMEOUT)
        seconds = time.perf_counter() - begun
        self._server.reachable(timeout=TIMEOUT)
        addresses = [str(address) for address in self._server.addresses]
        return {"name": self._server.name, "addresses": addresses, "key": "", "seconds": seconds}

    def quit(self) -> None:
        self._server.close()

    def listen(self, address: str, mode: str) -> None:
        work = {"echo": echo, "sink": sink}[mode]
        port = int(address.rpartition(":")[2])
        listener = self._server._handle.listen(port, None, TIMEOUT).result()
        arrivals = self._arrivals[address] = queue.SimpleQueue()
        for _ in range(WORKERS):
            threading.Thread(target=self._accept, args=(listener, work, arrivals), daemon=True).start()

    def _accept(
        self,
        listener: ListenPipe,
        work: Callable[[Pipe], dict[str, Any]],
        arrivals: queue.SimpleQueue[dict[str, Any]],
    ) -> None:
        while True:
            pipe = listener.accept_nowait()
            if pipe is None:
                wait_for(listener.when_acceptable)
            else:
                arrivals.put(work(pipe))

    def accepted(self, address: str) -> dict[str, Any]:
        return self._arrivals[address].get(timeout=TIMEOUT)

    def _dial(self, address: str) -> Pipe:
        return dial(self._server, address)

    def send(self, address: str, size: int) -> dict[str, Any]:
        data = os.urandom(size)
        pipe = self._dial(address)
        clock = Clock()
        write(pipe, data)
        pipe.finish()
        received = drain(pipe)
        spent = clock.read()
        pipe.close()
        return {"sent": {"bytes": size, "sha256": hashlib.sha256(data).hexdigest(), **spent}, "received": received}

    def rtt(self, address: str, size: int, count: int) -> dict[str, float]:
        pipe, out = self._dial(address), os.urandom(size)
        times = [exchange(pipe, out) for _ in range(count)]
        pipe.close()
        return percentiles(times)

    def path_to(self, name: str) -> str:
        """How the peer of that name is reached, as the status tells it: "direct …", "relay …", "none"."""
        return next((str(peer.path) for peer in self._server.status().peers if peer.name == name), "none")

    def rtt_beside(self, address: str, size: int, bulk: str, bulk_size: int) -> dict[str, float]:
        """Round trips while another stream of this node is sent, and only while it is."""
        over, data = threading.Event(), os.urandom(bulk_size)
        seconds: list[float] = []

        def fill() -> None:
            stream = self._dial(bulk)
            begun = time.perf_counter()
            write(stream, data)
            seconds.append(time.perf_counter() - begun)
            over.set()
            stream.finish()
            drain(stream)
            stream.close()

        pipe, out, times = self._dial(address), os.urandom(size), []
        exchange(pipe, out)
        thread = threading.Thread(target=fill)
        thread.start()
        while not over.is_set():
            times.append(exchange(pipe, out))
        thread.join()
        pipe.close()
        return {**percentiles(times), "gbit": bulk_size * 8 / seconds[0] / 1e9}

    def connections(self, address: str, count: int) -> dict[str, float]:
        begun = time.perf_counter()
        for _ in range(count):
            pipe = self._dial(address)
            exchange(pipe, b"1")
            pipe.close()
        return {"seconds": time.perf_counter() - begun}

    def first_byte(self, hostname: str, address: str) -> dict[str, float]:
        """Another node in this process: from `Server(…)` to the first byte of an answer."""
        begun = time.perf_counter()
        server = self._make(hostname)
        server.up(timeout=TIMEOUT)
        joined = time.perf_counter() - begun
        exchange(dial(server, address), b"1")
        seconds = time.perf_counter() - begun
        server.close()
        return {"joined": joined, "seconds": seconds}


def dial(server: tsnet.Server, address: str) -> Pipe:
    host, _, port = address.rpartition(":")
    return server._handle.dial(host, int(port), TIMEOUT).result()


def exchange(pipe: Pipe, out: bytes) -> float:
    """Seconds until as many bytes have come back."""
    begun, left = time.perf_counter(), len(out)
    write(pipe, out)
    while left and (data := read(pipe)) is not None:
        left -= len(data)
    return time.perf_counter() - begun


def percentiles(seconds: list[float]) -> dict[str, float]:
    ordered, count = sorted(seconds), len(seconds)
    at = {"p50_us": ordered[count // 2], "p99_us": ordered[count * 99 // 100], "max_us": ordered[-1]}
    return {name: value * 1e6 for name, value in at.items()}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hostname", required=True)
    parser.add_argument("--control", required=True)
    parser.add_argument("--authkey", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--numpy", action="store_true", help="import numpy first, as an application may")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.numpy:
        import numpy  # noqa: F401
    answer_lines(Node(options))


if __name__ == "__main__":
    main()
