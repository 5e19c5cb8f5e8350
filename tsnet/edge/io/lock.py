"""A lock file: only one node at a time uses a directory, in whichever process.

    tsnet.lock   0600   the pid of the process that holds it; the lock itself is the kernel's (flock)

The kernel's lock belongs to the open file, not to the process, and a forked child shares the parent's open file. The
directory stays locked as long as any copy of the descriptor is open, so the child closes its copy at once. It does not
unlock the file: that would take the lock from the parent.

Where there is no flock, the directory counts as locked while the process whose pid is in the file lives.

Not here: what the lock is for (`directory`), how a child is told that it is one (`forked`).
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from types import ModuleType

from tsnet.base.wording import Wording, api
from tsnet.edge.io.forked import OPENING, watch
from tsnet.edge.io.private import open_file
from tsnet.errors import StateLocked

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None


class Lock:
    """Nobody holds a new lock. `take` takes it; `release`, or the end of the process, gives it back.

    use_flock: False where the kernel has no flock.
    """

    def __init__(self, path: Path, *, use_flock: bool = fcntl is not None) -> None:
        self.path = path
        self._use_flock = use_flock
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        return self._descriptor is not None

    def take(self, directory: int | None = None) -> None:
        """Raises StateLocked, which names the holder, or OSError. directory: a descriptor of the lock's directory."""
        if self.is_held:
            raise locked(self.path, os.getpid())
        with OPENING:
            watch(self)
            self._descriptor = open_file(self.path, os.O_RDWR | os.O_CREAT, directory)
        try:
            self._claim(self._descriptor)
        except BaseException:
            self._close()
            raise

    def _claim(self, descriptor: int) -> None:
        holder = read_pid(descriptor)
        if self._use_flock:
            assert fcntl is not None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise locked(self.path, holder) from None
        elif holder is not None and is_alive(holder):
            raise locked(self.path, holder, f" If that process is no node, delete {self.path}.")
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        if self.is_held and not self._use_flock:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        self._close()

    def orphan(self) -> None:
        """Close this copy of the descriptor in a forked child. The lock stays the parent's, and ends with it."""
        self._close()

    def _close(self) -> None:
        """A failing disk may fail here, too. The descriptor is gone all the same, and with it the lock."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def locked(path: Path, holder: int | None, remedy: str = "") -> StateLocked:
    who = f"process {holder}" if holder is not None else "another process"
    whose = "this process has it open: close that node first" if holder == os.getpid() else f"{who} uses it"
    return StateLocked(
        Wording(
            f"the state directory {path.parent} is in use: {whose}. "
            f"Stop {who}, or give this node a directory of its own with ",
            api("state="),
            f".{remedy}",
        ),
        holder,
    )


def read_pid(descriptor: int) -> int | None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, 32).strip()
    return int(text) if text.isdigit() and 0 < int(text) < 1 << 31 else None


def is_alive(pid: int) -> bool:
    if sys.platform == "win32":
        return True  # no way to ask there that does not also signal
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
