"""A store: a node keeps bytes there by key, from one run to the next. An application may bring its own.

    open ─► read, read, … ─► write, write, … ─► close

A key is 1 to 64 of a-z, 0-9 and the hyphen. The node has `identity`, `control-key` and some more; later versions may
add others. A value is at most a few thousand bytes, and holds private keys; that of `netmap` has up to 8 MiB, and none.

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

    The calls come one at a time. `open`, `read` and `write` come from worker threads (in a simulated world from the
    node's), and may take their time: `up` waits for the first two and the node goes on while it writes; only what
    depends on the value waits. `close` may come from the node's own thread, and should be quick. A node does not call
    `keys`.

    A failure is best a StateError that says what to do. Any other exception becomes a StateError without its text,
    which may hold a secret.
    """

    def open(self) -> None:
        """Take the store for this node alone. Raise StateLocked while another one uses it."""

    def read(self, key: str) -> bytes | None:
        """What `write` was given last, in this run or an earlier one; None if there is nothing yet.

        Raise an error for a value that cannot be read: after None the node would join as a new machine.
        """

    def write(self, key: str, value: bytes) -> None:
        """Keep the value in place of an earlier one. Once this returns, the value must outlast the process."""

    def keys(self) -> Iterable[str]:
        """Every key that has a value, in any order."""

    def close(self) -> None:
        """The node is done. A store that was closed may be opened again."""


class MemoryStore:
    """A store that ends with its process. values: its contents at first."""

    def __init__(self, values: Mapping[str, bytes] | None = None) -> None:
        self.values: dict[str, bytes] = dict(values or {})

    def open(self) -> None: ...

    def read(self, key: str) -> bytes | None:
        return self.values.get(check_key(key))

    def write(self, key: str, value: bytes) -> None:
        self.values[check_key(key)] = value

    def keys(self) -> tuple[str, ...]:
        return tuple(self.values)

    def close(self) -> None: ...


def check_key(key: str) -> str:
    """The key itself. Raises ConfigError if it is none: a path, for instance, could lead out of the directory."""
    if not _KEY.fullmatch(key):
        raise ConfigError(f"{key!r} is no key of a store: use 1 to 64 of a-z, 0-9 and the hyphen")
    return key
