"""A store in memory whose writes can fail or hang, and that remembers them."""

from __future__ import annotations

import threading

from tsnet.errors import StateError


class Shelf:
    """written: every value that `write` was given, in order. fails: the error of the next writes. gate: they wait
    until it is set."""

    def __init__(self, **values: bytes) -> None:
        self.values = dict(values)
        self.written: list[bytes] = []
        self.is_open = False
        self.fails: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.writing = threading.Event()
        """Set when a write has begun."""

    def open(self) -> None:
        if self.is_open:
            raise StateError("the shelf is open already")
        self.is_open = True

    def read(self, key: str) -> bytes | None:
        return self.values.get(key)

    def write(self, key: str, value: bytes) -> None:
        assert self.is_open
        self.writing.set()
        assert self.gate.wait(30)
        if self.fails is not None:
            raise self.fails
        self.written.append(value)
        self.values[key] = value

    def keys(self) -> tuple[str, ...]:
        return tuple(self.values)

    def close(self) -> None:
        self.is_open = False
