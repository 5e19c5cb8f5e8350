"""A stand-in for a listening socket: `accept` returns bridged sockets, and a server can poll it.

    node's thread                                     application's thread
    Backlog.offer(pipe) ── descriptor, addresses ──>  ListeningSocket.accept()

The descriptors travel as messages over an AF_UNIX pair: whoever receives the message has accepted the connection. So
`select`, timeouts, several threads and the children of a prefork server work as with any socket. Where descriptors
cannot travel (Windows), the sockets wait in a queue, and one byte over the pair announces each; then only this process
can accept.

    application closes    the port is free when `close` returns, and connections that nobody accepted are reset
    node closes           `accept` raises OSError (EINVAL) once, as it does under a closed listener; from then on a
                          blocking `accept` raises it at once, and one that polls finds nothing, so that no loop spins

Not here: netstack's own backlog, in which connections wait while `offer` finds no room.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

from tsnet.edge.io.reactor import READ, WRITE, Reactor
from tsnet.edge.pipes.waiters import completed
from tsnet.protocols import Address, family_of
from tsnet.sockets import pairs
from tsnet.sockets.bridge import Bridge, NodeStream
from tsnet.sockets.connected import SideChannel, TailnetSocket, sockaddr
from tsnet.sockets.handover import Parcel, Release, adopt, copy_of, release_of
from tsnet.sockets.inner_end import FAREWELLS, InnerEnd
from tsnet.sockets.outer_end import OuterEnd

RESET = struct.pack("ii", 1, 0)
FAREWELL = b"\0"
"""The message (with a queue, the byte) that stands for the end of the listener."""

_MAX_MESSAGE = 256
_BACKLOG = 128

_links: dict[int, SideChannel] = {}  # by ticket: a side channel cannot travel with its descriptor
_tickets = itertools.count()


def listening(local: Address, reactor: Reactor, on_close: Callable[[], None]) -> tuple[ListeningSocket, Backlog]:
    """The two ends. Any thread may call this.

    on_close: runs when the application has closed its end. It runs in the thread that closes, before `close` returns,
    or in the node's thread if that learns of it from the descriptor alone. It may run twice.
    """
    inner, outer = pairs.message_pair() if pairs.HAVE_UNIX else pairs.stream_pair()
    with pairs.closed_on_error(inner, outer):
        shared = Shared(InnerEnd(inner), on_close, None if pairs.HAVE_UNIX else Queue())
        application = ListeningSocket(release_of(outer), local, shared)
    with pairs.closed_on_error(application):
        backlog = Backlog(shared, reactor)
        reactor.call_soon(backlog.start)
    return application, backlog


class Queue:
    """Accepted connections where descriptors cannot travel. One byte over the pair announces each.

    waiting: the connections; None stands for the end.
    """

    def __init__(self) -> None:
        self.waiting: deque[TailnetSocket | None] = deque()
        self.on_taken: Callable[[], None] = lambda: None


class Shared:
    """What the two ends of a listener share beside the messages.

    copies: one object for each open copy of the application's end in this process.
    closed: the last copy was closed. over: the node's end is over.
    """

    def __init__(self, inner: InnerEnd, on_close: Callable[[], None], queue: Queue | None) -> None:
        self.inner: InnerEnd = inner
        self.on_close: Callable[[], None] = on_close
        self.queue: Queue | None = queue
        self.copies: set[object] = set()
        self.closed = self.over = False
        self.process: int = os.getpid()


class ListeningSocket(OuterEnd):
    """The application's end. `close` wakes a blocked `accept`, which then raises OSError.

    The listener ends when the last copy in this process is closed, or freed without `close`.
    """

    _copy: object | None = None
    """What stands for this object in `Shared.copies`; None before it has its descriptor, and after `detach`."""

    def __init__(self, release: Release, local: Address, shared: Shared) -> None:
        self._local, self._shared = local, shared
        self._copy = object()
        shared.copies.add(self._copy)
        adopt(self, release)

    @property
    def family(self) -> socket.AddressFamily:
        return family_of(self._local)

    @property
    def type(self) -> socket.SocketKind:
        return socket.SOCK_STREAM

    def accept(self) -> tuple[TailnetSocket, Any]:
        """The next connection and its peer's tailnet address."""
        is_over = self._was_told or self._shared.over
        connection = self._take_last() if is_over and self.gettimeout() != 0 else self._take(0)
        connection.settimeout(socket.getdefaulttimeout())
        return connection, connection.getpeername()

    def _take(self, flags: int) -> TailnetSocket:
        queue = self._shared.queue
        return self._take_message(flags) if queue is None else self._take_queued(queue, flags)

    def _take_last(self) -> TailnetSocket:
        """A connection that still waits when the listener is over, or the error. Farewells are taken away, too, so that
        a loop that polls does not spin."""
        if pairs.is_readable(self):
            with contextlib.suppress(BlockingIOError):
                return self._take(pairs.DONT_WAIT)
        raise _closed()

    def _take_message(self, flags: int) -> TailnetSocket:
        with Parcel() as parcel:
            message = parcel.receive(self, _MAX_MESSAGE, flags)
            if message in (b"", FAREWELL):
                self._end(message)
            if parcel.is_empty:
                raise OSError(errno.EMFILE, "too many descriptors are open: a connection to this listener was lost")
            ticket, local, remote = _decode(message)
            return TailnetSocket(parcel.release, local, remote, _links.get(ticket))

    def _take_queued(self, queue: Queue, flags: int) -> TailnetSocket:
        byte = self.recv(1, flags)
        connection = queue.waiting.popleft() if byte else None
        if connection is None:
            self._end(byte)
        queue.on_taken()
        return connection

    def _end(self, message: bytes) -> NoReturn:
        """Raise that the listener is over. No message: nothing more comes, and a loop that polls hears it each time."""
        once = self._once(_closed())
        raise once if message else _closed()

    def listen(self, backlog: int = _BACKLOG, /) -> None:
        """Does nothing: the socket listens already, with a backlog of its own."""

    def bind(self, address: Any, /) -> None:
        """Does nothing: the socket is bound already."""

    def getsockname(self) -> Any:
        super().getsockname()
        return sockaddr(self._local)

    def getpeername(self) -> NoReturn:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    def setsockopt(self, *args: Any) -> None:
        """Does nothing: there is no kernel's listener that an option could act on."""

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> Any:
        if level != socket.SOL_SOCKET:
            return 0
        answers = {socket.SO_TYPE: socket.SOCK_STREAM, socket.SO_ACCEPTCONN: 1}
        return answers[optname] if optname in answers else super().getsockopt(level, optname)

    def dup(self) -> ListeningSocket:
        copy = ListeningSocket(copy_of(self), self._local, self._shared)
        copy.settimeout(self.gettimeout())
        return copy

    def detach(self) -> int:
        """Give the descriptor away. From now on the node learns from the descriptor alone that it was closed."""
        self._copy = None
        self._shared.inner.release()
        return super().detach()

    @completed
    def _let_go(self) -> None:
        """Free the port if this is the last copy. A forked child does not: its parent and siblings go on accepting."""
        if self._copy is None:
            return
        shared = self._shared
        if shared.closed or os.getpid() != shared.process:
            return
        shared.copies.discard(self._copy)
        if shared.copies:
            return
        shared.on_close()
        if self.fileno() >= 0:
            self._reset_waiting()
            with contextlib.suppress(OSError):  # this wakes those who are blocked in `accept`
                self.shutdown(socket.SHUT_RDWR)
        shared.inner.release()
        shared.closed = True  # the last step, so that an interrupted call can be repeated

    def _reset_waiting(self) -> None:
        """Reset the connections that wait, as any listener does that is closed."""
        with contextlib.suppress(OSError, IndexError):
            self.settimeout(0)
            while True:
                connection, _address = self.accept()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                connection.close()


def _closed() -> OSError:
    return OSError(errno.EINVAL, "this tailnet listener was closed")


class Backlog:
    """The node's end: connections that the application has not accepted yet.

    Only the node's thread uses it; once that thread is dead, another one may call `close`.
    """

    def __init__(self, shared: Shared, reactor: Reactor) -> None:
        self._shared, self._reactor = shared, reactor
        self._inner, self._queue = shared.inner.socket, shared.queue
        self._on_room: Callable[[], None] | None = None
        if self._queue is not None:
            self._queue.on_taken = lambda: reactor.call_soon(self._has_room)
        self._started = False
        self.closed: bool = False

    def start(self) -> None:
        if not self.closed:
            self._reactor.add(self._inner, READ, self._on_ready)
            self._started = True
            self._has_room()

    def offer(self, pipe: NodeStream, on_room: Callable[[], None]) -> bool:
        """Hand a connection over. Returns False if there is no room: the pipe is still the caller's, and `on_room` is
        called once when there is, unless the listener is closed."""
        if self.closed or not self._shared.copies:
            return False
        if self._started and self._offer(pipe):
            return True
        self._on_room = on_room
        if self._started and self._queue is None:
            self._reactor.change(self._inner, READ | WRITE)
        return False

    def _offer(self, pipe: NodeStream) -> bool:
        ticket = next(_tickets)
        inner, outer = pairs.stream_pair()
        node_end = Bridge(pipe, inner, self._reactor, on_end=lambda: _forget(ticket))
        _links[ticket] = node_end.link
        with outer:
            if self._hand_over(outer, ticket, pipe, node_end.link):
                node_end.start()
                return True
        inner.close()
        _forget(ticket)
        return False

    def _hand_over(self, outer: socket.socket, ticket: int, pipe: NodeStream, link: SideChannel) -> bool:
        try:
            if self._queue is None:
                message = _encode(ticket, pipe.local_address, pipe.remote_address)
                socket.send_fds(self._inner, [message], [outer.fileno()])
                return True
            if len(self._queue.waiting) >= _BACKLOG:
                return False
            connection = TailnetSocket(release_of(outer), pipe.local_address, pipe.remote_address, link)
            self._queue.waiting.append(connection)
            self._inner.send(b"+")
        except OSError:  # full, too many descriptors under way, or closed a moment ago
            return False
        return True

    def _on_ready(self, mask: int) -> None:
        if mask & READ:  # the application never writes: it has closed its end
            self._shared.inner.release()
            self.close()
            self._shared.on_close()
            return
        self._reactor.change(self._inner, READ)
        self._has_room()

    def _has_room(self) -> None:
        on_room, self._on_room = self._on_room, None
        if on_room is not None:
            on_room()

    def close(self) -> None:
        """End the listener. What waits can still be accepted, then `accept` raises, also one that is blocked."""
        if self.closed:
            return
        self.closed = self._shared.over = True
        self._reactor.remove(self._inner)
        if self._queue is not None:
            self._queue.waiting.extend([None] * FAREWELLS)
        self._shared.inner.end(FAREWELL)
        while self._shared.inner.released and self._queue is not None and self._queue.waiting:
            connection = self._queue.waiting.popleft()
            if connection is not None:
                connection.close()


def _forget(ticket: int) -> None:
    _links.pop(ticket, None)


def _encode(ticket: int, local: Address, remote: Address) -> bytes:
    return f"{ticket} {local[0]} {local[1]} {remote[0]} {remote[1]}".encode()


def _decode(message: bytes) -> tuple[int, Address, Address]:
    ticket, local_host, local_port, remote_host, remote_port = message.decode().split(" ")
    return int(ticket), (local_host, int(local_port)), (remote_host, int(remote_port))
