"""A connected socket that has tailnet addresses, and shows a reset as a reset.

The descriptor is one end of a pair, so the kernel knows neither the peer nor TCP. This object answers in its place:

    getpeername getsockname family    the tailnet's
    setsockopt getsockopt of TCP, IP  remembered and otherwise without effect (`answers`)
    recv* at an end that was a reset  ConnectionResetError (a pair can only end in order, unless data is left unread)
    SO_LINGER (1, 0), then close      the peer sees a reset

A copy made below Python (`ssl.wrap_socket`, a C library, a forked child) keeps the bytes and the half-close; it loses
the addresses, and sees a plain end where the connection was reset.

Not here: who moves the bytes (`bridge`).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tsnet.errors import again
from tsnet.sockets.answers import Options, TailnetAnswers, error, refusal, refusal_ex, sockaddr
from tsnet.sockets.copies import Copies
from tsnet.sockets.handover import Release, copy_of
from tsnet.sockets.outer_end import OuterEnd

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from tsnet.protocols import Address

_LINGER = struct.Struct("ii")


class SideChannel:
    """What the application's end and the node's end tell each other beside the bytes.

    error        why the stream broke; the node's end sets it before it closes
    unreported   the same until SO_ERROR has been read
    reset        the application wants the peer to see its close as a reset
    closed       the application has closed every copy of its end that this process knows
    accepted     false while the connection waits for an application that may never take it
    """

    __slots__ = ("_on_close", "accepted", "closed", "copies", "error", "options", "reset", "unreported")

    def __init__(self, on_close: Callable[[], None]) -> None:
        self.error: OSError | None = None
        self.unreported: OSError | None = None
        self.options: Options = Options()
        self.reset: bool = False
        self.closed: bool = False
        self.accepted: bool = True
        self.copies: Copies = Copies(self._on_last_close, _nobody)
        self._on_close = on_close

    def fail(self, error: OSError) -> None:
        self.error = self.unreported = error

    def report(self) -> int:
        """The errno for SO_ERROR, which is cleared once it is read."""
        error, self.unreported = self.unreported, None
        return (error.errno or 0) if error is not None else 0

    def _on_last_close(self) -> None:
        self.closed = True
        self._on_close()


def _nobody() -> None:
    """Nobody has to be told: a pair itself tells that its other end is closed."""


class TailnetSocket(TailnetAnswers, OuterEnd):
    """The application's end of a bridged connection. `bridge` and `ListeningSocket.accept` make it.

    link: None where another process has made the connection. release: gives this socket its descriptor (`handover`).
    """

    def __init__(self, release: Release, local: Address, remote: Address, link: SideChannel | None = None) -> None:
        self._local, self._remote, self._link = local, remote, link
        self._options = link.options if link is not None else Options()
        super().__init__(release, link.copies if link is not None else Copies(_nobody, _nobody))

    # --- what TCP would say -------------------------------------------------------------------------------------

    def getpeername(self) -> Any:
        super().getsockname()  # raises if the socket is closed
        return sockaddr(self._remote)

    def setsockopt(self, level: int, optname: int, value: Any, *optlen: Any) -> None:
        super().setsockopt(level, optname, value, *optlen)
        is_linger = (level, optname) == (socket.SOL_SOCKET, socket.SO_LINGER)
        if is_linger and not optlen and self._link is not None:
            self._link.reset = _LINGER.unpack(value) == (1, 0)

    def _known(self, option: int) -> int | None:
        if option == socket.SO_ERROR and self._link is not None and self._link.unreported is not None:
            return self._link.report()
        return super()._known(option)

    connect: Callable[..., Any] = refusal(errno.EISCONN)
    connect_ex: Callable[..., Any] = refusal_ex(errno.EISCONN)
    bind: Callable[..., Any] = refusal(errno.EINVAL)
    listen: Callable[..., Any] = refusal(errno.EINVAL)
    accept: Callable[..., Any] = refusal(errno.EINVAL)

    # --- receiving: an empty answer is an end, or the reset that the kernel cannot show -------------------------

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        data = super().recv(bufsize, flags)
        if not data and bufsize:
            self._raise_if_broken()
        return data

    def recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int:
        size = super().recv_into(buffer, nbytes, flags)
        if not size and len(memoryview(buffer)):
            self._raise_if_broken()
        return size

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        return self.recv(bufsize, flags), None

    def recvfrom_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        return self.recv_into(buffer, nbytes, flags), None

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> Any:
        message = super().recvmsg(bufsize, ancbufsize, flags)
        if not message[0] and bufsize:
            self._raise_if_broken()
        return message

    def recvmsg_into(self, buffers: Iterable[Buffer], ancbufsize: int = 0, flags: int = 0, /) -> Any:
        message = super().recvmsg_into(buffers, ancbufsize, flags)
        if not message[0]:
            self._raise_if_broken()
        return message

    # --- sending ------------------------------------------------------------------------------------------------

    def send(self, data: Buffer, flags: int = 0, /) -> int:
        self._raise_if_broken(flags)
        try:
            return super().send(data, flags)
        except BrokenPipeError:
            self._raise_if_broken()
            raise

    def sendall(self, data: Buffer, flags: int = 0, /) -> None:
        self._raise_if_broken(flags)
        try:
            super().sendall(data, flags)
        except BrokenPipeError:
            self._raise_if_broken()
            raise

    def sendto(self, data: Buffer, *flags_and_address: Any) -> int:
        """As `send`: TCP does not look at the address."""
        return self.send(data, *flags_and_address[:-1])

    def sendmsg(
        self, buffers: Iterable[Buffer], ancdata: Iterable[Any] = (), flags: int = 0, address: Any = None, /
    ) -> int:
        """Ancillary data has no effect, as over any TCP."""
        self._raise_if_broken(flags)
        try:
            return super().sendmsg(buffers, (), flags)
        except BrokenPipeError:
            self._raise_if_broken()
            raise

    def _raise_if_broken(self, flags: int = 0) -> None:
        if flags & socket.MSG_OOB:
            raise error(errno.EOPNOTSUPP)  # the tailnet has no urgent data
        if self._link is not None and self._link.error is not None:
            raise again(self._link.error)

    # --- copies and the end -------------------------------------------------------------------------------------

    def dup(self) -> TailnetSocket:
        copy = TailnetSocket(copy_of(self), self._local, self._remote, self._link)
        copy.settimeout(self.gettimeout())
        return copy


def os_error(error: Exception) -> OSError:
    """The failure as the socket module would raise it: with an errno, from which Python chooses the class."""
    if isinstance(error, OSError) and error.errno:
        number, text = error.errno, error.strerror or str(error)
    else:
        builtins = {TimeoutError: errno.ETIMEDOUT, ConnectionError: errno.ECONNRESET}
        number = next((code for kind, code in builtins.items() if isinstance(error, kind)), errno.ECONNABORTED)
        text = str(error)
    shown = OSError(number, text)
    shown.__cause__ = error
    return shown
