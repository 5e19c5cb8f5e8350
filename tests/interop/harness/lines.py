"""A program that answers JSON lines: requests may overlap, each is answered when it is ready.

    with Lines(scene.run("peer", command, speak=True)) as peer:
        answer = peer.call("get", url="http://other/")
        future = peer.start("accepted", address=":7")      # goes on meanwhile

`asyncio.wrap_future(peer.start(…))` awaits one under asyncio; under trio, `peer.call` in a worker thread.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import subprocess
import threading
from concurrent.futures import Future, TimeoutError
from typing import Any, Self

from tests.interop.harness.process import Process, ProcessError


class PeerError(Exception):
    """What the program said instead of a result."""


class Lines:
    """One request line, one answer line, matched by `id`."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._ids = itertools.count(1)
        self._waiting: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, name=f"answers of {process.name}")
        self._reader.start()

    def start(self, op: str, **fields: object) -> Future[Any]:
        """Send a request; the future is its result, or a PeerError, or a ProcessError when the program has ended."""
        future: Future[Any] = Future()
        with self._lock:
            number = next(self._ids)
            self._waiting[number] = future
            line = json.dumps({"id": number, "op": op, **fields}).encode() + b"\n"
            assert self.process.popen.stdin is not None
            try:
                self.process.popen.stdin.write(line)
                self.process.popen.stdin.flush()
            except (BrokenPipeError, ValueError):
                del self._waiting[number]
                future.set_exception(self._ended(op))
        return future

    def call(self, op: str, *, timeout: float = 60, **fields: object) -> Any:
        """The request's result. `timeout` bounds the program's own work, and, with five seconds more, our wait."""
        future = self.start(op, **{**fields, "timeout": timeout})
        try:
            return future.result(timeout + 5)
        except TimeoutError:
            raise ProcessError(f"{self.process.name}: no answer to {op} in {timeout} s\n{self.process.log()}") from None

    def _read(self) -> None:
        assert self.process.popen.stdout is not None
        for line in self.process.popen.stdout:
            answer = json.loads(line)
            with self._lock:
                future = self._waiting.pop(answer.get("id", 0), None)
            if future is None:
                continue
            if "error" in answer:
                future.set_exception(PeerError(answer["error"]))
            else:
                future.set_result(answer.get("result"))
        with self._lock:
            left, self._waiting = self._waiting, {}
        for future in left.values():
            future.set_exception(self._ended("a request"))

    def _ended(self, op: str) -> ProcessError:
        return ProcessError(f"{self.process.name} has ended before it answered {op}\n{self.process.log()}")

    def kill(self) -> None:
        """At once, without a word to anybody."""
        self.process.signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """The orderly end: stdin is closed, so the program ends by itself."""
        stdin = self.process.popen.stdin
        assert stdin is not None
        with self._lock, contextlib.suppress(BrokenPipeError):
            stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.popen.wait(10)
        self.process.signal(signal.SIGKILL)
        self._reader.join()
        self.process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
