"""The application's end of a pair that is polled: it tells the node of its end, and its reader of the node's.

Not here: the node's end (`inner_end`), what the messages mean (`listening`, `datagrams`).
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any


class OuterEnd(socket.socket):
    """_was_told: whether a call has raised because the node's side is over."""

    _was_told = False

    def _let_go(self) -> None:
        """Tell the node that this end is closed. May be called twice, and before the socket has its descriptor."""
        raise NotImplementedError

    def _once(self, over: OSError) -> OSError:
        """What to raise because the node's side is over. A loop that polls gets that once, then BlockingIOError."""
        was_told, self._was_told = self._was_told, True
        if was_told and self.gettimeout() == 0:
            return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return over

    def _real_close(self, *args: Any) -> None:
        self._let_go()
        super()._real_close(*args)  # type: ignore[misc]

    def __del__(self) -> None:
        try:
            self._let_go()
        finally:  # an exception of __del__ is lost, and must not keep the descriptor open
            super().__del__()  # type: ignore[misc]  # it warns of a descriptor that is open, and closes it
