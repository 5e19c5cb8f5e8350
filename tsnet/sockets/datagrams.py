"""UDP on the tailnet as a descriptor: one end of a pair that keeps message borders.

    application: DatagramSocket   <── messages: header, payload ──>   node's thread: DatagramBridge <──> PacketPipe

    header   address length u8 (4 or 16) · address · port u16 be        who sent it, or where it goes

The header travels in the pair only, so the descriptor can be polled like any other; `recvfrom` and `sendto` hide it. A
full pair drops the newest datagram, as a full socket buffer does.

Not here: the queues of the node's side (`edge.pipes.packets`).
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from tsnet.base.addresses import parse_address
from tsnet.edge.io.reactor import READ, Reactor
from tsnet.edge.pipes.packets import MAX_PAYLOAD, PacketPipe
from tsnet.errors import Error, MessageTooLong
from tsnet.protocols import Address, family_of
from tsnet.sockets import pairs
from tsnet.sockets.connected import os_error, sockaddr

MAX_HEADER = 19
MAX_MESSAGE = MAX_HEADER + MAX_PAYLOAD
BATCH = 64


def datagram_socket(pipe: PacketPipe, reactor: Reactor) -> DatagramSocket:
    """A socket in place of the pipe, from any thread; the pipe belongs to it from now on."""
    inner, outer = pairs.datagram_pair()
    bridge = DatagramBridge(pipe, inner, reactor)
    reactor.call_soon(bridge.start)
    return DatagramSocket(outer.detach(), pipe.local, pipe.remote, bridge)


class DatagramSocket(socket.socket):
    """A SOCK_DGRAM socket with tailnet addresses. `connect` chooses a default destination and filters the sender."""

    def __init__(self, fileno: int, local: Address, remote: Address | None, bridge: DatagramBridge) -> None:
        super().__init__(fileno=fileno)
        self._local, self._remote, self._bridge = local, remote, bridge

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
        super().send(encode(bytes(data), address))
        return size

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        while True:
            message = super().recv(MAX_MESSAGE, flags)
            if not message:
                raise self._bridge.error or OSError(errno.EBADF, "the node's side of this socket is closed")
            data, sender = decode(message)
            if not data and sender == ERROR:
                raise self._bridge.take_error()
            if self._remote is None or sender == self._remote:
                return data[:bufsize], sockaddr(sender)

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

    def _real_close(self, *args: Any) -> None:
        super()._real_close(*args)  # type: ignore[misc]
        if not pairs.HAVE_UNIX:  # a loopback pair does not tell its other end
            self._bridge.application_closed()


class DatagramBridge:
    """The node's end. All but the constructor belongs to the node's thread. dropped: datagrams that found no room."""

    def __init__(self, pipe: PacketPipe, inner: socket.socket, reactor: Reactor) -> None:
        self.error: OSError | None = None
        self.dropped = 0
        self._pipe, self._inner, self._reactor = pipe, inner, reactor

    def start(self) -> None:
        self._pipe.direct = self._to_application
        self._reactor.add(self._inner, READ, self._from_application)
        self._to_application()

    def application_closed(self) -> None:
        """From any thread: nothing more comes from the application but what is under way."""

        def end() -> None:
            if self._inner.fileno() >= 0:
                self._from_application(READ)
                self._end()

        self._reactor.call_soon(end)

    def take_error(self) -> OSError:
        error, self.error = self.error, None
        return error or ConnectionRefusedError(errno.ECONNREFUSED, "nothing listens there")

    def _from_application(self, mask: int) -> None:
        for _ in range(BATCH):
            try:
                message = self._inner.recv(MAX_MESSAGE)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self._end()
                return
            try:
                if not self._pipe.give(*decode(message)):
                    self.dropped += 1
            except (ValueError, IndexError):  # written to the bare descriptor
                self.dropped += 1
            except Error:  # the node is gone, and says so below
                return

    def _to_application(self) -> None:
        while True:
            try:
                datagram = self._pipe.take()
            except Error as error:  # what ICMP said, as the builtin that fits
                self.error = os_error(error)
                if self._pipe.error is not None:
                    break
                datagram = (b"", ERROR)
            if datagram is None:
                break
            try:
                self._inner.send(encode(*datagram))
            except BlockingIOError:
                self.dropped += 1
            except OSError:
                break
        if self._pipe.closed:
            self._end()

    def _end(self) -> None:
        if self._inner.fileno() < 0:
            return
        self._reactor.remove(self._inner)
        with contextlib.suppress(OSError):
            self._inner.shutdown(socket.SHUT_RDWR)
        self._inner.close()
        self._pipe.direct = None
        self._pipe.close()


ERROR: Address = ("0.0.0.0", 0)
"""Sender of an empty message that stands for an error."""


def encode(data: bytes, address: Address) -> bytes:
    packed = ip_address(address[0]).packed
    return bytes([len(packed)]) + packed + address[1].to_bytes(2, "big") + data


def decode(message: bytes) -> tuple[bytes, Address]:
    end = 1 + message[0]
    port = int.from_bytes(message[end : end + 2], "big")
    return message[end + 2 :], (str(ip_address(message[1:end])), port)


def _checked(address: Any) -> Address:
    """(host, port, …) with an IP address: names are the node's to resolve, by dial_packet."""
    host = parse_address(address[0])
    if host is None:
        raise OSError(errno.EINVAL, f"{address[0]!r} is no IP address: use resolve() for names")
    return str(host), address[1]
