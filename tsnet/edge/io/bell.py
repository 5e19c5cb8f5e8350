"""What wakes a thread that waits in a selector: a descriptor that any thread makes readable.

| system        | it is             | a ring         | ten rings before a `silence` |
|---------------|-------------------|----------------|------------------------------|
| with eventfd  | one descriptor    | counts up      | one number                   |
| without       | a pair of sockets | sends one byte | ten bytes                    |

Source: Linux eventfd(2).
Not here: who is woken, and whether it is worth a ring (`reactor`).
"""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Callable

SILENCED = 4096
"""Bytes that one `silence` reads."""


class Bell:
    """ring: make the descriptor readable, from any thread; silence: end that, when it is readable.

    Either may raise BlockingIOError: there was no room for one more ring, or there was none.
    """

    def __init__(self, *, eventfd: bool = hasattr(os, "eventfd")) -> None:
        """eventfd: False does without, as on a system that lacks it. Raises OSError if no descriptor is left."""
        self.ring: Callable[[], object]
        self.silence: Callable[[], object]
        self._close: list[Callable[[], object]]
        if eventfd:
            descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self.ring = functools.partial(os.eventfd_write, descriptor, 1)
            self.silence = functools.partial(os.eventfd_read, descriptor)
            self._close, self._descriptor = [functools.partial(os.close, descriptor)], descriptor
            return
        rung, heard = socket.socketpair()
        for end in (rung, heard):
            end.setblocking(False)
        self.ring = functools.partial(rung.send, b"\0")
        self.silence = functools.partial(heard.recv, SILENCED)
        self._close, self._descriptor = [rung.close, heard.close], heard.fileno()

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        """Free the descriptors: this process's, a forked parent keeps its own. Twice is as good as once."""
        closing, self._close = self._close, []
        for close in closing:
            close()
