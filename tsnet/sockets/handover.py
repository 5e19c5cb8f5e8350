"""Moving a descriptor between owners, so that it has an owner at every moment, also if an interrupt ends the call.

    adopt(sock, release_of(other))     the descriptor of another socket
    adopt(sock, arrival.release)       the descriptor of a connection that was accepted
    adopt(sock, copy_of(other))        a copy

An interrupt (Ctrl-C raises KeyboardInterrupt in the main thread) comes between two steps of Python code, never inside
one call of C code. It would lose a descriptor that only a Python variable knows. So these functions compose calls of C
code, and no descriptor is known to a variable alone. Every descriptor is closed by `exec` from its birth.

Not here: the pairs (`pairs`), what the sockets do.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import starmap
from typing import Any

Release = Callable[[], int]
"""A C function that gives a descriptor away: returns its number, and owns it no more."""


def adopt(sock: socket.socket, release: Release) -> None:
    """Initialise a socket with the descriptor that `release` gives away, as `socket.__init__` does, but in one step."""
    sock._io_refs, sock._closed = 0, False  # type: ignore[attr-defined]
    deque(map(partial(_socket.socket.__init__, sock, -1, -1, -1), starmap(release, [()])), maxlen=0)


def release_of(sock: socket.socket) -> Release:
    """Gives away the descriptor of a socket, which is then closed."""
    return partial(_socket.socket.detach, sock)


def copy_of(sock: socket.socket) -> Release:
    """Gives away a copy of a socket's descriptor."""
    return partial(_socket.dup, sock.fileno())


class Arrival:
    """A connection that is being accepted. The end of the block closes a descriptor that nobody has adopted.

    with Arrival() as arrival:
        name = arrival.accept(listening)
        adopt(new, arrival.release)
    """

    def __init__(self) -> None:
        self._accepted: list[tuple[int, Any]] = []
        self._descriptors: list[int] = []

    def accept(self, listening: socket.socket) -> Any:
        """The name of whoever has connected. Raises what `accept` raises."""
        self._accepted.extend(map(_socket.socket._accept, (listening,)))  # type: ignore[attr-defined]
        descriptor, name = self._accepted[0]
        self._descriptors, self._accepted = [descriptor], []  # one step: it is in exactly one list
        return name

    @property
    def release(self) -> Release:
        return self._descriptors.pop

    def __enter__(self) -> Arrival:
        return self

    def __exit__(self, *exc: object) -> None:
        for descriptor in (*self._descriptors, *(descriptor for descriptor, _name in self._accepted)):
            with contextlib.suppress(OSError):
                os.close(descriptor)
