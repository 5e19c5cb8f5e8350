"""The file that WG_KEYLOGFILE names: secrets of handshakes are appended to it, for Wireshark.

    KeyLogFile(path)  ─► made with mode 0600, or found usable; a warning says that secrets are written
    write(secrets)    ─► opened, four lines appended in one call, closed: before the datagram leaves

A handshake is seldom, so the file is opened for each: no descriptor is held, and a file that somebody moves away is
made anew. Nodes and processes may share one. After the beginning nothing about it ends a node: a full disk, a folder
that is gone or a file beyond MAX_SIZE costs the secrets, and the log says so once a minute.

| what is found at the beginning                                        | then                            |
|-----------------------------------------------------------------------|---------------------------------|
| no file, and a folder where one can be made                           | it is made, mode 0600           |
| a file of ours                                                        | mode 0600 from now on           |
| a link, a file of another user, a pipe, a folder that cannot be used  | ConfigError, and no node        |

Not here: the lines (`wireguard.keylog`), who may own such a file (`private`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tsnet.edge.io.log import Seldom, log
from tsnet.edge.io.private import MODE, open_file, reason_of, remedy_of
from tsnet.errors import ConfigError

if TYPE_CHECKING:
    from tsnet.wireguard.keylog import HandshakeSecrets

MAX_SIZE = 256 << 20
"""Bytes. Above it nothing is written: peers can cause handshakes, and must not fill the disk with them."""

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)


class KeyLogFile:
    """clock: for the messages of the log. Raises ConfigError for a file that cannot be written."""

    def __init__(self, path: str, clock: Callable[[], float]) -> None:
        self._path = Path(os.path.abspath(path))
        self._clock, self._is_torn = clock, False
        self._trouble = Seldom(log)
        try:
            os.close(self._open())
        except (OSError, ValueError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else str(error)
            remedy = remedy_of(error, "Name another file") if isinstance(error, OSError) else "Name another file"
            raise ConfigError(
                f"the key log {str(path)!r} (WG_KEYLOGFILE) cannot be written: {reason}. {remedy}, or unset it"
            ) from None
        log.warning(
            "WG_KEYLOGFILE is set: whoever reads %s can read all that this node sends and receives, and pass for it",
            self._path,
        )

    def write(self, secrets: HandshakeSecrets) -> None:
        """Append them. Never raises."""
        try:
            self._append(secrets.lines())
        except OSError as error:
            self._say(reason_of(error))

    def _append(self, lines: bytes) -> None:
        descriptor = self._open()
        try:
            if os.fstat(descriptor).st_size > MAX_SIZE:
                self._say(f"it has more than {MAX_SIZE} bytes")
                return
            data = b"\n" + lines if self._is_torn else lines
            self._is_torn = True  # until all of it is written
            written = os.write(descriptor, data)
            self._is_torn = written < len(data)
            if self._is_torn:
                self._say("it took a part only")
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        descriptor = open_file(self._path, _FLAGS)
        if hasattr(os, "fchmod") and os.fstat(descriptor).st_mode & 0o077:
            with contextlib.suppress(OSError):
                os.fchmod(descriptor, MODE)
        return descriptor

    def _say(self, reason: str) -> None:
        self._trouble.warning(self._clock(), "the key log %s lacks a handshake: %s", self._path, reason)
