"""A listening socket: `accept` returns connected sockets with tailnet addresses, and a server can poll it.

    node's thread                                           application's thread
    Backlog.offer(pipe) ──> a door, where it waits  ──────> ListeningSocket.accept()

The descriptor is a listening AF_UNIX socket of the kernel (`kernel_door`), so `select`, timeouts, several threads, the
children of a prefork server and servers in C accept from it as from any socket. Where there is none, connections wait
in this process (`queue_door`); then only this process can accept.

    application closes    with the last copy the port is free when `close` returns, and connections that nobody accepted
                          are reset
    node closes           `accept` raises OSError (EINVAL) once, as it does under a closed listener; from then on a
                          blocking `accept` raises it at once, and one that polls finds nothing, so that no loop spins

Not here: netstack's own backlog, in which connections wait while there is no room.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tsnet.edge.io.reactor import Reactor
from tsnet.sockets import pairs
from tsnet.sockets.answers import LEVELS, TailnetAnswers, refusal, refusal_ex
from tsnet.sockets.backlog import Backlog
from tsnet.sockets.connected import TailnetSocket
from tsnet.sockets.handover import Release, copy_of, release_of
from tsnet.sockets.kernel_door import KernelDoor
from tsnet.sockets.outer_end import PolledEnd
from tsnet.sockets.queue_door import QueueDoor
from tsnet.sockets.shared import Shared

if TYPE_CHECKING:
    from tsnet.protocols import Address

BACKLOG = 128


def listening(
    local: Address, reactor: Reactor, on_close: Callable[[], None], backlog: int = BACKLOG, *, most: int | None = None
) -> tuple[ListeningSocket, Backlog]:
    """The two ends. Any thread may call this.

    backlog: how many connections may wait here. most: what the application may raise that to; None: to anything.

    on_close: runs when the application has closed its end. It runs in the thread that closes, before `close` returns,
    or in the node's thread if that learns of it from the descriptor alone. It may run twice.
    """
    door, outer = _make_door(backlog)
    with pairs.closed_on_error(outer, door):
        shared = Shared(door, on_close)
        shared.most = most
        application = ListeningSocket(release_of(outer), local, shared)
    with pairs.closed_on_error(application):
        node_end = Backlog(shared, reactor)
        reactor.call_soon(node_end.start)
    return application, node_end


def _make_door(backlog: int) -> tuple[KernelDoor | QueueDoor, socket.socket]:
    if pairs.HAVE_UNIX:
        with contextlib.suppress(PermissionError, FileNotFoundError, FileExistsError):
            return _made(KernelDoor(), backlog)
    return _made(QueueDoor(), backlog)


def _made(door: KernelDoor | QueueDoor, backlog: int) -> tuple[KernelDoor | QueueDoor, socket.socket]:
    return door, door.make(backlog)


class ListeningSocket(TailnetAnswers, PolledEnd):
    """The application's end. `close` wakes a blocked `accept`, which then raises OSError.

    The listener ends when the last copy of the descriptor is closed, or freed without `close`.
    """

    def __init__(self, release: Release, local: Address, shared: Shared) -> None:
        self._local, self._options, self._shared = local, shared.options, shared
        super().__init__(release, shared.copies)

    @property
    def type(self) -> socket.SocketKind:
        return socket.SOCK_STREAM

    def accept(self) -> tuple[TailnetSocket, Any]:
        """The next connection and its peer's tailnet address."""
        is_over = self._was_told or self._shared.over
        connection = self._take_last() if is_over and self.gettimeout() != 0 else self._take()
        connection.settimeout(socket.getdefaulttimeout())
        return connection, connection.getpeername()

    def _take(self) -> TailnetSocket:
        accepting = self._shared.accepting
        accepting.append(None)
        try:
            connection = self._shared.door.take(self)
        finally:
            accepting.pop()
        if connection is None:
            raise self._once(_closed())
        return connection

    def _take_last(self) -> TailnetSocket:
        """A connection that still waits when the listener is over, or the error. Farewells are taken away, too, so that
        a loop that polls does not spin."""
        with self._shared.lock:  # else another thread could take what this one has seen, and this one would wait
            if pairs.is_readable(self):
                return self._take()
        raise _closed()

    def listen(self, backlog: int = BACKLOG, /) -> None:
        """Set how many connections may wait to be accepted, at most as many as its part of the node's backlog; it
        listens already."""
        most = self._shared.most
        self._shared.door.listen(self, backlog if most is None else min(backlog, most))

    def bind(self, address: Any, /) -> None:
        """Does nothing: the socket is bound already, and a server that binds what it was given may go on."""

    def setsockopt(self, level: int, optname: int, value: Any, *optlen: Any) -> None:
        """Remembered and otherwise without effect: there is no TCP of the kernel that an option could act on."""
        if level in LEVELS:
            super().setsockopt(level, optname, value)
        else:
            super().getsockname()

    def _known(self, option: int) -> int | None:
        return 1 if option == socket.SO_ACCEPTCONN else super()._known(option)

    connect: Callable[..., Any] = refusal(errno.EISCONN)
    connect_ex: Callable[..., Any] = refusal_ex(errno.EISCONN)
    getpeername: Callable[..., Any] = refusal(errno.ENOTCONN)
    recv: Callable[..., Any] = refusal(errno.ENOTCONN)
    recv_into: Callable[..., Any] = refusal(errno.ENOTCONN)
    recvfrom: Callable[..., Any] = refusal(errno.ENOTCONN)
    recvfrom_into: Callable[..., Any] = refusal(errno.ENOTCONN)
    recvmsg: Callable[..., Any] = refusal(errno.ENOTCONN)
    recvmsg_into: Callable[..., Any] = refusal(errno.ENOTCONN)
    send: Callable[..., Any] = refusal(errno.EPIPE)
    sendall: Callable[..., Any] = refusal(errno.EPIPE)
    sendto: Callable[..., Any] = refusal(errno.EPIPE)
    sendmsg: Callable[..., Any] = refusal(errno.EPIPE)

    def dup(self) -> ListeningSocket:
        copy = ListeningSocket(copy_of(self), self._local, self._shared)
        copy.settimeout(self.gettimeout())
        return copy

    def _before_close(self) -> None:
        copies = self._copies
        if copies is not None and copies.is_home and copies.is_last(self._copy) and self.fileno() >= 0:
            self._shared.door.before_last_close(self, bool(self._shared.accepting))

    def _tell(self) -> None:
        if self._copies is not None and not self._copies.is_home:
            self._shared.door.drop()
        super()._tell()


def _closed() -> OSError:
    return OSError(errno.EINVAL, "this tailnet listener was closed")
