"""What any peer with streams can do, by the operations of the Go package `streams` (tests/interop/peers/streams)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Literal

import attrs

from tests.interop.harness.lines import Lines
from tests.interop.harness.process import Process

Mode = Literal["echo", "sink", "source", "hold"]


@attrs.frozen
class Transfer:
    """One direction of a stream."""

    bytes: int
    sha256: str
    seconds: float
    error: str = ""


def transfers(both: Mapping[str, Any]) -> tuple[Transfer, Transfer]:
    """What "send" answers, as (sent, received)."""
    return Transfer(**both["sent"]), Transfer(**both["received"])


class Streams:
    """An address is `host:port`; a listener's is `:port` or `ip:port`."""

    def call(self, op: str, *, timeout: float = 30, **fields: Any) -> Any:
        raise AssertionError(f"{type(self).__name__} has no way to ask for {op}")

    def send(self, address: str, size: int, *, timeout: float = 60) -> tuple[Transfer, Transfer]:
        """Random bytes there, then half-close; what came back, as (sent, received)."""
        return transfers(self.call("send", address=address, size=size, timeout=timeout))

    def fetch(self, address: str, *, timeout: float = 60) -> Transfer:
        """All that the other side says."""
        return Transfer(**self.call("fetch", address=address, timeout=timeout))

    def listen(self, address: str, mode: Mode, *, size: int = 0) -> None:
        """echo: back; sink: read to the end; source: `size` random bytes, then EOF; hold: kept open for the test."""
        self.call("listen", address=address, mode=mode, size=size)

    def accepted(self, address: str, *, timeout: float = 30) -> dict[str, Any]:
        """The next connection of that listener that is done: remote, local, bytes, sha256, seconds, error, stream."""
        return dict(self.call("accepted", address=address, timeout=timeout))

    def unlisten(self, address: str) -> None:
        self.call("unlisten", address=address)

    def open(self, address: str, *, timeout: float = 30) -> int:
        """A stream that the test works by hand: its number."""
        return int(self.call("open", address=address, timeout=timeout)["stream"])

    def write(self, stream: int, data: bytes) -> None:
        self.call("write", stream=stream, data=base64.b64encode(data).decode())

    def read(self, stream: int, size: int, *, timeout: float = 10) -> bytes:
        """Exactly `size` bytes, fewer only at the end of the stream."""
        answer = self.call("read", stream=stream, size=size, timeout=timeout)
        return base64.b64decode(answer["data"] or "")

    def shutdown(self, stream: int) -> None:
        """Half-close."""
        self.call("shutdown", stream=stream)

    def close_stream(self, stream: int) -> None:
        self.call("close", stream=stream)

    def rtt(self, address: str, *, size: int = 64, count: int = 1000) -> dict[str, float]:
        """Exchanges with an echoing port: p50_us, p99_us, max_us."""
        return dict(self.call("rtt", address=address, size=size, count=count))

    def connections(self, address: str, count: int) -> float:
        """Streams one after another, one byte each way: streams a second."""
        return count / float(self.call("connections", address=address, count=count)["seconds"])


class StreamsProgram(Streams):
    """The same, of a program that runs once it has been started, and answers in lines."""

    _lines: Lines | None = None

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process(self) -> Process:
        assert self._lines is not None
        return self._lines.process

    def start(self, op: str, **fields: object) -> Future[Any]:
        """Any operation of the program, without waiting."""
        assert self._lines is not None
        return self._lines.start(op, **fields)

    def call(self, op: str, *, timeout: float = 30, **fields: Any) -> Any:
        assert self._lines is not None
        return self._lines.call(op, timeout=timeout, **fields)

    def close(self) -> None:
        """The orderly end."""
        if self._lines:
            self._lines.close()
