"""Where a node's state is kept: what `state=` means, and how a value is read from there.

| `state=`                  | `ephemeral=` | kept in                                                             |
|---------------------------|--------------|---------------------------------------------------------------------|
| a path                    | either       | that directory                                                      |
| a store                   | either       | that store                                                          |
| None                      | True         | memory                                                              |
| None                      | False        | $XDG_STATE_HOME/tsnet/<hostname>, else ~/.local/state/tsnet/<hostname> |
| None, no place to write   | False        | StateError                                                          |

A value that is empty, damaged, foreign or of a later version raises a StateError that names it and says what to do. It
is never replaced in silence: a new identity would be a new machine in the tailnet, and default preferences might open
what was closed.

Not here: the stores themselves (`directory`, `store`, `loadsave`), what the bytes mean (`tsnet.engine.saved`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar, cast

from tsnet.base.malformed import MalformedError
from tsnet.base.wording import Wording, api
from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.loadsave import IdentityStore, WrappedStore
from tsnet.edge.io.store import MemoryStore, Store
from tsnet.errors import ConfigError, StateError

T = TypeVar("T")
State = str | os.PathLike[str] | Store | IdentityStore | None
_STORE = ("open", "read", "write", "keys", "close")
_IDENTITY_STORE = ("open", "load", "save", "close")


def store_for(state: State, hostname: str, *, environ: Mapping[str, str], ephemeral: bool) -> Store:
    """The store for `state=`, not yet opened. Writes nothing. Raises ConfigError; StateError if there is no place."""
    if state is None:
        return MemoryStore() if ephemeral else default_store(hostname, environ)
    if isinstance(state, (str, os.PathLike)):
        if not os.fspath(state):
            what = " is an empty path: pass a directory, or None for the default one"
            raise ConfigError(Wording(api("state="), what))
        return directory_at(state)
    if _has(state, _STORE):
        return cast(Store, state)
    if _has(state, _IDENTITY_STORE):
        return WrappedStore(cast(IdentityStore, state))
    raise ConfigError(
        Wording(
            api("state="),
            f" takes a directory, a store ({', '.join(_STORE)}: see tsnet.Store) or None, not {type(state).__name__}",
        )
    )


def directory_at(path: str | os.PathLike[str]) -> DirectoryStore:
    """The store of a directory, which may begin with ~. Raises StateError where nobody knows whose home that is."""
    try:
        return DirectoryStore(Path(path).expanduser())
    except RuntimeError:
        raise StateError(f"the state directory {path} cannot be found: there is no such home") from None


def _has(store: object, verbs: tuple[str, ...]) -> bool:
    """Whether it is an object with those methods. A class does not count: somebody forgot to call it."""
    return not isinstance(store, type) and all(callable(getattr(store, verb, None)) for verb in verbs)


def default_store(hostname: str, environ: Mapping[str, str]) -> DirectoryStore:
    """The user's own directory for a node of that name. Raises StateError if there is none, or it is not writable."""
    path = default_directory(hostname, environ)
    if path is not None and is_writable(path):
        return DirectoryStore(path)
    place = "there is no home directory" if path is None else f"{path} cannot be written"
    raise StateError(
        Wording(
            f"no place to keep this node's identity: {place}. Pass ",
            api("state="),
            " with a writable directory, or ",
            api("ephemeral=True"),
            " for a node that ends with its process",
        )
    )


def default_directory(hostname: str, environ: Mapping[str, str]) -> Path | None:
    """The default directory; None without a home. A relative XDG_STATE_HOME is ignored, as its specification says."""
    base = environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "tsnet" / hostname
    home = environ.get("HOME", "") or environ.get("USERPROFILE", "")
    return Path(home) / ".local" / "state" / "tsnet" / hostname if os.path.isabs(home) else None


def is_writable(path: Path) -> bool:
    """Whether the directory can be written to, or could be made. Makes nothing."""
    for existing in (path, *path.parents):
        if existing.exists():
            return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    return False


def load(
    store: Store, key: str, decode: Callable[[bytes], T], *, without: str = "to join as a new machine"
) -> T | None:
    """The store's value of that key, decoded; None if it has none. Raises StateError, and what `store.read` raises.

    without: what a user may want who moves a value that cannot be read away.
    """
    value = store.read(key)
    if value is None:
        return None
    try:
        if not isinstance(value, bytes | bytearray | memoryview):  # databases differ in what they call bytes
            raise MalformedError(f"is {type(value).__name__}, not bytes")
        return decode(bytes(value))
    except MalformedError as error:
        raise StateError(
            Wording(
                f"{_name_of(store, key)} {error}. Restore it from a backup; or, {without}, "
                "move it away; or choose another place with ",
                api("state="),
            )
        ) from None


def _name_of(store: Store, key: str) -> str:
    if isinstance(store, DirectoryStore):
        return f"the state file {store.file(key)}"
    if isinstance(kept_by := getattr(store, "wrapped", store), DirectoryStore):
        return _name_of(kept_by, key)
    return f"the value of {key!r} in the {type(kept_by).__name__}"
