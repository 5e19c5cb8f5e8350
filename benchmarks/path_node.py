"""One end of a measured stream, as a process of its own: `python -m benchmarks.path_node ROLE …`, lines in, lines out.

    serve   joins, listens on port 80, prints "ready NAME UDP_PORT", then for each stream "received BYTES SECONDS SHA256"
    send    joins, prints "ready …", reads "go HOST BYTES" lines, sends that many random bytes, prints "sent BYTES SECONDS"

The payload is random; the receiver's hash covers every byte.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import threading
import time

import tsnet
from tsnet.edge.pipes import Pipe
from tsnet.edge.state import MemoryStore

CHUNK = 256 * 1024


def say(*words: object) -> None:
    print(*words, flush=True)


def join(name: str, control_url: str, auth_key: str) -> tsnet.Server:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    node = tsnet.Server(
        name, control_url=control_url, auth_key=auth_key, state=MemoryStore(), ephemeral=True, port=port
    )
    node.up(timeout=20)
    node.reachable(timeout=20)
    say("ready", node.name, port)
    return node


def wait_for(subscribe: object) -> None:
    event = threading.Event()
    if subscribe(event.set):  # type: ignore[operator]
        event.wait()


def serve(node: tsnet.Server) -> None:
    """Read from the node's own pipes: what a stream costs, without a descriptor in between."""
    listener = node._handle.listen(80, None, 20).result()
    while True:
        pipe = listener.accept_nowait()
        if pipe is None:
            wait_for(listener.when_acceptable)
            continue
        receive(pipe)


def receive(pipe: Pipe) -> None:
    digest, size, begun = hashlib.sha256(), 0, 0.0
    chunks: list[bytes] = []
    while (data := pipe.take(1 << 20)) is not None:
        if data:
            begun = begun or time.perf_counter()
            size += len(data)
            chunks.append(data)
        else:
            wait_for(pipe.when_readable)
    seconds = time.perf_counter() - begun
    for chunk in chunks:  # after the clock stopped: hashing is not what is measured
        digest.update(chunk)
    pipe.close()
    say("received", size, seconds, digest.hexdigest())


def send(node: tsnet.Server) -> None:
    for line in sys.stdin:
        _, host, size = line.split()
        data = memoryview(os.urandom(int(size)))
        digest = hashlib.sha256(data).hexdigest()
        pipe = node._handle.dial(host, 80, 20).result()
        begun = time.perf_counter()
        offset = 0
        while offset < len(data):
            taken = pipe.give(data[offset : offset + CHUNK])
            offset += taken
            if not taken:
                wait_for(pipe.when_writable)
        pipe.finish()
        while pipe.take(1 << 16) is not None:
            wait_for(pipe.when_readable)
        say("sent", len(data), time.perf_counter() - begun, digest)
        pipe.close()


def main() -> None:
    role, name, control_url, auth_key = sys.argv[1:5]
    with join(name, control_url, auth_key) as node:
        (serve if role == "serve" else send)(node)


if __name__ == "__main__":
    main()
