"""The node's identity at rest: a directory, a store of the application's, or memory.

    <directory>/               0700
        tsnet.state            0600   the Identity as JSON; replaced atomically (temporary file, fsync, rename)
        tsnet.lock             0600   the pid of the process that holds it; the lock itself is the kernel's (flock)

    {"version": 1, "kind": "tsnet-py", "machine_key": "privkey:…", "node_key": "privkey:…", "lock_key": "nlpriv:…",
     "old_node_key": null, "control_url": "…", "stable_id": "…", "login_name": "…", "registered": true,
     "timestamp_mark": 1700000000.0}

A file that is empty, damaged, foreign or of a later version is a StateError that names it and the way out: never a
new identity in silence, for that would be a new machine in the tailnet.

| `state=`                  | rests in                                                                        |
|---------------------------|---------------------------------------------------------------------------------|
| a path                    | that directory                                                                  |
| a Store                   | whatever it does                                                                |
| None                      | $XDG_STATE_HOME/tsnet/<hostname>, else ~/.local/state/tsnet/<hostname>          |
| None, no place to write   | memory if the node is ephemeral, else StateError                                |

Source: Go ipn/store/stores.go (FileStore) for the modes and the replacement.
Not here: what an identity is (`tsnet.engine.identity`).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar

from tsnet.base.keys import LockPrivateKey, MachinePrivateKey, NodePrivateKey, PrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.engine.identity import Identity
from tsnet.errors import ConfigError, StateError, StateLocked

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

VERSION = 1
KIND = "tsnet-py"
STATE_FILE = "tsnet.state"
LOCK_FILE = "tsnet.lock"
MAX_MARK = 1 << 40
"""Unix seconds that no clock reaches, and that still fit a time stamp."""

K = TypeVar("K", bound=PrivateKey)


class Store(Protocol):
    """Where an application keeps an identity. Errors are StateError; what `save` was given, `load` gives back."""

    def open(self) -> None:
        """Take it for this process alone, or raise StateLocked."""

    def load(self) -> Identity | None:
        """None: there is nothing yet. Never None for what is there and cannot be read."""

    def save(self, identity: Identity) -> None: ...

    def close(self) -> None: ...


class MemoryStore:
    """An identity that ends with the process."""

    def __init__(self, identity: Identity | None = None) -> None:
        self._identity = identity

    def open(self) -> None: ...

    def load(self) -> Identity | None:
        return self._identity

    def save(self, identity: Identity) -> None:
        self._identity = identity

    def close(self) -> None: ...


class DirectoryStore:
    """An identity in a directory, which `open` makes and locks.

    use_flock: False where the kernel has no flock: the lock file's pid is then believed while that process lives.
    """

    def __init__(self, path: str | os.PathLike[str], *, use_flock: bool = fcntl is not None) -> None:
        self.path = Path(path)
        self._use_flock = use_flock
        self._lock: int | None = None

    @property
    def file(self) -> Path:
        return self.path / STATE_FILE

    def open(self) -> None:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = take_lock(self.path / LOCK_FILE, self._use_flock)
        except StateLocked:
            raise
        except OSError as error:
            raise StateError(
                f"the state directory {self.path} cannot be used: {reason_of(error)}. "
                "Make it writable, or choose another one with state="
            ) from None

    def load(self) -> Identity | None:
        try:
            text = read_privately(self.file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(
                f"the state file {self.file} cannot be read: {reason_of(error)}. "
                "Make it readable for this user, or choose another directory with state="
            ) from None
        try:
            return decode(text)
        except MalformedError as error:
            raise StateError(
                f"the state file {self.file} {error}. Restore it from a backup; or, to join as a new machine, "
                "move it away; or choose another directory with state="
            ) from None

    def save(self, identity: Identity) -> None:
        try:
            replace(self.file, encode(identity))
        except OSError as error:
            raise StateError(
                f"the state file {self.file} cannot be written: {reason_of(error)}. The previous one is intact. "
                "Make room or make the directory writable"
            ) from None

    def close(self) -> None:
        lock, self._lock = self._lock, None
        if lock is None:
            return
        if not self._use_flock:
            with contextlib.suppress(OSError):
                os.unlink(self.path / LOCK_FILE)
        os.close(lock)


def open_store(
    state: str | os.PathLike[str] | Store | None, hostname: str, *, environ: Mapping[str, str], ephemeral: bool
) -> Store:
    """The store for `state=`. Nothing is touched yet. Raises ConfigError, and StateError where there is no place."""
    if state is None:
        path = default_directory(hostname, environ)
        if path is not None and is_writable(path):
            return DirectoryStore(path)
        if ephemeral:
            return MemoryStore()
        place = "there is no home directory" if path is None else f"{path} cannot be written"
        raise StateError(
            f"no place to keep this node's identity: {place}. "
            "Pass state= with a writable directory, or ephemeral=True for a node that ends with its process"
        )
    if isinstance(state, (str, os.PathLike)):
        if not os.fspath(state):
            raise ConfigError("state= is an empty path: pass a directory, or None for the default one")
        return DirectoryStore(Path(state).expanduser())
    if not all(callable(getattr(state, verb, None)) for verb in ("open", "load", "save", "close")):
        raise ConfigError(f"state= takes a directory, a store or None, not {type(state).__name__}")
    return state


def default_directory(hostname: str, environ: Mapping[str, str]) -> Path | None:
    """None without a home. A relative XDG_STATE_HOME does not count, as its specification says."""
    base = environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "tsnet" / hostname
    home = environ.get("HOME", "") or environ.get("USERPROFILE", "")
    return Path(home) / ".local" / "state" / "tsnet" / hostname if os.path.isabs(home) else None


def is_writable(path: Path) -> bool:
    """Whether the directory could be made, or can be written to; nothing is made."""
    for existing in (path, *path.parents):
        if existing.exists():
            return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    return False


# --- the file ---------------------------------------------------------------------------------------------------


def encode(identity: Identity) -> bytes:
    old = identity.old_node_key
    fields = {
        "version": VERSION,
        "kind": KIND,
        "machine_key": identity.machine_key.reveal_text(),
        "node_key": identity.node_key.reveal_text(),
        "lock_key": identity.lock_key.reveal_text(),
        "old_node_key": None if old is None else old.reveal_text(),
        "control_url": identity.control_url,
        "stable_id": identity.stable_id,
        "login_name": identity.login_name,
        "registered": identity.registered,
        "timestamp_mark": identity.timestamp_mark,
    }
    return json.dumps(fields, indent=2).encode() + b"\n"


def decode(text: bytes) -> Identity:
    """Raises MalformedError, which completes "the state file …" and quotes nothing of the file."""
    if not text.strip():
        raise MalformedError("is empty")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise MalformedError("is damaged: it is not JSON") from None
    if not isinstance(fields, dict) or fields.get("kind") != KIND:
        raise MalformedError("was not written by this library")
    if fields.get("version") != VERSION:
        raise MalformedError(f"has version {fields.get('version')!r}, and this library knows version {VERSION}")
    mark = fields.get("timestamp_mark")
    if mark is not None and (type(mark) not in (int, float) or not 0 <= mark < MAX_MARK):
        raise MalformedError("is damaged: timestamp_mark is no number")
    old = fields.get("old_node_key")
    return Identity(
        machine_key=_key(MachinePrivateKey, fields, "machine_key"),
        node_key=_key(NodePrivateKey, fields, "node_key"),
        lock_key=_key(LockPrivateKey, fields, "lock_key"),
        old_node_key=None if old is None else _key(NodePrivateKey, fields, "old_node_key"),
        control_url=_text(fields, "control_url"),
        stable_id=_text(fields, "stable_id"),
        login_name=_text(fields, "login_name"),
        registered=fields.get("registered") is True,
        timestamp_mark=mark,
    )


def _key(kind: type[K], fields: Mapping[str, Any], name: str) -> K:
    try:
        return kind.parse(_text(fields, name))
    except MalformedError:
        raise MalformedError(f"is damaged: {name} is no key") from None


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise MalformedError(f"is damaged: {name} is missing")
    return value


def read_privately(path: Path) -> bytes:
    """What it holds. Modes that let others read it are taken back, where we may (a copy, a restored backup)."""
    with open(path, "rb") as file:
        if hasattr(os, "fchmod") and os.fstat(file.fileno()).st_mode & 0o077:
            with contextlib.suppress(OSError):
                os.fchmod(file.fileno(), 0o600)
        return file.read()


def replace(path: Path, data: bytes) -> None:
    """The whole new file or the whole old one, whatever happens in between. The lock is ours, so one name will do."""
    temporary = path.with_name(f"{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)  # an earlier death's, with who knows what modes, or a link to elsewhere
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    with contextlib.suppress(OSError):  # the rename itself, where a directory can be synced
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


# --- the lock ---------------------------------------------------------------------------------------------------


def take_lock(path: Path, use_flock: bool) -> int:
    """The open lock file, with our pid in it. Raises StateLocked, or OSError."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        holder = read_pid(lock)
        if use_flock:
            _flock(lock, path, holder)
        elif holder is not None and is_alive(holder):
            raise locked(path, holder, f" If that process is no node, delete {path}.")
        os.ftruncate(lock, 0)
        os.lseek(lock, 0, os.SEEK_SET)
        os.write(lock, f"{os.getpid()}\n".encode())
    except BaseException:
        os.close(lock)
        raise
    return lock


def _flock(lock: int, path: Path, holder: int | None) -> None:
    assert fcntl is not None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise locked(path, holder) from None


def locked(path: Path, holder: int | None, remedy: str = "") -> StateLocked:
    who = f"process {holder}" if holder is not None else "another process"
    whose = "this process has it open: close that node first" if holder == os.getpid() else f"{who} uses it"
    return StateLocked(
        f"the state directory {path.parent} is in use: {whose}. "
        f"Stop {who}, or give this node a directory of its own with state=.{remedy}",
        holder,
    )


def read_pid(lock: int) -> int | None:
    os.lseek(lock, 0, os.SEEK_SET)
    text = os.read(lock, 32).strip()
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


def reason_of(error: OSError) -> str:
    return error.strerror or str(error)
