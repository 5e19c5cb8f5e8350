"""UDP on the tailnet as a descriptor: one end of a pair that keeps message boundaries.

    application: DatagramSocket   <── messages: header, payload ──>   node's thread: DatagramBridge <──> PacketPipe

    header   address length u8 (4 or 16) · address · port u16 be        who sent it, or where it goes

The header exists in the pair only; `recvfrom` and `sendto` hide it. The descriptor can be polled like any other. A full
pair drops the newest datagram, as a full socket buffer does.

    application closes    what it sent before is still sent; the port is free when `close` returns
    node is gone          what has come can still be received; then receiving raises the error once, and sending always
                          does; from then on a blocking `recv` raises it at once, and one that polls finds nothing

Not here: the queues of the node's side (`edge.pipes.packets`).
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any, NoReturn

from tsnet.base.addresses import parse_address
from tsnet.edge.io.reactor import READ, Reactor
from tsnet.edge.pipes.packets import MAX_PAYLOAD, PacketPipe
from tsnet.errors import Error, MessageTooLong
from tsnet.protocols import Address, family_of
from tsnet.sockets import pairs
from tsnet.sockets.connected import again, os_error, sockaddr
from tsnet.sockets.copies import Copies
from tsnet.sockets.handover import Release, release_of
from tsnet.sockets.inner_end import InnerEnd
from tsnet.sockets.outer_end import PolledEnd

MAX_HEADER = 19
MAX_MESSAGE = MAX_HEADER + MAX_PAYLOAD
BATCH = 64
_LAST_BATCH = 4096
"""How many messages are read at the end: more than a pair's buffer holds."""


def datagram_socket(pipe: PacketPipe, reactor: Reactor) -> DatagramSocket:
    """A socket in place of the pipe, which belongs to it from now on. Any thread may call this.

    If it fails or is interrupted, no descriptor is left, and the pipe is still the caller's.
    """
    inner, outer = pairs.datagram_pair()
    with pairs.closed_on_error(inner, outer):
        bridge = DatagramBridge(pipe, inner, reactor)
        application = DatagramSocket(release_of(outer), pipe.local, pipe.remote, bridge)
    with pairs.closed_on_error(application):
        bridge.attach()
    return application


class DatagramSocket(PolledEnd):
    """A SOCK_DGRAM socket with tailnet addresses. `connect` chooses a default destination and filters the sender."""

    def __init__(self, release: Release, local: Address, remote: Address | None, bridge: DatagramBridge) -> None:
        self._local, self._remote, self._bridge = local, remote, bridge
        super().__init__(release, bridge.copies)

    @property
    def family(self) -> socket.AddressFamily:
        return family_of(self._local)

    @property
    def type(self) -> socket.SocketKind:
        return socket.SOCK_DGRAM

    def getsockname(self) -> Any:
        super().getsockname()
        return sockaddr(self._local)

    def getpeername(self) -> Any:
        super().getsockname()
        if self._remote is None:
            raise OSError(errno.ENOTCONN, "this socket is not connected")
        return sockaddr(self._remote)

    def connect(self, address: Any, /) -> None:
        self._remote = _checked(address)

    def sendto(self, data: Any, *flags_and_address: Any) -> int:
        return self._send(data, _checked(flags_and_address[-1]))

    def send(self, data: Any, flags: int = 0, /) -> int:
        if self._remote is None:
            raise OSError(errno.EDESTADDRREQ, "this socket is not connected: use sendto")
        return self._send(data, self._remote)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        self.send(data)

    def sendmsg(self, buffers: Iterable[Any], *args: Any) -> int:
        data = b"".join(buffers)
        return self._send(data, _checked(args[2])) if len(args) > 2 and args[2] is not None else self.send(data)

    def _send(self, data: Any, address: Address) -> int:
        size = len(memoryview(data).cast("B"))
        if size > MAX_PAYLOAD:
            raise MessageTooLong(f"a UDP datagram carries at most {MAX_PAYLOAD} bytes, not {size}")
        if self._bridge.over is not None:
            raise again(self._bridge.over)
        super().send(encode(bytes(data), address))
        return size

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        while True:
            data, sender = decode(self._receive(flags))
            if not data and sender == ERROR:
                self._raise_error()
            if self._remote is None or sender == self._remote:
                return data[:bufsize], sockaddr(sender)

    def _receive(self, flags: int) -> bytes:
        """The next message. It does not block once the node is gone."""
        over = self._bridge.over
        if over is not None and self.gettimeout() != 0:
            return self._receive_last(over, flags)
        message = self._read(flags)
        if not message:
            raise again(over) if over is not None else OSError(errno.EBADF, "the node's side of this socket is closed")
        return message

    def _read(self, flags: int) -> bytes:
        reading = self._bridge.reading
        reading.append(None)
        try:
            return super().recv(MAX_MESSAGE, flags)
        finally:
            reading.pop()

    def _receive_last(self, over: OSError, flags: int) -> bytes:
        """A message that still waits once the node is gone, or the error. Farewells are taken away, too, so that a loop
        that polls does not spin."""
        if pairs.is_readable(self):
            with contextlib.suppress(BlockingIOError):
                message = super().recv(MAX_MESSAGE, flags | pairs.DONT_WAIT)
                if message:
                    return message
        raise again(over)

    def _raise_error(self) -> NoReturn:
        """Raise an ICMP error, or that the node is gone."""
        bridge = self._bridge
        if bridge.over is None:
            raise bridge.take_error()
        raise self._once(again(bridge.over))

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        return self.recvfrom(bufsize, flags)[0]

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        view = memoryview(buffer).cast("B")
        data, sender = self.recvfrom(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data), sender

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        return self.recvfrom_into(buffer, nbytes, flags)[0]

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> Any:
        data, sender = self.recvfrom(bufsize, flags)
        return data, [], 0, sender

    def _before_close(self) -> None:
        """Wake those of this process who are blocked in a read: the kernel would leave them there."""
        copies = self._copies
        if copies is not None and copies.is_home and copies.is_last(self._copy) and self._bridge.reading:
            with contextlib.suppress(OSError):
                self.shutdown(socket.SHUT_RDWR)


class DatagramBridge:
    """The node's end. dropped: datagrams for which there was no room, or that were malformed.

    error: the last ICMP error that nobody has received yet. over: why the node is gone, if it is.
    reading: one entry for each call of this process that may be blocked in the kernel.
    The constructor and the first group of methods may be called in any thread, the others in the node's.
    """

    def __init__(self, pipe: PacketPipe, inner: socket.socket, reactor: Reactor) -> None:
        self.error: OSError | None = None
        self.over: OSError | None = None
        self.dropped: int = 0
        self._pipe, self._inner, self._reactor = pipe, inner, reactor
        self._inner_end = InnerEnd(inner)
        self._application_is_closed = self._ended = False
        self.copies: Copies = Copies(self.application_closed, self.lose_sight)
        self.reading: list[None] = []

    # --- from any thread ------------------------------------------------------------------------------------

    def attach(self) -> None:
        """Begin to move datagrams. If the node has gone meanwhile, this calls `step`: nobody else would."""
        self._pipe.direct = self.step
        if self._pipe.error is not None:
            self.step()
        else:
            self._reactor.call_soon(self.start)

    def application_closed(self) -> None:
        """The last copy that is seen was closed: free the port, once what it sent is sent. May be called again.

        If the kernel has another copy, that one is watched.
        """
        if pairs.is_hung_up(self._inner):
            self._application_is_closed = True
            self._pipe.close()
        self._inner_end.release()

    def lose_sight(self) -> None:
        """The descriptor was detached: its new owner will not tell us when it closes it."""
        self._inner_end.release()

    def take_error(self) -> OSError:
        """The last ICMP error, which is forgotten then."""
        error, self.error = self.error, None
        return error or ConnectionRefusedError(*NOBODY_LISTENS)

    # --- in the node's thread -----------------------------------------------------------------------------------

    def start(self) -> None:
        if not self._ended:
            self._reactor.add(self._inner, READ, self._on_readable)
            self.step()

    def step(self) -> None:
        """Called in each service of the pipe, and once more, in any thread, when the node is gone."""
        if self._ended:
            return
        if self._pipe.closed and self._pipe.error is None:
            self._from_application(_LAST_BATCH)
            if self._application_is_closed:
                self._end()
            return
        self._to_application()
        if self._pipe.error is not None:
            self.over = os_error(self._pipe.error)
            self._end()

    def _on_readable(self, mask: int) -> None:
        if self._from_application(BATCH):
            self._inner_end.release()
            self._end()
            self._pipe.close()

    def _from_application(self, limit: int) -> bool:
        """Returns whether the application's end is closed and empty."""
        for _ in range(limit):
            try:
                message = self._inner.recv(MAX_MESSAGE)
            except BlockingIOError:
                return False
            except ConnectionResetError:  # the other end was closed with datagrams unread; what it sent still comes
                continue
            except OSError:
                message = b""
            if not message:
                return True
            try:
                if not self._pipe.give(*decode(message)):
                    self.dropped += 1
            except (ValueError, IndexError):  # somebody wrote to the bare descriptor
                self.dropped += 1
            except Error:  # the node is gone, and `step` is called for that
                return False
        return False

    def _to_application(self) -> None:
        while True:
            try:
                datagram = self._pipe.take()
            except Error as error:  # an ICMP error, which becomes an OSError; or the node's end, which `step` handles
                if error is self._pipe.error:
                    return
                self.error = os_error(error)
                datagram = (b"", ERROR)
            if datagram is None:
                return
            try:
                self._inner.send(encode(*datagram))
            except BlockingIOError:
                self.dropped += 1
            except OSError:
                return

    def _end(self) -> None:
        self._ended = True
        self._reactor.remove(self._inner)
        self._pipe.direct = None
        self._inner_end.end(encode(b"", ERROR))


ERROR: Address = ("0.0.0.0", 0)
"""The sender of an empty message that stands for an error."""


NOBODY_LISTENS = (errno.ECONNREFUSED, "nothing listens there")


def encode(data: bytes, address: Address) -> bytes:
    packed = ip_address(address[0]).packed
    return bytes([len(packed)]) + packed + address[1].to_bytes(2, "big") + data


def decode(message: bytes) -> tuple[bytes, Address]:
    end = 1 + message[0]
    port = int.from_bytes(message[end : end + 2], "big")
    return message[end + 2 :], (str(ip_address(message[1:end])), port)


def _checked(address: Any) -> Address:
    """(host, port), whose host is an IP address. Raises OSError for a name: only the node can resolve names."""
    host = parse_address(address[0])
    if host is None:
        raise OSError(errno.EINVAL, f"{address[0]!r} is no IP address: use resolve() for names")
    return str(host), address[1]
