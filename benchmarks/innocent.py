"""An innocent peer of the victim, as a process: `benchmarks.floods` asks it what it notices of a flood.

    up · round_trips(seconds) · transfer() · change() · request(port) · quit

| what        | how                                                                                            |
|-------------|------------------------------------------------------------------------------------------------|
| round_trips | a record of 64 bytes every 10 ms on one stream, whether or not the earlier ones have come back |
| transfer    | 4 MiB to the victim, whose SHA-256 comes back                                                  |
| change      | from a third node's first word to control until this node's event "peer appeared"              |
| request     | HTTP GET on a new connection, the slowest of three                                             |

What does not come within its limit counts as the limit.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import tsnet
from benchmarks.answers import answer_lines
from benchmarks.flooded import HOSTNAME

SIZE, EVERY = 64, 0.01
TRANSFER = 4 << 20
LIMIT = 10.0
REQUESTS = 3


class Innocent:
    def __init__(self, folder: Path, control_url: str, auth_key: str) -> None:
        self._folder, self._control_url, self._auth_key = folder, control_url, auth_key
        self._node = self._server("innocent")
        self._names = itertools.count()

    def _server(self, name: str) -> tsnet.Server:
        state = self._folder / name
        return tsnet.Server(name, control_url=self._control_url, auth_key=self._auth_key, state=state)

    def up(self) -> None:
        self._node.up(timeout=LIMIT)
        self._node.reachable(timeout=LIMIT)

    def quit(self) -> None:
        os._exit(0)  # what was flooded may not end in time

    def round_trips(self, seconds: float) -> dict[str, float]:
        """Milliseconds. lost: how many had not come back LIMIT seconds after the last one was sent."""
        count = max(1, int(seconds / EVERY))
        took: dict[int, float] = {}
        with contextlib.suppress(tsnet.Error, OSError), self._dial(7) as stream:
            begun = time.perf_counter()
            reader = threading.Thread(target=_read, args=(stream, begun, count, took))
            reader.start()
            with contextlib.suppress(OSError):
                _write(stream, begun, count)
            reader.join(LIMIT)
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
            reader.join()
        all_of_them = sorted(took.get(number, LIMIT) for number in range(count))
        return {
            "p50": all_of_them[count // 2] * 1e3,
            "p99": all_of_them[count * 99 // 100] * 1e3,
            "lost": count - len(took),
        }

    def transfer(self) -> float:
        """Seconds."""
        data, answer, begun = os.urandom(TRANSFER), b"", time.perf_counter()
        with contextlib.suppress(tsnet.Error, OSError), self._dial(8) as stream:
            stream.sendall(data)
            stream.shutdown(socket.SHUT_WR)
            while piece := stream.recv(1 << 16):
                answer += piece
        spent = time.perf_counter() - begun
        return spent if answer == hashlib.sha256(data).digest() else LIMIT

    def change(self) -> float:
        """Seconds."""
        name = f"newcomer-{next(self._names)}"
        newcomer, seen = self._server(name), threading.Event()
        events = self._node.events()

        def watch() -> None:
            for event in events:
                if isinstance(event, tsnet.events.PeerAppeared) and event.peer.name.startswith(name):
                    seen.set()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        begun = time.perf_counter()
        threading.Thread(target=_up, args=(newcomer,), daemon=True).start()
        seen.wait(LIMIT)
        spent = time.perf_counter() - begun
        events.close()
        threading.Thread(target=newcomer.close, daemon=True).start()
        return min(spent, LIMIT)

    def request(self, port: int) -> float:
        """Seconds."""
        worst = 0.0
        for _ in range(REQUESTS):
            worst = max(worst, self._request(port))
            if worst >= LIMIT:
                break
        return worst

    def _request(self, port: int) -> float:
        answer, begun = b"", time.perf_counter()
        with contextlib.suppress(tsnet.Error, OSError), self._dial(port) as stream:
            stream.sendall(b"GET / HTTP/1.1\r\nHost: victim\r\nConnection: close\r\n\r\n")
            while piece := stream.recv(1 << 16):
                answer += piece
        return time.perf_counter() - begun if answer.endswith(b"ok") else LIMIT

    def _dial(self, port: int) -> socket.socket:
        stream = self._node.dial(HOSTNAME, port, timeout=LIMIT)
        stream.settimeout(LIMIT)
        return stream


def _write(stream: socket.socket, begun: float, count: int) -> None:
    for number in range(count):
        time.sleep(max(0.0, begun + number * EVERY - time.perf_counter()))
        stream.sendall(number.to_bytes(SIZE, "big"))


def _read(stream: socket.socket, begun: float, count: int, took: dict[int, float]) -> None:
    """took: seconds from when each record was to be sent, by number."""
    kept = b""
    with contextlib.suppress(OSError):
        while len(took) < count and (data := stream.recv(1 << 16)):
            now, kept = time.perf_counter(), kept + data
            while len(kept) >= SIZE:
                number, kept = int.from_bytes(kept[:SIZE], "big"), kept[SIZE:]
                took[number] = now - begun - number * EVERY


def _up(newcomer: tsnet.Server) -> Any:
    with contextlib.suppress(tsnet.Error, OSError):
        newcomer.up(timeout=LIMIT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--control", required=True)
    parser.add_argument("--authkey", required=True)
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    answer_lines(Innocent(options.folder, options.control, options.authkey))


if __name__ == "__main__":
    main()
