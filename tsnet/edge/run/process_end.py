"""The end of the process: nodes that its program has not closed are closed, in silence and within a bounded time."""

from __future__ import annotations

import atexit
from typing import Protocol

from tsnet.edge.pipes.operations import Operation

TIMEOUT = 2.0


class Closable(Protocol):
    def close(self, timeout: float | None) -> Operation[None]: ...


_open: set[Closable] = set()


def add(node: Closable) -> None:
    """It would be left behind if the process ended now."""
    _open.add(node)


def remove(node: Closable) -> None:
    """Nothing of it is left; one that was not added is no error."""
    _open.discard(node)


def close_all() -> None:
    closing = [node.close(TIMEOUT) for node in tuple(_open)]
    for operation in closing:
        operation.begin()
    for operation in closing:
        operation.wait(TIMEOUT)


atexit.register(close_all)
