"""Connections that wait in this process, where the kernel's queue cannot be used: no AF_UNIX (Windows), no directory.

    node's thread                                                 this process
    offer(pipe)   ── the socket into a deque, one byte over the pair ──>  accept
    end()         ── farewells ──────────────────────────────────────>

One byte announces each connection, so that the application's end can be polled. Only this process can accept.

Not here: when to offer again (`backlog`).
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections import deque
from collections.abc import Callable

from tsnet.edge.io.reactor import Reactor
from tsnet.sockets import pairs
from tsnet.sockets.bridge import Bridge, NodeStream
from tsnet.sockets.connected import TailnetSocket
from tsnet.sockets.handover import release_of
from tsnet.sockets.inner_end import FAREWELLS, InnerEnd

RESET = struct.pack("ii", 1, 0)
_FAREWELL = b"\0"


class QueueDoor:
    """Both sides. `take`, `before_last_close`, `drop` and `is_open` may be called by any thread, the rest by the
    node's.

    waiting: the connections; None stands for the end. on_taken: called in the thread that accepts.
    """

    def __init__(self) -> None:
        self.waiting: deque[TailnetSocket | None] = deque()
        self._inner: InnerEnd
        self._backlog = 0
        self.on_taken: Callable[[], None] = lambda: None

    def make(self, backlog: int) -> socket.socket:
        """The application's descriptor."""
        inner, outer = pairs.stream_pair()
        with pairs.closed_on_error(inner, outer):
            self._inner, self._backlog = InnerEnd(inner), backlog
        return outer

    # --- the application's side ---------------------------------------------------------------------------------

    def take(self, listening: socket.socket) -> TailnetSocket | None:
        """The next connection; None for a farewell. Raises what `recv` raises, OSError once the pair is closed."""
        if not socket.socket.recv(listening, 1):
            raise OSError(errno.EINVAL, "this tailnet listener was closed")
        connection = self.waiting.popleft()
        self.on_taken()
        return connection

    def before_last_close(self, listening: socket.socket, is_accepting: bool) -> None:
        """Reset the connections that wait, as any listener does that is closed, and wake who is blocked in `accept`."""
        self._reset_what_waits()
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)

    def _reset_what_waits(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                connection = self.waiting.popleft()
                if connection is not None:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    connection.close()

    def is_open(self) -> bool:
        """Whether somebody else still has the descriptor. The node's end is open no longer than that."""
        self._inner.release()
        try:
            return bool(self._inner.socket.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def listen(self, listening: socket.socket, backlog: int) -> None:
        self._backlog = max(backlog, 1)

    def drop(self) -> None:
        """Nothing: the node has no copy of the application's descriptor."""

    # --- the node's side ----------------------------------------------------------------------------------------

    def offer(self, pipe: NodeStream, reactor: Reactor) -> bool:
        """Queue a connection. False: there is no room. Raises OSError if no descriptor is free."""
        if len(self.waiting) >= self._backlog:
            return False
        inner, outer = pairs.stream_pair()
        with pairs.closed_on_error(inner, outer):
            node_end = Bridge(pipe, inner, reactor)
            connection = TailnetSocket(release_of(outer), pipe.local_address, pipe.remote_address, node_end.link)
        self.waiting.append(connection)
        with contextlib.suppress(OSError):  # the application has just closed its end: `end` finds this connection
            self._inner.socket.send(b"+")
        node_end.start()
        return True

    def end(self) -> None:
        """The node's side is over. What waits can still be accepted, and then farewells. If nobody listens any more,
        what was offered since the application closed is reset."""
        self.waiting.extend([None] * FAREWELLS)
        self._inner.end(_FAREWELL)
        if self._inner.released:
            self._reset_what_waits()

    def close(self) -> None:
        """Nobody listens: free what there is."""
        self._inner.release()
        self.end()
