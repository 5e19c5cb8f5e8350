"""The node's end of a listening socket: connections go through its door as long as there is room.

    offer(pipe, on_room)    True: handed over. False: no room, and `on_room` is called when there may be some

When the door is full, a Python `accept` of this process tells at once that there is room again. Another acceptor tells
nothing, so the door is tried again after FIRST_RETRY, and then less and less often.

Not here: the doors (`kernel_door`, `queue_door`); who waits meanwhile, for room or a descriptor (`attach`).
"""

from __future__ import annotations

import os
from collections.abc import Callable

from tsnet.edge.io.reactor import Reactor, Timer
from tsnet.sockets.bridge import NodeStream
from tsnet.sockets.shared import Shared

FIRST_RETRY = 0.002
LAST_RETRY = 0.064
LOOK_EVERY = 0.25
"""Seconds between two looks whether a descriptor that nobody here sees is still open."""


class Backlog:
    """Only the node's thread uses it; once that thread is dead, another one may call `close`."""

    def __init__(self, shared: Shared, reactor: Reactor) -> None:
        self._shared, self._reactor, self._door = shared, reactor, shared.door
        self._on_room: Callable[[], None] | None = None
        self._retry: Timer | None = None
        self._delay = FIRST_RETRY
        self._started = self._watching = False
        self._process = os.getpid()
        self.closed: bool = False
        shared.door.on_taken = self._on_taken
        shared.look = lambda: reactor.call_soon(self.look)

    def start(self) -> None:
        self._started = True
        self._has_room()

    def offer(self, pipe: NodeStream, on_room: Callable[[], None]) -> bool:
        """Hand a connection over. Returns False if there is no room: the pipe is still the caller's, and `on_room` is
        called once when there may be some, unless the listener is closed. Raises OSError if no descriptor is free."""
        if self.closed or self._shared.closed:
            return False
        if self._started and self._door.offer(pipe, self._reactor):
            self._delay = FIRST_RETRY
            return True
        self._on_room = on_room
        if self._started and self._retry is None:
            self._retry = self._reactor.call_at(self._reactor.clock() + self._delay, self._try_again)
            self._delay = min(2 * self._delay, LAST_RETRY)
        return False

    def _on_taken(self) -> None:
        """In the thread that accepts, or in a forked child, which has a copy of this."""
        if self._on_room is not None and os.getpid() == self._process:
            self._reactor.call_soon(self._has_room)

    def _try_again(self) -> None:
        self._retry = None
        self._has_room()

    def _has_room(self) -> None:
        on_room, self._on_room = self._on_room, None
        if on_room is not None and not self.closed:
            on_room()

    def look(self) -> None:
        """End the listener if it is closed. If somebody unseen has its descriptor, look again from time to time."""
        if self.closed or self._watching:
            return
        if self._shared.closed:
            self.close()
        elif self._door.is_open():
            self._watching = True
            self._reactor.call_at(self._reactor.clock() + LOOK_EVERY, self._look_again)
        else:
            self._shared.closed = True
            self.close()
            self._shared.on_close()

    def _look_again(self) -> None:
        self._watching = False
        self.look()

    def close(self) -> None:
        """End the listener. What waits can still be accepted, then `accept` raises, also one that is blocked."""
        if self.closed:
            return
        self.closed = self._shared.over = True
        if self._retry is not None:
            self._retry.cancel()
        if self._shared.closed:
            self._door.close()
        else:
            self._door.end()
