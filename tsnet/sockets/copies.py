"""How many copies of one application's end the Python objects of this process hold: the one count of all our sockets.

    dup                               one more
    close, the end of `with`, freed   one less; with the last one the node is told
    detach                            one less; the node watches the descriptor from now on

The kernel makes copies that nobody here sees: `os.dup`, `socket.fromfd`, a forked child, a child process that inherits.
Whether one of those is left, the node's end asks the kernel when the last copy that is seen has been closed.

Not here: what the node does at the end (`bridge`, `datagrams`, `backlog`).
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable

Copy = weakref.ref[object]
"""What stands for one copy."""


class Copies:
    """The count, and whom it tells. Any thread may call its methods, also in a `__del__`.

    on_last: the last copy was closed, in a process where `is_home`. It may be called twice.
    on_unseen: a descriptor was detached, so that nobody will tell when its new owner closes it.
    """

    __slots__ = ("_held", "_process", "on_last", "on_unseen")

    _getpid = staticmethod(os.getpid)  # the module may be gone when the interpreter ends and frees the last sockets

    def __init__(self, on_last: Callable[[], None], on_unseen: Callable[[], None]) -> None:
        self.on_last: Callable[[], None] = on_last
        self.on_unseen: Callable[[], None] = on_unseen
        self._held: set[Copy] = set()
        self._process = os.getpid()

    @property
    def is_home(self) -> bool:
        """Whether this is the process that made the socket, not a forked child: only there is a node to be told."""
        return self._getpid() == self._process

    @property
    def any(self) -> bool:
        """Whether one is left; one that was freed without `close` is none."""
        return any(copy() is not None for copy in tuple(self._held))

    def add(self, sock: object) -> Copy:
        """One more; returns what stands for it."""
        copy = weakref.ref(sock)
        self._held.add(copy)
        return copy

    def is_last(self, copy: Copy) -> bool:
        return all(other == copy or other() is None for other in tuple(self._held))

    def close(self, copy: Copy) -> None:
        """That one is closed. May be repeated."""
        self._held.discard(copy)
        if self.is_home and not self.any:
            self.on_last()

    def detach(self, copy: Copy) -> None:
        """That one has lost its descriptor to somebody else."""
        if self.is_home:
            self.on_unseen()
        self._held.discard(copy)
