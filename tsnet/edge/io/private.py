"""Files that only this user may read, in a directory that only this user may change: opened, read and replaced whole.

    replace_file   <name>.new, mode 0600 ─► fsync ─► rename over <name> ─► fsync of the directory

| what is found                                                        | then                                |
|----------------------------------------------------------------------|-------------------------------------|
| a directory of another user, or one that others may write to         | Untrusted: they could put keys of   |
| a file of another user                                               | their own there                     |
| a symbolic link in place of a file                                   | Untrusted: it is not followed       |
| a link to the directory                                              | followed, if we or root have made it |
| a file of ours that others may read                                  | its mode becomes 0600               |
| a pipe, a device                                                     | OSError: reading it could take for ever |

Root counts as nobody else, because nothing can be kept from it. Running as root is no exception: who owns a directory
can put files there, and root would take them for its own. (OpenSSH asks the same of keys and their directories. Go's
tsnet asks nothing.) Each file is opened by its name in the open directory, so that what was judged is what is used.

Source: Go ipn/store/stores.go (FileStore) and atomicfile for the modes and the replacement.
Not here: what the files mean (`directory`, `lock`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

MODE = 0o600
MAX_SIZE = 64 << 20
"""Bytes of the largest file that is read. No state comes near it."""

_HAS_OWNERS = os.open in os.supports_dir_fd and hasattr(os, "geteuid")
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_IS_LINK = (errno.ELOOP, errno.EMLINK)
"""What O_NOFOLLOW says of a link: on Linux and macOS, and on FreeBSD."""


class Untrusted(OSError):
    """Somebody else may have put it there, or may change it. remedy: a sentence, without its full stop."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(errno.EPERM, reason)
        self.remedy = remedy


@contextlib.contextmanager
def opened_directory(path: Path) -> Iterator[int | None]:
    """A descriptor of the directory, for `dir_fd`. None where there are no owners. Raises Untrusted or OSError."""
    if not _HAS_OWNERS:
        yield None
        return
    link = os.lstat(path)
    if stat.S_ISLNK(link.st_mode) and not _is_ours(link):
        raise Untrusted(f"it is a link that user {link.st_uid} has made", "Remove the link")
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check_directory(os.stat(descriptor))
        yield descriptor
    finally:
        os.close(descriptor)


def _check_directory(found: os.stat_result) -> None:
    inside = "or name a directory inside it, which is then made for this user alone"
    if not _is_ours(found):
        raise Untrusted(
            f"it belongs to user {found.st_uid}, who could put keys there, and this process is user {os.geteuid()}",
            f"Give it to this user (chown), run as its owner, {inside}",
        )
    if found.st_mode & 0o002 or (found.st_mode & 0o020 and not _is_own_group(found.st_gid)):
        mode = stat.S_IMODE(found.st_mode)
        raise Untrusted(
            f"other users may write to it (its mode is {mode:04o})", f"Take that away (chmod go-w), {inside}"
        )


def _is_ours(found: os.stat_result) -> bool:
    return found.st_uid in (os.geteuid(), 0)


def _is_own_group(number: int) -> bool:
    """Whether nobody else is in the group: the user's own on many systems, or one of a container that has no name."""
    import grp
    import pwd

    try:
        group = grp.getgrgid(number)
    except KeyError:
        return True
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    return group.gr_name == user and set(group.gr_mem) <= {user}


def open_file(path: Path, flags: int, directory: int | None = None) -> int:
    """A descriptor of the regular file in that open directory. Programs that this one starts do not inherit it.

    Raises Untrusted or OSError.
    """
    flags |= _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = (
            os.open(path, flags, MODE) if directory is None else os.open(path.name, flags, MODE, dir_fd=directory)
        )
    except OSError as error:
        if error.errno in _IS_LINK:
            raise Untrusted("it is a symbolic link", "Delete it, or put the file itself in its place") from None
        raise
    try:
        _check_file(os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_file(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    if _HAS_OWNERS and not _is_ours(found):
        raise Untrusted(
            f"it belongs to user {found.st_uid}, and this process is user {os.geteuid()}",
            "If it is this node's own, give it to this user (chown)",
        )


def read_file(path: Path) -> bytes:
    """The file's bytes. If others may read it (a copy, a restored backup), its mode becomes 0600, where that can be."""
    with opened_directory(path.parent) as directory, open(open_file(path, os.O_RDONLY, directory), "rb") as file:
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
    with opened_directory(path.parent) as directory:
        with contextlib.suppress(FileNotFoundError):
            _unlink(temporary, directory)  # a process that died may have left it, with any mode; or it is a link
        try:
            with open(open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, directory), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _rename(temporary, path, directory)
        except BaseException:
            with contextlib.suppress(OSError):
                _unlink(temporary, directory)
            raise
        if directory is not None:
            with contextlib.suppress(OSError):  # this makes the rename itself last, where a directory can be synced
                os.fsync(directory)


def list_directory(path: Path) -> list[str]:
    """The names in the directory."""
    with opened_directory(path) as directory:
        return os.listdir(path if directory is None else directory)


def _unlink(path: Path, directory: int | None) -> None:
    if directory is None:
        os.unlink(path)
    else:
        os.unlink(path.name, dir_fd=directory)


def _rename(old: Path, new: Path, directory: int | None) -> None:
    if directory is None:
        os.replace(old, new)
    else:
        os.replace(old.name, new.name, src_dir_fd=directory, dst_dir_fd=directory)


def kind_of(error: Exception) -> str:
    """What went wrong, in the system's words or the error's name; its own text may hold a secret."""
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number else type(error).__name__


def reason_of(error: OSError) -> str:
    return error.strerror or str(error)


def remedy_of(error: OSError, otherwise: str) -> str:
    """What to do about it, as a sentence without its full stop."""
    return error.remedy if isinstance(error, Untrusted) else otherwise
