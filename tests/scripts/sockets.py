"""Linux's sockets over netstack's endpoints: what a system call returns, and when it has to wait.

    TcpSocket      unbound -> listen -> accept; unbound -> connect -> read, write -> shutdown -> close
    UdpSocket      bind, connect, sendto, recvfrom

A call that cannot go on raises Block and is tried again after the next turn of the stack; one that fails raises
SocketError with the name of the errno. Bytes are counted, never looked at.

SO_SNDBUF is a policy of this layer, as it is of Linux's: a write is taken in pieces of half the peer's window, 64 KiB
at most, while less than the (doubled) value is queued; a writer that has waited goes on when two thirds are free.

Not here: names of calls and their arguments (`calls`), options (`options`).
"""

from __future__ import annotations

import math
from typing import Any

from netstack import EndpointClosed, NetstackError, TcpConnection, TcpListener, UdpEndpoint
from tests.scripts.world import LINK, Gap, World

DEFAULT_PORT, REMOTE_PORT = 8080, 8080
_PIECE = 65_536

ERRNO = {
    "refused": "ECONNREFUSED",
    "reset": "ECONNRESET",
    "timeout": "ETIMEDOUT",
    "unreachable": "EHOSTUNREACH",
    "aborted": "ECONNABORTED",
}
"""netstack's code -> what a call says once."""


class SocketError(Exception):
    """The call fails; its argument is the name of the errno."""


class Block(Exception):
    """The call has to wait, until then at most."""

    def __init__(self, until: float = math.inf) -> None:
        super().__init__()
        self.until = until


def errno_of(code: str) -> str:
    """The name of the errno for a code of `netstack.errors`; what stands for none of them is its own name."""
    return ERRNO.get(code, code.upper())


class Socket:
    """What every descriptor has."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.blocking = True
        self.port = 0
        self.options: dict[str, int] = {}
        """What was set, by name; `options.DEFAULTS` where nothing was."""
        self.congestion: str | None = None

    @property
    def now(self) -> float:
        return self.world.now

    def close(self) -> None:
        """Nothing that the stack would have to hear of."""


class TcpSocket(Socket):
    def __init__(self, world: World, connection: TcpConnection | None = None) -> None:
        super().__init__(world)
        self.listener: TcpListener | None = None
        self.connection = connection
        self.read_shut = False
        self.known_connected = connection is not None
        self.error_told = False

    # making connections

    def listen(self, backlog: int) -> None:
        if self.listener is None:
            extra = self._segment_option()
            try:
                self.listener = self.world.stack.listen(self.port or DEFAULT_PORT, backlog=backlog, **extra)
            except TypeError:
                raise Gap("Stack.listen(max_segment=)") from None
            except NetstackError:
                raise SocketError("EADDRINUSE") from None
            self.listener.keepalive, self.listener.nodelay = None, False
            self.listener.receive_buffer = self.options.get("SO_RCVBUF")
            self.listener.defer = float(self.options.get("TCP_DEFER_ACCEPT", 0))

    def accept(self) -> TcpSocket:
        if self.listener is None:
            raise SocketError("EINVAL")
        connection = self.listener.accept()
        if connection is None:
            raise Block
        made = TcpSocket(self.world, connection)
        made.options, made.congestion = dict(self.options), self.congestion
        made.port = self.port
        self.world.connection = connection
        return made

    def connect(self) -> None:
        if self.connection is None:
            extra = self._segment_option()
            try:
                self.connection = self.world.stack.connect(self.world.remote, REMOTE_PORT, self.now, link=LINK, **extra)
            except TypeError:
                raise Gap("Stack.connect(max_segment=)") from None
            self.connection.set_nodelay(False)
            self.world.connection = self.connection
            raise Block if self.blocking else SocketError("EINPROGRESS")
        if self.connection.connected:
            if self.known_connected:
                raise SocketError("EISCONN")
            self.known_connected = True
            return
        self.raise_error()
        raise Block if self.blocking else SocketError("EALREADY")

    def _segment_option(self) -> dict[str, Any]:
        size = self.options.get("TCP_MAXSEG")
        return {} if size is None else {"max_segment": size}

    # using them

    def take_error(self) -> str | None:
        """SO_ERROR: the name of an errno, once."""
        connection = self.connection
        if connection is None or connection.error is None or self.error_told:
            return None
        self.error_told = True
        return errno_of(connection.error)

    def raise_error(self) -> None:
        name = self.take_error()
        if name is not None:
            raise SocketError(name)

    def read(self, limit: int) -> int:
        connection = self.connection
        if connection is None:
            raise SocketError("ENOTCONN")
        data = connection.read(limit)
        if data or limit == 0:
            return len(data)
        if connection.eof or self.read_shut:
            return 0
        self.raise_error()
        if connection.finished:
            return 0
        raise Block

    def write(self, size: int, progress: dict[str, Any], *, more: bool = False) -> int:
        """progress: what one call keeps from try to try."""
        connection = self.connection
        if connection is None:
            raise SocketError("EPIPE")
        done: int = progress.setdefault("done", 0)
        while done < size:
            self._raise_if_dead(connection, done)
            taken = self._write_piece(connection, size - done, progress, more=more)
            if not taken:
                progress["waited"] = True
                if not self.blocking and done:
                    return done
                raise Block
            done += taken
            progress["done"] = done
        self._raise_if_dead(connection, done)
        return done

    def _raise_if_dead(self, connection: TcpConnection, done: int) -> None:
        if done:
            return
        self.raise_error()
        if connection.finished:
            raise SocketError("EPIPE")

    def _write_piece(self, connection: TcpConnection, left: int, progress: dict[str, Any], *, more: bool) -> int:
        if not connection.connected and not connection.finished:
            return 0
        room = self._room(connection, waited=progress.pop("waited", False))
        data = bytes(min(left, room))
        try:
            if more:
                return connection.write(data, self.now, more=True)  # type: ignore[call-arg, unused-ignore]
            return connection.write(data, self.now)
        except EndpointClosed:
            raise SocketError("EPIPE") from None
        except TypeError:
            raise Gap("TcpConnection.write(more=)") from None

    def _room(self, connection: TcpConnection, *, waited: bool) -> int:
        limit = self.options.get("SO_SNDBUF")
        if limit is None:
            return _PIECE
        held = queued(connection)
        if waited and held * 3 > limit:
            return 0
        piece = min(max(connection.info().send_window // 2, 1), _PIECE)
        return piece if held < limit else 0

    def shutdown(self, how: str) -> None:
        if self.connection is None:
            raise SocketError("ENOTCONN")
        self.read_shut |= how != "SHUT_WR"
        if how != "SHUT_RD":
            self.connection.shutdown_write(self.now)

    def close(self) -> None:
        if self.listener is not None:
            self.listener.close(self.now)
        if self.connection is not None:
            if self.options.get("SO_LINGER") == 0:
                self.connection.abort(self.now)
            else:
                self.connection.close(self.now)

    def ready(self) -> set[str]:
        """What poll says."""
        if self.listener is not None:
            return {"POLLIN"} if self.listener.readable else set()
        connection = self.connection
        if connection is None:
            return {"POLLOUT", "POLLHUP"}
        events = set()
        if connection.readable or self.read_shut:
            events.add("POLLIN")
        if connection.eof or self.read_shut:
            events.add("POLLRDHUP")
        if connection.connected and (self._room(connection, waited=True) or connection.finished):
            events.add("POLLOUT")
        if connection.finished:
            events |= {"POLLHUP", "POLLOUT", "POLLIN"}
        if connection.error is not None and not self.error_told:
            events.add("POLLERR")
        return events


def queued(connection: TcpConnection) -> int:
    """Bytes that were written and are not acknowledged."""
    info = connection.info()
    outstanding = getattr(info, "outstanding", None)
    return info.unsent + (info.in_flight + info.sacked + info.lost if outstanding is None else int(outstanding))


class UdpSocket(Socket):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._endpoint: UdpEndpoint | None = None
        self._connected = False

    @property
    def endpoint(self) -> UdpEndpoint:
        """Bound at the first use."""
        if self._endpoint is None:
            self._endpoint = self.world.stack.open_udp(self.port)
            self.port = self._endpoint.port
        return self._endpoint

    def connect(self) -> None:
        self.endpoint.connect(self.world.remote, REMOTE_PORT)
        self._connected = True

    def take_error(self) -> str | None:
        code = self.endpoint.take_error()
        return None if code is None else errno_of(code)

    def read(self, limit: int) -> int:
        code = self.endpoint.take_error()
        if code is not None:
            raise SocketError(errno_of(code))
        datagram = self.endpoint.receive()
        if datagram is None:
            raise Block
        return min(len(datagram.payload), limit)

    def send(self, size: int) -> int:
        code = self.endpoint.take_error()
        if code is not None:
            raise SocketError(errno_of(code))
        to = (None, None) if self._connected else (self.world.remote, REMOTE_PORT)
        try:
            sent = self.endpoint.send(bytes(size), self.now, *to)
        except NetstackError:
            raise SocketError("EMSGSIZE") from None
        return size if sent else 0

    def close(self) -> None:
        self.endpoint.close()

    def ready(self) -> set[str]:
        return {"POLLOUT", *(("POLLIN",) if self.endpoint.readable else ())}
