"""The node's end of a pair whose other end is polled: it outlives the node.

A closed end would be readable at the other for ever, and a server that polls its socket would find an error there in
each turn of its loop. So the node's end says farewell a bounded number of times, and stays open in silence until the
application closes its own end.

    end(farewell)     the node's side is over
    release()         the application's side is over, or is out of our sight
    both              the descriptor is closed

Not here: what the messages mean (`listening`, `datagrams`).
"""

from __future__ import annotations

import contextlib
import socket
import threading

FAREWELLS = 64
"""How many reads are told that the node's side is over: threads and processes that wait, each of them once."""

_ROOM = 64 * 1024
"""Bytes of buffer for the farewells, when all the rest is full of what nobody has read."""


class InnerEnd:
    """Owns the inner socket of a pair. `end` and `release` may come from any thread, in any order, more than once."""

    __slots__ = ("_ended", "_lock", "released", "socket")

    def __init__(self, inner: socket.socket) -> None:
        self.socket = inner
        self.released = False
        self._ended = False
        self._lock = threading.RLock()  # else a farewell could go to a descriptor that has just become another's

    def end(self, farewell: bytes) -> None:
        """The node's side is over: so many reads get the farewell, behind all that was sent, and then nothing comes."""
        with self._lock:
            if not self._ended:
                self._ended = True
                if not self.released and not self._say(farewell):
                    self.released = True  # whom no farewell reaches finds the end of the stream
            if self.released:
                self._close()

    def release(self) -> None:
        """Nobody will close the application's side where we see it: the node's end closes the descriptor."""
        with self._lock:
            self.released = True
            if self._ended:
                self._close()

    def _say(self, farewell: bytes) -> bool:
        """Returns whether any was taken."""
        said = False
        with contextlib.suppress(OSError):
            room = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room + _ROOM)
            for _ in range(FAREWELLS):
                self.socket.send(farewell)
                said = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RD)  # what the application still sends is an error there
        return said

    def _close(self) -> None:
        with contextlib.suppress(OSError):  # a forked child may hold a copy that close alone would leave open
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
