"""What every attacker has: whom it attacks, what it has done so far, how fast it may go, and how it writes.

An attacker prints a JSON line when its flood is in force, and at most four a second after that: what it has done, by
name. `benchmarks.floods` reads the last one.

Not here: the floods themselves.
"""

from __future__ import annotations

import json
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Self

import attrs

LOOPBACK = "127.0.0.1"
SAID_EVERY = 0.25
PAUSE = 0.05
"""Seconds from a connection that the victim has ended to the next one."""

TIMEOUT = 5.0
BATCH = 200
"""Frames in one write."""


@attrs.frozen
class Target:
    """Where the victim is. control, relay: TCP ports on loopback. udp: its WireGuard port. count: how many of whatever
    the flood counts, if it counts. rate: a second, at most. batch: how many in one write."""

    hostname: str = ""
    auth_key: str = ""
    control: int = 0
    relay: int = 0
    udp: int = 0
    port: int = 0
    count: int = 0
    rate: float = 0.0
    batch: int = BATCH

    @property
    def control_url(self) -> str:
        return f"http://{LOOPBACK}:{self.control}"

    @classmethod
    def decode(cls, text: str) -> Target:
        return cls(**json.loads(text))

    def encode(self) -> str:
        return json.dumps(attrs.asdict(self))


class Tally:
    """done: counts by name. A flood is in force from the first line on."""

    def __init__(self, say: Callable[[str], object] = lambda line: print(line, flush=True)) -> None:
        self.done: Counter[str] = Counter()
        self._say = say
        self._said_at = 0.0

    def add(self, name: str, count: int = 1) -> None:
        self.done[name] += count
        if time.monotonic() - self._said_at >= SAID_EVERY:
            self.say()

    def say(self, **more: Any) -> None:
        self._said_at = time.monotonic()
        self._say(json.dumps({**self.done, **more}))


class Pace:
    """At most `rate` a second, all threads together, and never more than a tenth of a second at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._next = time.monotonic()

    def wait(self, count: int) -> None:
        """Until `count` more may go out."""
        now = time.monotonic()
        self._next = max(self._next, now - 0.1) + count / self._rate
        if self._next > now:
            time.sleep(self._next - now)


class Wire:
    """A TCP connection that reads while it writes, so that the victim cannot stop it by answering. deaf: it does not.

    Raises OSError when the victim has ended it, or takes nothing for TIMEOUT.
    """

    def __init__(self, port: int = 0, *, connection: socket.socket | None = None, deaf: bool = False) -> None:
        self._socket = connection or socket.create_connection((LOOPBACK, port), timeout=TIMEOUT)
        self._deaf = deaf

    def read(self) -> bytes:
        """Some bytes, once there are any."""
        self._socket.settimeout(TIMEOUT)
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionResetError("ended")
        return data

    def write(self, data: bytes) -> None:
        self._socket.setblocking(False)
        view = memoryview(data)
        reading = [] if self._deaf else [self._socket]
        while view:
            readable, writable, _ = select.select(reading, [self._socket], [], TIMEOUT)
            if not readable and not writable:
                raise TimeoutError("it takes nothing")
            if readable and not self._socket.recv(1 << 18):
                raise ConnectionResetError("ended")
            if writable:
                view = view[self._send(view) :]

    def _send(self, view: memoryview) -> int:
        try:
            return self._socket.send(view[: 1 << 18])
        except BlockingIOError:
            return 0

    def pour(
        self, frames: Iterator[bytes], seal: Callable[[bytes], bytes], tally: Tally, pace: Pace, *, batch: int = BATCH
    ) -> None:
        """Write all frames, which is for ever, some at a time."""
        while some := list(islice(frames, batch)):
            self.write(seal(b"".join(some)))
            tally.add("frames", len(some))
            pace.wait(len(some))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
