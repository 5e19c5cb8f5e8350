"""The programs that a benchmark measures: our node as a process, and how its counters are read.

    with OurNode("a", tailnet.control_url, tailnet.auth_key) as a:
        a.up(); a.listen(":7", "sink")

`OurNode` has the methods of `tests.interop.harness.gopeer.GoPeer` that benchmarks use, so that either end of a stream
can be either.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import attrs

from tests.interop.harness.lines import Lines, PeerError
from tests.interop.harness.process import Process, ProcessError

ROOT = Path(__file__).parent.parent
LOOPBACK = "127.0.0.1"


class Peer(Protocol):
    """Ours or Go's."""

    @property
    def process(self) -> Process: ...

    def call(self, op: str, *, timeout: float = 30, **fields: Any) -> Any: ...


class OurNode:
    """`benchmarks.node`, started by entering it, in the network namespace of the calling thread."""

    def __init__(
        self,
        hostname: str,
        control_url: str,
        auth_key: str,
        *,
        port: int = 0,
        numpy: bool = False,
        module: str = "benchmarks.node",
        options: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.hostname, self.port = hostname, port
        self._command = [sys.executable, "-m", module, "--hostname", hostname, "--control", control_url]
        self._command += ["--authkey", auth_key, "--port", str(port), *options]
        self._command += ["--numpy"] if numpy else []
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        self._exit = contextlib.ExitStack()
        self._lines: Lines | None = None

    def __enter__(self) -> Self:
        folder = Path(self._exit.enter_context(tempfile.TemporaryDirectory()))
        process = Process(self.hostname, self._command, log=folder / "log", environment=self._environment, speak=True)
        self._lines = self._exit.enter_context(Lines(process))
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(PeerError, ProcessError):  # what has failed already is told elsewhere
            self.call("quit")
        self._exit.close()

    @property
    def process(self) -> Process:
        assert self._lines is not None
        return self._lines.process

    def call(self, op: str, *, timeout: float = 30, **fields: Any) -> Any:
        assert self._lines is not None
        return self._lines.call(op, timeout=timeout, **fields)

    def up(self) -> list[str]:
        """Its addresses, v4 first."""
        return sorted(self.call("up")["addresses"], key=lambda address: ":" in address)


class Streamed(NamedTuple):
    """Gbit/s by the receiver's clock; CPU seconds of each end, where it is ours (else 0)."""

    rate: float
    sender_cpu: float
    receiver_cpu: float


def stream(sender: Peer, receiver: Peer, host: str, size: int, *, port: int = 7) -> Streamed:
    """`size` random bytes on a new stream to a listening "sink"; the bytes are compared."""
    sent = sender.call("send", timeout=120, address=f"{host}:{port}", size=size)["sent"]
    got = receiver.call("accepted", address=f":{port}")
    if (got["bytes"], got["sha256"]) != (size, sent["sha256"]):
        raise SystemExit(f"{size} bytes were sent, {got['bytes']} others arrived")
    return Streamed(size * 8 / float(got["seconds"]) / 1e9, sent.get("cpu", 0.0), got.get("cpu", 0.0))


@attrs.frozen
class Counters:
    """What /proc tells of a process: CPU seconds, voluntary context switches (wake-ups) of all threads, RSS in MiB."""

    cpu: float
    wakes: float
    rss: float

    @classmethod
    def of(cls, pid: int) -> Counters:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(stat[11]) + int(stat[12])
        wakes = sum(
            int(_status(path)["voluntary_ctxt_switches"]) for path in Path(f"/proc/{pid}/task").glob("*/status")
        )
        rss = int(_status(Path(f"/proc/{pid}/status"))["VmRSS"].split()[0]) / 1024
        return cls(ticks / os.sysconf("SC_CLK_TCK"), wakes, rss)


class Bystanders:
    """How many cores the programs have taken, since this was made, that are none of `pids` (the machine's host too)."""

    def __init__(self, *pids: int) -> None:
        self._pids = (os.getpid(), *pids)
        self._begun, self._others = time.monotonic(), self._spent()

    def _spent(self) -> float:
        user, nice, system, _idle, _wait, *interrupts_and_steal = Path("/proc/stat").read_text().split()[1:9]
        busy = sum(map(int, (user, nice, system, *interrupts_and_steal))) / os.sysconf("SC_CLK_TCK")
        return busy - sum(Counters.of(pid).cpu for pid in self._pids)

    def cores(self) -> float:
        return max(self._spent() - self._others, 0.0) / (time.monotonic() - self._begun)


def _status(path: Path) -> dict[str, str]:
    lines = (line.partition(":") for line in path.read_text().splitlines())
    return {name: value.strip() for name, _, value in lines}


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def go_tailnet(*needed: str) -> Iterator[tuple[Any, Any]]:
    """(scene, control): a namespace with Tailscale's testcontrol and derper in it. Ask `missing_go` first."""
    from tests.interop.harness.scene import Scene
    from tests.interop.harness.testcontrol import Derper, TestControl

    with (
        tempfile.TemporaryDirectory() as folder,
        Scene(Path(folder)) as scene,
        Derper(scene) as derper,
        TestControl(scene, derper) as control,
    ):
        yield scene, control


def missing_go(*names: str) -> str:
    """Why a benchmark with Go programs cannot run here, or an empty string."""
    from tests.interop.harness.requirements import missing

    return next((reason for name in ("root", *names) if (reason := missing(name))), "")
