"""UDP on the tailnet as a descriptor: one end of a pair that keeps message boundaries.

    application: DatagramSocket   <── messages: header, payload ──>   node's thread: DatagramBridge <──> PacketPipe

    header   address length u8 (4 or 16) · address · port u16 be        who sent it, or where it goes

The header exists in the pair only; `recvfrom` and `sendto` hide it. The descriptor can be polled like any other. While
the pair is full, datagrams wait in the node, where no peer has all the room.

    application closes    what it sent before is still sent; the port is free when `close` returns
    node is gone          what has come can still be received; then receiving raises the error once, and sending always
                          does; from then on a blocking `recv` raises it at once, and one that polls finds nothing

Not here: the queues of the node's side (`edge.pipes.packets`).
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from tsnet.base.addresses import parse_address
from tsnet.edge.io.reactor import READ, WRITE, Reactor
from tsnet.edge.pipes.packets import MAX_PAYLOAD, PacketPipe
from tsnet.errors import Error, MessageTooLong, again
from tsnet.sockets import pairs
from tsnet.sockets.answers import Options, TailnetAnswers, error, is_below_python, refusal, sockaddr
from tsnet.sockets.connected import os_error
from tsnet.sockets.copies import Copies
from tsnet.sockets.handover import Release, copy_of, release_of
from tsnet.sockets.inner_end import InnerEnd
from tsnet.sockets.outer_end import PolledEnd

if TYPE_CHECKING:
    from tsnet.protocols import Address

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
        application = DatagramSocket(release_of(outer), pipe.local, bridge)
    with pairs.closed_on_error(application):
        bridge.attach()
    return application


class DatagramSocket(TailnetAnswers, PolledEnd):
    """A SOCK_DGRAM socket with tailnet addresses. `connect` chooses a default destination and filters the sender."""

    def __init__(self, release: Release, local: Address, bridge: DatagramBridge) -> None:
        self._local, self._options, self._bridge = local, bridge.options, bridge
        super().__init__(release, bridge.copies)

    @property
    def type(self) -> socket.SocketKind:
        return super().type if is_below_python() else socket.SOCK_DGRAM

    def getpeername(self) -> Any:
        super().getsockname()
        if self._bridge.remote is None:
            raise OSError(errno.ENOTCONN, "this socket is not connected")
        return sockaddr(self._bridge.remote)

    def connect(self, address: Any, /) -> None:
        super().getsockname()
        self._bridge.remote = _checked(address)

    def connect_ex(self, address: Any, /) -> int:
        try:
            self.connect(address)
        except OSError as failure:
            return failure.errno or errno.EINVAL
        return 0

    bind: Callable[..., Any] = refusal(errno.EINVAL)
    listen: Callable[..., Any] = refusal(errno.EOPNOTSUPP)
    accept: Callable[..., Any] = refusal(errno.EOPNOTSUPP)

    def _known(self, option: int) -> int | None:
        if option == socket.SO_ERROR:
            error = self._bridge.take_error()
            return (error.errno or 0) if error is not None else 0
        return super()._known(option)

    def shutdown(self, how: int, /) -> None:
        """End receiving, sending, or both, of a connected socket; the port stays taken until `close`."""
        self.getpeername()
        if how not in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR):
            raise error(errno.EINVAL)
        self._bridge.sends = self._bridge.sends and how == socket.SHUT_RD
        if how != socket.SHUT_WR:
            self._bridge.receives = False
            super().shutdown(socket.SHUT_RD)  # who is blocked in a read wakes up

    # --- sending ------------------------------------------------------------------------------------------------

    def sendto(self, data: Any, *flags_and_address: Any) -> int:
        if not 1 <= len(flags_and_address) <= 2:
            raise TypeError(f"sendto() takes 2 or 3 arguments ({1 + len(flags_and_address)} given)")
        *flags, address = flags_and_address
        return self._send(data, _checked(address), *flags)

    def send(self, data: Any, flags: int = 0, /) -> int:
        return self._send(data, self._bridge.remote, flags)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        self.send(data, flags)

    def sendmsg(
        self, buffers: Iterable[Any], ancdata: Iterable[Any] = (), flags: int = 0, address: Any = None, /
    ) -> int:
        """Ancillary data has no effect."""
        to = self._bridge.remote if address is None else _checked(address)
        return self._send(b"".join(buffers), to, flags)

    def _send(self, data: Any, address: Address | None, flags: int = 0) -> int:
        size = len(memoryview(data).cast("B"))
        if address is None:
            super().getsockname()
            raise OSError(errno.EDESTADDRREQ, "this socket is not connected: use sendto")
        if size > MAX_PAYLOAD:
            raise MessageTooLong(f"a UDP datagram carries at most {MAX_PAYLOAD} bytes, not {size}")
        if flags & socket.MSG_OOB:
            raise error(errno.EOPNOTSUPP)
        if self._bridge.over is not None:
            raise again(self._bridge.over)
        if not self._bridge.sends:
            raise error(errno.EPIPE)
        super().send(encode(bytes(data), address), flags)
        return size

    # --- receiving ----------------------------------------------------------------------------------------------

    def _next(self, flags: int) -> tuple[bytes, Any]:
        """The next datagram that is for us, whole, and its sender. Raises what has come as an error instead."""
        flags &= ~socket.MSG_TRUNC  # the header would be counted
        while True:
            message = self._receive(flags)
            if not message:
                return b"", None
            data, sender = decode(message)
            is_error = sender == ERROR and not data
            if not is_error and self._bridge.remote in (None, sender):
                return data, sockaddr(sender)
            if flags & socket.MSG_PEEK:  # it stands before the one that is wanted
                super().recv(1, flags & ~socket.MSG_PEEK)
            if is_error:
                self._raise_error()

    def _receive(self, flags: int) -> bytes:
        """The next message; empty after `shutdown`. It does not block once the node is gone."""
        bridge = self._bridge
        over = bridge.over
        if over is not None and self.gettimeout() != 0:
            return self._receive_last(over, flags)
        message = self._read(flags)
        if message or not bridge.receives:
            return message
        raise again(over) if over is not None else OSError(errno.EBADF, "the node's side of this socket is closed")

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

    def _raise_error(self) -> None:
        """Raise an ICMP error that nobody has read, or that the node is gone."""
        over = self._bridge.over
        if over is not None:
            raise self._once(again(over))
        error = self._bridge.take_error()
        if error is not None:
            raise error

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        _check_size(bufsize)
        data, sender = self._next(flags)
        return data[:bufsize], sender

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        return self.recvfrom(bufsize, flags)[0]

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """With MSG_TRUNC, the first value is the datagram's whole length."""
        view = memoryview(buffer).cast("B")
        _check_size(nbytes)
        if nbytes > len(view):
            raise ValueError("nbytes is greater than the length of the buffer")
        data, sender = self._next(flags)
        size = min(len(data), nbytes or len(view))
        view[:size] = data[:size]
        return len(data) if flags & socket.MSG_TRUNC else size, sender

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        return self.recvfrom_into(buffer, nbytes, flags)[0]

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> Any:
        _check_size(bufsize)
        data, sender = self._next(flags)
        return data[:bufsize], [], socket.MSG_TRUNC if len(data) > bufsize else 0, sender

    def recvmsg_into(self, buffers: Iterable[Any], ancbufsize: int = 0, flags: int = 0, /) -> Any:
        views = [memoryview(buffer).cast("B") for buffer in buffers]
        data, sender = self._next(flags)
        taken = 0
        for view in views:
            part = data[taken : taken + len(view)]
            view[: len(part)] = part
            taken += len(part)
        return taken, [], socket.MSG_TRUNC if len(data) > taken else 0, sender

    # --- copies and the end -------------------------------------------------------------------------------------

    def dup(self) -> DatagramSocket:
        copy = DatagramSocket(copy_of(self), self._local, self._bridge)
        copy.settimeout(self.gettimeout())
        return copy

    def _before_close(self) -> None:
        """Wake those of this process who are blocked in a read: the kernel would leave them there."""
        copies = self._copies
        if copies is not None and copies.is_home and copies.is_last(self._copy) and self._bridge.reading:
            with contextlib.suppress(OSError):
                super().shutdown(socket.SHUT_RDWR)


def _check_size(size: int) -> None:
    if size < 0:
        raise ValueError("negative buffersize")


class DatagramBridge:
    """The node's end. dropped: datagrams of the application for which there was no room, or that were malformed.

    error: the last ICMP error that nobody has received yet. over: why the node is gone, if it is.
    remote: whom `connect` has chosen. receives, sends: false after `shutdown`.
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
        self._refused = b""  # a message for which the pair had no room
        self._interest = 0
        self.copies: Copies = Copies(self.application_closed, self.lose_sight)
        self.reading: list[None] = []
        self.options: Options = Options()
        self.remote: Address | None = pipe.remote
        self.receives: bool = True
        self.sends: bool = True

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

    def take_error(self) -> OSError | None:
        """The last ICMP error that nobody has received, which is forgotten then."""
        error, self.error = self.error, None
        return error

    # --- in the node's thread -----------------------------------------------------------------------------------

    def start(self) -> None:
        if not self._ended:
            self._interest = READ
            self._reactor.add(self._inner, READ, self._on_ready)
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

    def _on_ready(self, mask: int) -> None:
        if mask & WRITE:
            self._to_application()
        if mask & READ and self._from_application(BATCH):
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
        """Fill the pair. What has no room in it waits in the pipe."""
        while message := self._refused or self._next_message():
            try:
                self._inner.send(message)
            except BlockingIOError:
                self._refused = message
                self._watch(READ | WRITE)
                return
            except OSError:
                break
            self._refused = b""
        self._refused = b""
        self._watch(READ)

    def _next_message(self) -> bytes:
        """What the pipe has for the application; empty if that is nothing."""
        try:
            datagram = self._pipe.take()
        except Error as error:  # an ICMP error, which becomes an OSError; or the node's end, which `step` handles
            if self._pipe.error is not None:
                return b""
            self.error = os_error(error)
            datagram = (b"", ERROR)
        return b"" if datagram is None else encode(*datagram)

    def _watch(self, interest: int) -> None:
        if self._interest not in (0, interest) and self._pipe.error is None:  # 0: it is not watched yet
            self._interest = interest
            self._reactor.change(self._inner, interest)

    def _end(self) -> None:
        self._ended = True
        self._reactor.remove(self._inner)
        self._pipe.direct = None
        self._inner_end.end(encode(b"", ERROR))


ERROR: Address = ("0.0.0.0", 0)
"""The sender of an empty message that stands for an error."""


def encode(data: bytes, address: Address) -> bytes:
    packed = ip_address(address[0]).packed
    return bytes([len(packed)]) + packed + address[1].to_bytes(2, "big") + data


def decode(message: bytes) -> tuple[bytes, Address]:
    end = 1 + message[0]
    port = int.from_bytes(message[end : end + 2], "big")
    return message[end + 2 :], (str(ip_address(message[1:end])), port)


def _checked(address: Any) -> Address:
    """(host, port), whose host is an IP address. Raises OSError for a name: only the node can resolve names."""
    if not isinstance(address, tuple) or len(address) < 2:
        raise TypeError(f"the address must be a tuple (host, port), not {type(address).__name__}")
    host = parse_address(address[0])
    if host is None:
        raise OSError(errno.EINVAL, f"{address[0]!r} is no IP address: use resolve() for names")
    if not 0 <= address[1] <= 65_535:
        raise OverflowError("port must be 0-65535.")
    return str(host), address[1]
