"""Connections that wait in the kernel's own queue, so that anybody can accept them: Python, C code, other processes.

    node's thread                                                  whoever has the listening descriptor
    offer(pipe)   ── connect, bound to a name that tells who calls ──>  accept
    end()         ── farewells: connections that are over already ──>   accept

    the queue is full                nothing is made: the connection waits in the node
    no descriptor is free there      the connection stays in the queue: the kernel looks for one first
    no descriptor is free here       OSError from `offer`: the connection waits in the node

A farewell that Python accepts is the error of a closed listener. Another acceptor sees connections that end at once,
and then nothing more: a listening socket that was shut down would be readable for ever, and pollers would spin.

Not here: when to offer again (`backlog`); the names (`caller`).
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable

from tsnet.edge.io.reactor import Reactor
from tsnet.sockets import pairs
from tsnet.sockets.bridge import Bridge, NodeStream
from tsnet.sockets.caller import Caller, caller_of, farewell_name, is_farewell, name_of
from tsnet.sockets.connected import SideChannel, TailnetSocket
from tsnet.sockets.handover import Arrival
from tsnet.sockets.inner_end import FAREWELLS
from tsnet.sockets.rendezvous import Rendezvous

_waiting: dict[bytes, tuple[Caller, SideChannel]] = {}  # by name: what a name alone cannot tell


class KernelDoor:
    """Both sides. `take`, `before_last_close`, `drop` and `is_open` may be called by any thread, the rest by the
    node's.

    on_taken: called in the thread that accepts.
    _copy: the node's own descriptor of the listening socket, as long as Python objects tell of the others.
    """

    def __init__(self) -> None:
        self._rendezvous = Rendezvous()
        self._copy: socket.socket | None = None
        self._lock = threading.RLock()  # else the copy could be used when its number is another descriptor's
        self._ended = False
        self.on_taken: Callable[[], None] = lambda: None

    def make(self, backlog: int) -> socket.socket:
        """The application's descriptor. Raises OSError where this kind of door cannot be made."""
        listening = self._rendezvous.make(backlog)
        try:
            self._copy = listening.dup()
        except BaseException:
            listening.close()
            self.close()
            raise
        return listening

    # --- the application's side ---------------------------------------------------------------------------------

    def take(self, listening: socket.socket) -> TailnetSocket | None:
        """The next connection; None for a farewell. Raises what `accept` raises."""
        with Arrival() as arrival:
            name = arrival.accept(listening)
            if is_farewell(name):
                return None
            caller, link = _waiting.get(os.fsencode(name)) or (caller_of(name), None)
            if link is not None:
                link.accepted = True
            connection = TailnetSocket(arrival.release, caller.local, caller.remote, link)
        pairs.resize(connection)
        self.on_taken()
        return connection

    def listen(self, listening: socket.socket, backlog: int) -> None:
        socket.socket.listen(listening, backlog)

    def before_last_close(self, listening: socket.socket, is_accepting: bool) -> None:
        """Wake those of this process who are blocked in `accept`: the kernel would leave them there."""
        if is_accepting:
            self._ended = True  # the descriptors of those who are blocked count no more
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)

    def is_open(self) -> bool:
        """Whether somebody else still has the descriptor."""
        self._close_copy()
        return not self._ended and self._rendezvous.is_listening()

    def drop(self) -> None:
        """Close a forked child's copy of the node's own, without the lock: whoever had it is in the parent."""
        if self._copy is not None:
            self._copy.close()

    def _close_copy(self) -> None:
        with self._lock:
            self.drop()

    # --- the node's side ----------------------------------------------------------------------------------------

    def offer(self, pipe: NodeStream, reactor: Reactor) -> bool:
        """Queue a connection. False: the queue is full, or nobody listens. Raises OSError if no descriptor is free."""
        caller = Caller(pipe.local_address, pipe.remote_address)
        name = name_of(caller, self._names)
        key = os.fsencode(name)
        inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        inner.setblocking(False)
        node_end = Bridge(pipe, inner, reactor, on_end=lambda: _forget(key))
        node_end.link.accepted = False
        _waiting[key] = caller, node_end.link
        if not self._connect(inner, name):
            _forget(key)
            inner.close()
            return False
        pairs.resize(inner)
        node_end.start()
        return True

    @property
    def _names(self) -> str | None:
        return None if pairs.HAVE_ABSTRACT_NAMES else self._rendezvous.directory

    def _connect(self, inner: socket.socket, name: str) -> bool:
        """Returns whether there was room."""
        try:
            inner.bind(name)
            if not name.startswith("\0"):
                os.unlink(name)  # the socket keeps its name
            self._rendezvous.connect(inner)
        except OSError:  # full, or closed a moment ago
            return False
        return True

    def end(self) -> None:
        """The node's side is over. What waits can still be accepted, and then farewells."""
        with self._lock:
            self._ended = True
            said = self._say_farewells()
            if self._copy is not None and not said:  # no descriptor was free for a farewell
                with contextlib.suppress(OSError):
                    self._copy.shutdown(socket.SHUT_RDWR)
        self.close()

    def _say_farewells(self) -> int:
        """How many were taken."""
        said = 0
        with contextlib.suppress(OSError):
            if self._copy is not None and self._copy.fileno() >= 0:
                self._copy.listen(socket.SOMAXCONN)  # room behind the connections that wait
            while said < FAREWELLS:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as farewell:
                    farewell.setblocking(False)
                    if not self._connect(farewell, farewell_name(self._names)):
                        break
                    said += 1
        return said

    def close(self) -> None:
        """Nobody listens any more: free what there is."""
        self._ended = True
        with self._lock:
            self._close_copy()
            self._rendezvous.close()


def _forget(key: bytes) -> None:
    _waiting.pop(key, None)
