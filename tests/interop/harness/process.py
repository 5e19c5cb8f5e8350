"""One program in a scene: its log in a file, a wait until it is ready, and its end.

    with scene.run("derper", [BIN / "derper", "-dev"]) as derper:
        derper.wait_until(lambda: can_connect("127.0.0.1", 3340))

The program leads its own session and holds none of our pipes, so that a killed one leaves nothing open.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

Command = Sequence[str | Path]
POLL = 0.01  # seconds between two looks at something that a foreign program does


class ProcessError(AssertionError):
    """A foreign program did not do its part; the message ends with its log."""


class Process:
    """Starts at once. `speak=True` gives it pipes on stdin and stdout, for JSON lines."""

    def __init__(
        self,
        name: str,
        command: Command,
        *,
        log: Path,
        environment: Mapping[str, str],
        speak: bool = False,
    ) -> None:
        self.name = name
        self.log_path = log
        with log.open("ab") as log_file:
            self.popen = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE if speak else subprocess.DEVNULL,
                stdout=subprocess.PIPE if speak else log_file,
                stderr=log_file,
                env=dict(environment),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def log(self, last: int = 8000) -> str:
        """The end of what it wrote, in characters."""
        return self.log_path.read_text(errors="replace")[-last:]

    def wait_until(self, ready: Callable[[], object], what: str = "ready", timeout: float = 20) -> None:
        """Wait for `ready()`; a program that ends meanwhile, or takes too long, is an error with its log."""
        end = time.monotonic() + timeout
        while not ready():
            if not self.alive:
                raise ProcessError(f"{self.name} ended with {self.popen.returncode} before {what}\n{self.log()}")
            if time.monotonic() > end:
                raise ProcessError(f"{self.name}: not {what} after {timeout} s\n{self.log()}")
            time.sleep(POLL)

    def signal(self, number: signal.Signals) -> None:
        """To it and all its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def stop(self, timeout: float = 5) -> None:
        """Ask, then insist."""
        if self.alive:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(timeout)
        self.kill()

    def kill(self) -> None:
        """At once, as by a power cut. The session's other processes go too."""
        self.signal(signal.SIGKILL)
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def can_connect(host: str, port: int) -> bool:
    """Does something accept TCP there, seen from the calling thread's namespace?"""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def can_connect_unix(path: Path) -> bool:
    """Does something accept on that Unix socket?"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0
