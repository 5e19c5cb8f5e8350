"""Files that only this user may read: how they are opened, read whole and replaced whole.

    replace_file   <name>.new, mode 0600 ─► fsync ─► rename over <name> ─► fsync of the directory

Only regular files are opened: reading a pipe of that name could wait for ever.

Source: Go ipn/store/stores.go (FileStore) and atomicfile for the modes and the replacement.
Not here: what the files mean (`directory`, `lock`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

MODE = 0o600
MAX_SIZE = 64 << 20
"""Bytes of the largest file that is read. No state comes near it."""


def open_file(path: Path, flags: int) -> int:
    """A descriptor of the regular file. Programs that this one starts do not inherit it. Raises OSError."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0), MODE)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_file(path: Path) -> bytes:
    """The file's bytes. If others may read it (a copy, a restored backup), its mode becomes 0600, where that can be."""
    with open(open_file(path, os.O_RDONLY), "rb") as file:
        if hasattr(os, "fchmod") and os.fstat(file.fileno()).st_mode & 0o077:
            with contextlib.suppress(OSError):
                os.fchmod(file.fileno(), MODE)
        data = file.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise OSError(errno.EFBIG, f"it has more than {MAX_SIZE} bytes")
    return data


def replace_file(path: Path, data: bytes) -> None:
    """Replace the file. Whatever happens, it has all of the new data or all of the old. One process at a time only."""
    temporary = path.with_name(f"{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)  # a process that died may have left it, with any mode; it may be a link to elsewhere
    try:
        with open(open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    with contextlib.suppress(OSError):  # this makes the rename itself last, where a directory can be synced
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def kind_of(error: Exception) -> str:
    """What went wrong, in the system's words or the error's name; its own text may hold a secret."""
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number else type(error).__name__


def reason_of(error: OSError) -> str:
    return error.strerror or str(error)
