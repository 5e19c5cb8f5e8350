"""The first interface of a store, `load` and `save` of an `Identity`, wrapped as a store of keys and values.

    read("identity")    ─► load      None if `load` gives None
    write("identity")   ─► save
    any other key       ─► memory: forgotten when the node ends

A node with such a store learns control's key, which is under another key, anew at each start.

Not here: the interface that takes every key (`store`).
"""

from __future__ import annotations

from typing import Protocol

from tsnet.edge.io.store import MemoryStore, check_key
from tsnet.engine.identity import Identity
from tsnet.engine.saved import IDENTITY, decode_identity, encode_identity


class IdentityStore(Protocol):
    """Where an application keeps an identity. Errors are StateError. `load` gives back what `save` was given last.

    A store that keeps the fields one by one should keep `ephemeral`, too. Without it, nothing stops a node that is made
    with `ephemeral=True` from taking over a lasting node, and deleting it when it closes.
    """

    def open(self) -> None:
        """Take the store for this node alone, or raise StateLocked."""

    def load(self) -> Identity | None:
        """The identity; None if there is none yet. Raises, and does not give None, if it cannot be read."""

    def save(self, identity: Identity) -> None: ...

    def close(self) -> None: ...


class WrappedStore:
    """An `IdentityStore` as a `Store`."""

    def __init__(self, wrapped: IdentityStore) -> None:
        self.wrapped = wrapped
        self._others = MemoryStore()

    def open(self) -> None:
        self.wrapped.open()

    def read(self, key: str) -> bytes | None:
        if check_key(key) != IDENTITY:
            return self._others.read(key)
        identity = self.wrapped.load()
        return None if identity is None else encode_identity(identity)

    def write(self, key: str, value: bytes) -> None:
        if check_key(key) == IDENTITY:
            self.wrapped.save(decode_identity(value))
        else:
            self._others.write(key, value)

    def keys(self) -> tuple[str, ...]:
        identity = () if self.wrapped.load() is None else (IDENTITY,)
        return (*identity, *self._others.keys())

    def close(self) -> None:
        self.wrapped.close()
