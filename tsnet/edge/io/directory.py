"""A directory that keeps one file for each key.

    <directory>/               0700
        tsnet.state            0600   the value of `identity`, under the name it had in the first version
        tsnet.<key>            0600   the value of any other key
        tsnet.lock             0600   held while the store is open

A file that cannot be read raises a StateError that names the file and says what to do. The file is left as it is. So
does a directory or a file that somebody else may have put there (`private`).

Not here: how files are replaced (`private`), the lock (`lock`), what the values mean (`tsnet.engine.saved`).
"""

from __future__ import annotations

import os
from pathlib import Path

from tsnet.base.wording import Wording, api
from tsnet.edge.io.lock import Lock, fcntl
from tsnet.edge.io.private import list_directory, opened_directory, read_file, reason_of, remedy_of, replace_file
from tsnet.edge.io.store import check_key
from tsnet.engine.saved import IDENTITY
from tsnet.errors import ConfigError, StateError, StateLocked

PREFIX = "tsnet."
IDENTITY_FILE = "tsnet.state"
LOCK_FILE = "tsnet.lock"


class DirectoryStore:
    """A store in a directory. `open` makes the directory and locks it. Writing needs the lock, reading does not.

    use_flock: as of `Lock`; None where it is for the system to say.
    """

    def __init__(self, path: str | os.PathLike[str], *, use_flock: bool | None = None) -> None:
        self.path: Path = Path(path)
        self._lock = Lock(self.path / LOCK_FILE, use_flock=fcntl is not None if use_flock is None else use_flock)

    def file(self, key: str) -> Path:
        """The file of that key. Raises ConfigError if it is no key, or if its file has another meaning here."""
        name = IDENTITY_FILE if check_key(key) == IDENTITY else PREFIX + key
        if name == LOCK_FILE or (name == IDENTITY_FILE and key != IDENTITY):
            raise ConfigError(f"{key!r} is no key of a directory: its file {name} has another meaning")
        return self.path / name

    def open(self) -> None:
        what = f"the state directory {self.path}"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with opened_directory(self.path) as directory:
                what = f"the lock {self._lock.path} of the state directory"
                self._lock.take(directory)
        except StateLocked:
            raise
        except OSError as error:
            raise StateError(
                Wording(
                    f"{what} cannot be used: {reason_of(error)}. "
                    f"{remedy_of(error, 'Make it writable')}, or choose another one with ",
                    api("state="),
                )
            ) from None

    def read(self, key: str) -> bytes | None:
        file = self.file(key)
        try:
            return read_file(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(
                Wording(
                    f"the state file {file} cannot be read: {reason_of(error)}. "
                    f"{remedy_of(error, 'Make it readable for this user')}, or choose another directory with ",
                    api("state="),
                )
            ) from None

    def write(self, key: str, value: bytes) -> None:
        file = self.file(key)
        if not self._lock.is_held:
            raise StateError(f"the state file {file} cannot be written: this process does not hold its directory")
        try:
            replace_file(file, value)
        except OSError as error:
            raise StateError(
                f"the state file {file} cannot be written: {reason_of(error)}. The previous one is intact. "
                f"{remedy_of(error, 'Make room or make the directory writable')}"
            ) from None

    def keys(self) -> tuple[str, ...]:
        """The keys that have a file, in alphabetical order. Other files are ignored."""
        try:
            names = list_directory(self.path)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StateError(
                Wording(
                    f"the state directory {self.path} cannot be read: {reason_of(error)}. "
                    f"{remedy_of(error, 'Make it readable for this user')}, or choose another one with ",
                    api("state="),
                )
            ) from None
        return tuple(sorted(key for name in names if (key := self._key(name)) is not None))

    def _key(self, name: str) -> str | None:
        if name == IDENTITY_FILE:
            return IDENTITY
        key = name.removeprefix(PREFIX)
        try:
            return key if self.file(key).name == name else None
        except ConfigError:
            return None

    def close(self) -> None:
        self._lock.release()
