"""A listening AF_UNIX socket that this process alone can connect to, whoever accepts from it.

    make(backlog)       the listening socket: bound to a path in a directory of its own, which has mode 0700
    connect(sock)       another socket becomes its peer; BlockingIOError if its queue is full
    is_listening()      whether anybody, in any process, has the listening socket open still
    close()

Where /proc is (Linux), a descriptor of the path (O_PATH) takes its place at once: the path and its directory are gone
before `make` returns, so that nothing is left behind if the process is killed. Elsewhere they live until `close`.

Not here: what is accepted (`kernel_door`).
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import socket

from tsnet.sockets.pairs import closed_on_error

_KEEPS_NO_PATH = hasattr(os, "O_PATH") and os.path.isdir("/proc/self/fd")
"""A switch. Tests set it to False, so that paths are tested where /proc exists."""

_TRIES = 3


class Rendezvous:
    """directory: the private directory while it exists, else None. Any thread may call `close`, more than once."""

    def __init__(self) -> None:
        self.directory: str | None = None
        self._path = ""
        self._files: list[io.FileIO] = []
        self._process = os.getpid()

    def make(self, backlog: int) -> socket.socket:
        """The listening socket, which is the caller's. Raises OSError where no directory can be made."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with closed_on_error(listening):
                self._make_directory()
                listening.bind(self._path)
                listening.listen(backlog)
                if _KEEPS_NO_PATH:
                    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
                    self._files.extend(map(io.FileIO, map(os.open, (self._path,), (flags,))))
                    self._remove_directory()
                    self._path = f"/proc/self/fd/{self._files[0].fileno()}"
        except BaseException:
            self.close()
            raise
        return listening

    def _make_directory(self) -> None:
        import tempfile  # it takes milliseconds

        for _ in range(_TRIES):
            self.directory = os.path.join(tempfile.gettempdir(), f"tsnet-{os.urandom(8).hex()}")
            self._path = os.path.join(self.directory, "s")
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.directory, 0o700)
                return
        raise FileExistsError(errno.EEXIST, "no free name for a directory", self.directory)

    def _remove_directory(self) -> None:
        directory = self.directory  # another thread may do the same
        if directory is not None and os.getpid() == self._process:  # a forked child leaves it to its parent
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(directory, "s"))
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        self.directory = None

    def connect(self, sock: socket.socket) -> None:
        sock.connect(self._path)

    def is_listening(self) -> bool:
        """A datagram socket cannot connect to a listening one: the error tells whether there is one."""
        if not self._path:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
                probe.connect(self._path)
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
        return True

    def close(self) -> None:
        self._path = ""
        for file in self._files:
            file.close()
        self._remove_directory()
