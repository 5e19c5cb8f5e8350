"""A listening socket's lookalike: `accept` hands out bridged sockets, and any server that polls can poll it.

    node's thread                                     application's thread
    Backlog.offer(pipe) ── descriptor, addresses ──>  ListeningSocket.accept()

The descriptors travel as messages over an AF_UNIX pair, so `select`, timeouts, several threads and a prefork server's
children need nothing from us: whoever receives the message has accepted the connection. Where descriptors cannot
travel (Windows), the sockets wait in a queue and one byte each rings for them; then only this process can accept.

Not here: netstack's own backlog, from which a full `offer` leaves connections where they are.
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
from tsnet.protocols import Address, family_of
from tsnet.sockets import pairs
from tsnet.sockets.bridge import Bridge, NodeStream
from tsnet.sockets.connected import SideChannel, TailnetSocket, sockaddr

RESET = struct.pack("ii", 1, 0)
_MAX_MESSAGE = 256
_BACKLOG = 128

_links: dict[int, SideChannel] = {}  # by ticket: what only this process can know of a descriptor on its way
_tickets = itertools.count()


def listening(local: Address, reactor: Reactor, on_close: Callable[[], None]) -> tuple[ListeningSocket, Backlog]:
    """The two ends, from any thread. `on_close` runs on the node's thread when the application has closed its end."""
    inner, outer = pairs.message_pair() if pairs.HAVE_UNIX else pairs.stream_pair()
    queue = None if pairs.HAVE_UNIX else Queue()
    backlog = Backlog(inner, reactor, on_close, queue)
    reactor.call_soon(backlog.start)
    return ListeningSocket(outer.detach(), local, queue), backlog


class Queue:
    """Connections on their way where descriptors cannot travel; one byte over the pair rings for each."""

    def __init__(self) -> None:
        self.waiting: deque[TailnetSocket] = deque()
        self.on_taken: Callable[[], None] = lambda: None


class ListeningSocket(socket.socket):
    """The application's end. `close` wakes a blocked `accept`, which then raises OSError."""

    def __init__(self, fileno: int, local: Address, queue: Queue | None = None) -> None:
        super().__init__(fileno=fileno)
        self._local, self._queue = local, queue
        self._copies = [1]
        self._process = os.getpid()

    @property
    def family(self) -> socket.AddressFamily:
        return family_of(self._local)

    @property
    def type(self) -> socket.SocketKind:
        return socket.SOCK_STREAM

    def accept(self) -> tuple[TailnetSocket, Any]:
        """The next connection and its peer's tailnet address."""
        connection = self._take_queued() if self._queue is not None else self._take_message()
        connection.settimeout(socket.getdefaulttimeout())
        return connection, connection.getpeername()

    def _take_message(self) -> TailnetSocket:
        message, descriptors, _, _ = socket.recv_fds(self, _MAX_MESSAGE, 1)
        if not descriptors:
            self._raise_closed()
        os.set_inheritable(descriptors[0], False)
        ticket, local, remote = _decode(message)
        return TailnetSocket(descriptors[0], local, remote, _links.get(ticket))

    def _take_queued(self) -> TailnetSocket:
        assert self._queue is not None
        if not self.recv(1):
            self._raise_closed()
        connection = self._queue.waiting.popleft()
        self._queue.on_taken()
        return connection

    def _raise_closed(self) -> NoReturn:
        raise OSError(errno.EINVAL, "this tailnet listener was closed")

    def listen(self, backlog: int = _BACKLOG, /) -> None:
        """It listens already, with a backlog of its own."""

    def bind(self, address: Any, /) -> None:
        """It is bound already."""

    def getsockname(self) -> Any:
        super().getsockname()
        return sockaddr(self._local)

    def getpeername(self) -> NoReturn:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    def setsockopt(self, *args: Any) -> None:
        """Options of a TCP listener have nothing to act on."""

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> Any:
        if level != socket.SOL_SOCKET:
            return 0
        answers = {socket.SO_TYPE: socket.SOCK_STREAM, socket.SO_ACCEPTCONN: 1}
        return answers[optname] if optname in answers else super().getsockopt(level, optname)

    def dup(self) -> ListeningSocket:
        copy = ListeningSocket(socket.dup(self.fileno()), self._local, self._queue)
        copy._copies = self._copies
        copy._copies[0] += 1
        copy.settimeout(self.gettimeout())
        return copy

    def _real_close(self, *args: Any) -> None:
        self._copies[0] -= 1
        # the last copy wakes who is blocked in `accept`; a prefork server's child must not do so to its siblings
        if not self._copies[0] and os.getpid() == self._process:
            self._reset_waiting()
            with contextlib.suppress(OSError):
                self.shutdown(socket.SHUT_RDWR)
        super()._real_close(*args)  # type: ignore[misc]

    def _reset_waiting(self) -> None:
        """Nobody will accept what waits: its peers see a reset, as from any listener."""
        with contextlib.suppress(OSError, IndexError):
            self.settimeout(0)
            while True:
                connection, _address = self.accept()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                connection.close()


class Backlog:
    """The node's end: connections that the application has not accepted yet. On the node's thread only."""

    def __init__(
        self,
        inner: socket.socket,
        reactor: Reactor,
        on_close: Callable[[], None],
        queue: Queue | None,
    ) -> None:
        self._inner, self._reactor, self._on_close, self._queue = inner, reactor, on_close, queue
        self._on_room: Callable[[], None] | None = None
        if queue is not None:
            queue.on_taken = lambda: reactor.call_soon(self._has_room)
        self.closed = False

    def start(self) -> None:
        if not self.closed:
            self._reactor.add(self._inner, READ, self._on_ready)

    def offer(self, pipe: NodeStream, on_room: Callable[[], None]) -> bool:
        """Hand a connection over. False: no room, the pipe is still the caller's, and `on_room` follows once."""
        if self.closed:
            return False
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
        self._on_room = on_room
        if self._queue is None:
            self._reactor.change(self._inner, READ | WRITE)
        return False

    def _hand_over(self, outer: socket.socket, ticket: int, pipe: NodeStream, link: SideChannel) -> bool:
        try:
            if self._queue is None:
                message = _encode(ticket, pipe.local_address, pipe.remote_address)
                socket.send_fds(self._inner, [message], [outer.fileno()])
                return True
            if len(self._queue.waiting) >= _BACKLOG:
                return False
            self._queue.waiting.append(TailnetSocket(outer.detach(), pipe.local_address, pipe.remote_address, link))
            self._inner.send(b"\0")
        except OSError:  # full, too many descriptors under way, or closed a moment ago
            return False
        return True

    def _on_ready(self, mask: int) -> None:
        if mask & READ:  # the application never writes: this is its end
            self.close()
            self._on_close()
            return
        self._reactor.change(self._inner, READ)
        self._has_room()

    def _has_room(self) -> None:
        on_room, self._on_room = self._on_room, None
        if on_room is not None:
            on_room()

    def close(self) -> None:
        """End it; a blocked `accept` wakes and raises."""
        if self.closed:
            return
        self.closed = True
        self._reactor.remove(self._inner)
        with contextlib.suppress(OSError):
            self._inner.shutdown(socket.SHUT_RDWR)
        self._inner.close()
        while self._queue is not None and self._queue.waiting:
            self._queue.waiting.popleft().close()


def _forget(ticket: int) -> None:
    _links.pop(ticket, None)


def _encode(ticket: int, local: Address, remote: Address) -> bytes:
    return f"{ticket} {local[0]} {local[1]} {remote[0]} {remote[1]}".encode()


def _decode(message: bytes) -> tuple[int, Address, Address]:
    ticket, local_host, local_port, remote_host, remote_port = message.decode().split(" ")
    return int(ticket), (local_host, int(local_port)), (remote_host, int(remote_port))
