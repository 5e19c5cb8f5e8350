"""The node's end of a pair whose other end is polled. It outlives the node.

If the node's end were closed, the application's would be readable for ever, and a server that polls its socket would
find an error there in each turn of its loop. So the node's end sends a bounded number of farewells, and stays open
without another word until the application closes its own end.

    end(farewell)     the node's side is over
    release()         the application's side is over, or its owner is unknown
    both              the descriptor is closed

Not here: what the messages mean (`listening`, `datagrams`).
"""

from __future__ import annotations

import contextlib
import socket
import threading

FAREWELLS = 64
"""How many reads find out that the node's side is over: one for each thread or process that waits."""

_ROOM = 64 * 1024
"""Bytes of buffer for the farewells, if the rest is full of messages that nobody has read."""


class InnerEnd:
    """Owns the inner socket of a pair. `end` and `release` may come from any thread, in any order, more than once."""

    __slots__ = ("_ended", "_lock", "released", "socket")

    def __init__(self, inner: socket.socket) -> None:
        self.socket: socket.socket = inner
        self.released: bool = False
        self._ended = False
        self._lock = threading.RLock()  # else a farewell could go to a closed descriptor whose number is in use again

    def end(self, farewell: bytes) -> None:
        """The node's side is over: FAREWELLS reads get the farewell, after all that was sent; later ones wait."""
        with self._lock:
            if not self._ended:
                self._ended = True
                if not self.released and not self._say(farewell):
                    self.released = True  # no farewell fits: close the end, so that reads find the end of the stream
            if self.released:
                self._close()

    def release(self) -> None:
        """The application's side is closed, or will be unseen: close the descriptor once the node's side is over."""
        with self._lock:
            self.released = True
            if self._ended:
                self._close()

    def _say(self, farewell: bytes) -> bool:
        """Send the farewells. Returns whether at least one was taken."""
        said = False
        with contextlib.suppress(OSError):
            room = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room + _ROOM)
            for _ in range(FAREWELLS):
                self.socket.send(farewell)
                said = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RD)  # the application's sends now fail
        return said

    def _close(self) -> None:
        with contextlib.suppress(OSError):  # a forked child may hold a copy that close alone would leave open
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
