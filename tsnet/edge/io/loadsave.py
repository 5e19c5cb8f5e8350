"""A store of the first shape, which keeps an `Identity` and nothing else, seen as a store of keys and values.

    read("identity")    ─► load      None is None
    write("identity")   ─► save
    any other key       ─► memory: forgotten when the node ends

So control's key, which a node remembers beside its identity, is learnt anew at each start.

Not here: the shape that takes every key (`store`).
"""

from __future__ import annotations

from typing import Protocol

from tsnet.edge.io.store import MemoryStore, check_key
from tsnet.engine.identity import Identity
from tsnet.engine.saved import IDENTITY, decode_identity, encode_identity


class IdentityStore(Protocol):
    """Where an application keeps an identity. Errors are StateError; what `save` was given, `load` gives back.

    A store that keeps the fields one by one should keep `ephemeral`, too: without it nothing stops `ephemeral=True`
    from taking over, and at its end deleting, a lasting node.
    """

    def open(self) -> None:
        """Take it for this node alone, or raise StateLocked."""

    def load(self) -> Identity | None:
        """None: there is nothing yet. Never None for what is there and cannot be read."""

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
