"""One store's values into another one: from a directory into a keyring, from plain to encrypted, and back.

    source: open, read ─► target: open, empty?, write … write `identity` ─► both closed

The identity is written last. A copy that was interrupted has none, so that it can be made again. Where the state was
used last is not copied: it is meant to be used elsewhere now.

Not here: which store `state=` means (`place`), states of other programs (`goimport`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.place import directory_at
from tsnet.edge.io.store import Store
from tsnet.engine.saved import IDENTITY, WHEREABOUTS
from tsnet.errors import StateError

Place = str | os.PathLike[str] | Store


def copy_state(source: Place, target: Place) -> tuple[str, ...]:
    """Copy every value; returns their keys. Each is a directory or a store, and neither may be in use.

    Raises StateError if the source has no identity or the target has one, StateLocked if a node uses either. Afterwards
    remove the source: two nodes with one identity would take each other's traffic.
    """
    if isinstance(source, (str, os.PathLike)) and not os.path.isdir(os.path.expanduser(source)):
        raise StateError(f"the state directory {source} is not there, or may not be looked at: nothing is copied")
    with opened(source) as old, opened(target) as new:
        refuse_identity(new)
        if old.read(IDENTITY) is None:
            raise StateError(f"{described(old)} has no identity to copy")
        keys = sorted(set(old.keys()) - {WHEREABOUTS}, key=lambda key: (key == IDENTITY, key))
        for key in keys:
            value = old.read(key)
            if value is not None:
                new.write(key, bytes(value))
    return tuple(keys)


def refuse_identity(store: Store) -> None:
    """Raises StateError if the store has an identity."""
    if store.read(IDENTITY) is not None:
        raise StateError(
            f"{described(store)} has an identity already, which is not replaced. "
            "Name an empty place, or move that one away"
        )


@contextlib.contextmanager
def opened(place: Place) -> Iterator[Store]:
    store = directory_at(place) if isinstance(place, (str, os.PathLike)) else place
    store.open()
    try:
        yield store
    finally:
        store.close()


def described(store: Store) -> str:
    """By its directory, also of an encrypted one, or else by its class."""
    kept_by = getattr(store, "wrapped", store)
    return (
        f"the state directory {kept_by.path}"
        if isinstance(kept_by, DirectoryStore)
        else f"the {type(kept_by).__name__}"
    )
