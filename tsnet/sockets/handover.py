"""Moving a descriptor between owners, so that it has an owner at every moment, also if an interrupt ends the call.

    adopt(sock, release_of(other))     the descriptor of another socket
    adopt(sock, parcel.release)        a descriptor that came with a message
    adopt(sock, copy_of(other))        a copy

An interrupt (Ctrl-C raises KeyboardInterrupt in the main thread) comes between two steps of Python code, never inside
one call of C code. It would lose a descriptor that only a Python variable knows. So these functions compose calls of C
code, and no descriptor is known to a variable alone.

Not here: the pairs (`pairs`), what the sockets do.
"""

from __future__ import annotations

import _socket
import array
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
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


class Parcel:
    """A message that may bring a descriptor. The end of the block closes a descriptor that nobody has adopted.

    with Parcel() as parcel:
        text = parcel.receive(sock, 256)
        adopt(new, parcel.release)
    """

    def __init__(self) -> None:
        self._messages: list[Any] = []
        self._descriptors: list[int] = []

    def receive(self, sock: socket.socket, max_bytes: int, flags: int = 0) -> bytes:
        """The bytes of the next message. Raises what `recvmsg` raises."""
        space = socket.CMSG_SPACE(array.array("i").itemsize)
        receive = partial(_socket.socket.recvmsg, sock)
        self._messages.extend(map(receive, (max_bytes,), (space,), (flags,)))
        message = self._messages[0]
        descriptors = list(_descriptors(message))
        self._descriptors, self._messages = descriptors, []  # one step: each descriptor is in exactly one list
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return bytes(message[0])

    @property
    def is_empty(self) -> bool:
        return not self._descriptors

    @property
    def release(self) -> Release:
        return self._descriptors.pop

    def __enter__(self) -> Parcel:
        return self

    def __exit__(self, *exc: object) -> None:
        for message in self._messages:
            self._descriptors.extend(_descriptors(message))
        for descriptor in self._descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _descriptors(message: Any) -> Iterator[int]:
    for level, kind, data in message[1]:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found = array.array("i")
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
            yield from found
