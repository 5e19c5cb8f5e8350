"""A store: where a node keeps bytes by key from one run to the next. An application may bring its own.

    open ─► read, read, … ─► write, write, … ─► close

A key is 1 to 64 of a-z, 0-9 and the hyphen. The node has two, `identity` and `control-key`; later versions may add
more. A value is at most a few thousand bytes, and holds private keys.

Not here: files (`directory`), what `state=` means (`place`), the thread that writes (`saver`), what the values mean
(`tsnet.engine.saved`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from tsnet.errors import ConfigError

_KEY = re.compile(r"[a-z0-9-]{1,64}")


class Store(Protocol):
    """Where a node keeps its identity, and what else it must remember.

    One call at a time. `open`, `read`, `keys` and `close` come from the thread that starts or ends the node, and should
    be quick. `write` comes from a worker thread (in a simulated world from the node's), and may take its time: the node
    goes on meanwhile, and only what depends on that value waits.

    A failure is best a StateError that says what to do. Whatever else a store raises becomes a StateError without its
    text, which may hold a secret.
    """

    def open(self) -> None:
        """Take it for this node alone: raise StateLocked while another one uses it."""

    def read(self, key: str) -> bytes | None:
        """What `write` was given last, in this run or an earlier one; None if there is nothing yet.

        Never None for what is there and cannot be read: the node would then join as a new machine.
        """

    def write(self, key: str, value: bytes) -> None:
        """Keep the value in place of an earlier one. After the return it outlasts the end of the process."""

    def keys(self) -> Iterable[str]:
        """Every key that has a value, in any order."""

    def close(self) -> None:
        """The node is done. A store that was closed may be opened again."""


class MemoryStore:
    """A store that ends with its process.

    values: what it holds at first.
    """

    def __init__(self, values: Mapping[str, bytes] | None = None) -> None:
        self.values = dict(values or {})

    def open(self) -> None: ...

    def read(self, key: str) -> bytes | None:
        return self.values.get(check_key(key))

    def write(self, key: str, value: bytes) -> None:
        self.values[check_key(key)] = value

    def keys(self) -> tuple[str, ...]:
        return tuple(self.values)

    def close(self) -> None: ...


def check_key(key: str) -> str:
    """The key itself. Raises ConfigError for what is none: a path, for instance, could leave its directory."""
    if not _KEY.fullmatch(key):
        raise ConfigError(f"{key!r} is no key of a store: use 1 to 64 of a-z, 0-9 and the hyphen")
    return key
