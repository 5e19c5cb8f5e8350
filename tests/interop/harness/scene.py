"""A scene: a network namespace with only `lo` up, a folder, and the processes that play in it.

    with Scene(folder) as scene:                       # from here on, this thread is inside
        with scene.run("redis", ["redis-server"]): …   # so are the children and threads it starts

The thread that enters a scene is moved into its namespace and moved back at the end. Sockets, threads and processes
that it makes meanwhile belong to the namespace; so our own node plays in a scene without knowing of it. One scene
cannot disturb another, which is why all of them use the same ports. Nothing of a scene reaches the outside world.

More namespaces (`scene.namespace("b")`) and wires between them (`scene.veth`) are for hosts with TUN devices.

Source: setns(2), network_namespaces(7), ip-netns(8).
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

from tests.interop.harness.process import Command, Process

NAMESPACES = Path("/run/netns")
PREFIX = "tsnetpy"
CLONE_NEWNET = 0x40000000
GO_ENVIRONMENT = {
    "TS_NO_LOGS_NO_SUPPORT": "true",  # uploads nothing
    "TS_ASSUME_NETWORK_UP_FOR_TEST": "1",  # with nothing but lo, Go else waits for a network
    "TS_PANIC_IF_HIT_MAIN_CONTROL": "1",
    "TS_DISABLE_PORTMAPPER": "1",
}
_numbers = itertools.count()
_libc = ctypes.CDLL(None, use_errno=True)


class Scene:
    """`folder` must exist. `name` is the first namespace, the one this thread is inside of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._unique = f"{PREFIX}-{os.getpid()}-{next(_numbers)}"
        self.name = self._unique
        self.processes: list[Process] = []
        self._namespaces: list[str] = []
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.namespace()
        self._exit.enter_context(inside(self.name))
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            process.stop(timeout=2)
        self._exit.close()
        for name in self._namespaces:
            delete_namespace(name)

    def namespace(self, name: str = "") -> str:
        """Make one more; returns its full name. It has `lo` up and nothing else."""
        full = self.full_name(name)
        self.namespaces([full])
        return full

    def full_name(self, name: str = "") -> str:
        return f"{self._unique}-{name}" if name else self._unique

    def namespaces(self, full_names: Iterable[str]) -> None:
        """Several, by their full names."""
        for full in full_names:
            ip("netns", "add", full)
            self._namespaces.append(full)
            ip("-n", full, "link", "set", "lo", "up")

    def veth(self, a: str, b: str, address_a: str, address_b: str) -> tuple[str, str]:
        """A wire between two namespaces; addresses with their prefix length, as `10.9.0.1/24`. Returns its devices."""
        ends = [f"v{os.getpid() % 100000}x{next(_numbers)}" for _ in range(2)]
        ip("link", "add", ends[0], "netns", a, "type", "veth", "peer", "name", ends[1], "netns", b)
        for space, device, address in ((a, ends[0], address_a), (b, ends[1], address_b)):
            ip("-n", space, "addr", "add", address, "dev", device)
            ip("-n", space, "link", "set", device, "up")
        return ends[0], ends[1]

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """What a foreign program sees: a home of its own, and nothing of ours but PATH."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return {"PATH": os.environ["PATH"], "HOME": str(home), **GO_ENVIRONMENT, **(extra or {})}

    def run(
        self,
        name: str,
        command: Command,
        *,
        environment: Mapping[str, str] | None = None,
        namespace: str = "",
        speak: bool = False,
    ) -> Process:
        """Start a program inside. It is stopped when the scene ends, if not before."""
        process = Process(
            name,
            ["nsenter", f"--net={NAMESPACES / (namespace or self.name)}", *command],
            log=self.folder / f"{name}.log",
            environment=self.environment(environment),
            speak=speak,
        )
        self.processes.append(process)
        return process


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Move the calling thread into a namespace for the time of a block."""
    outer = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    inner = os.open(NAMESPACES / name, os.O_RDONLY)
    try:
        _setns(inner)
        yield
    finally:
        _setns(outer)
        os.close(inner)
        os.close(outer)


def _setns(descriptor: int) -> None:
    """`os.setns` of Python 3.12, for 3.11 too."""
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def delete_namespace(name: str) -> None:
    """With all that still runs in it."""
    for pid in ip("netns", "pids", name).split():
        if int(pid) != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    ip("netns", "delete", name)


def sweep() -> None:
    """Delete the namespaces of test runs that were killed: their names tell the pid."""
    if not NAMESPACES.is_dir():
        return
    for path in NAMESPACES.glob(f"{PREFIX}-*"):
        owner = path.name.split("-")[1]
        if not Path(f"/proc/{owner}").exists():
            with contextlib.suppress(OSError):
                delete_namespace(path.name)
