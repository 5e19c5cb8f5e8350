"""One end of a plain TCP stream of the system: `sink HOST PORT` or `send HOST PORT BYTES`.

Prints "BYTES SHA256 SECONDS"; the payload is random, its hash is taken after the clock has stopped.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import time

READ = 1 << 20
PATIENCE = 10.0


def sink(host: str, port: int) -> tuple[bytes, float]:
    with socket.create_server((host, port)) as listener:
        connection, _ = listener.accept()
    chunks = []
    with connection:
        begun = time.perf_counter()
        while data := connection.recv(READ):
            chunks.append(data)
        seconds = time.perf_counter() - begun
    return b"".join(chunks), seconds


def send(host: str, port: int, size: int) -> tuple[bytes, float]:
    data = os.urandom(size)
    with connect(host, port) as connection:
        begun = time.perf_counter()
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
        return data, time.perf_counter() - begun


def connect(host: str, port: int) -> socket.socket:
    """The other end may not listen yet."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection((host, port), timeout=PATIENCE)
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


if __name__ == "__main__":
    role, host, port = sys.argv[1:4]
    data, seconds = sink(host, int(port)) if role == "sink" else send(host, int(port), int(sys.argv[4]))
    print(len(data), hashlib.sha256(data).hexdigest(), seconds, flush=True)
