"""The application's end: a socket that counts its copies, tells the node of its end, and its reader of the node's.

Not here: the node's end (`inner_end`, `backlog`), what the messages mean (`listening`, `datagrams`).
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from tsnet.edge.pipes.waiters import completed
from tsnet.sockets.copies import Copies
from tsnet.sockets.handover import Release, adopt


class OuterEnd(socket.socket):
    """_copies: the count of all copies of this end. release: gives this socket its descriptor (`handover`)."""

    _copies: Copies | None = None
    """None before the socket has its descriptor, and after `detach`."""

    def __init__(self, release: Release, copies: Copies) -> None:
        self._copy = copies.add(self)
        self._copies = copies
        adopt(self, release)

    def detach(self) -> int:
        """Give the descriptor away. From now on the node learns from the descriptor alone that it was closed."""
        copies, self._copies = self._copies, None
        if copies is not None:
            copies.detach(self._copy)
        return super().detach()

    def __reduce_ex__(self, protocol: Any, /) -> Any:
        raise TypeError(
            f"cannot pickle {type(self).__name__!r} object: a tailnet socket belongs to the process of its node. "
            "Fork after it is made, or relay its bytes"
        )

    def _before_close(self) -> None:
        """The descriptor is about to be closed. May be called twice, and before the socket has one."""

    def _real_close(self, *args: Any) -> None:
        try:
            self._before_close()
            super()._real_close(*args)  # type: ignore[misc]
        finally:
            self._tell()

    @completed
    def _tell(self) -> None:
        """The descriptor is closed. It comes first, so that the kernel can be asked whether another copy is left."""
        if self._copies is not None:
            self._copies.close(self._copy)


class PolledEnd(OuterEnd):
    """An end of which the node must be told also when it is freed without `close`, and which outlives the node.

    _was_told: whether a call has raised because the node's side is over.
    """

    _was_told = False

    def _once(self, over: OSError) -> OSError:
        """What to raise because the node's side is over. A loop that polls gets that once, then BlockingIOError."""
        was_told, self._was_told = self._was_told, True
        if was_told and self.gettimeout() == 0:
            return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return over

    def __del__(self) -> None:
        try:
            self._before_close()
        finally:  # an exception of __del__ is lost, and must not keep the descriptor open
            super().__del__()  # type: ignore[misc]  # it warns of a descriptor that is open, and closes it
            self._tell()
