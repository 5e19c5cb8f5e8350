"""What our sockets answer in the kernel's place: options that have no effect, and calls that cannot succeed.

    setsockopt of TCP, IP, IPv6   remembered, and otherwise without effect
    getsockopt of them            what was set, else Linux's default
    SO_TYPE SO_DOMAIN SO_PROTOCOL those of the tailnet's socket; the descriptor is an AF_UNIX one
    family, getsockname           the tailnet's, too
    connect, bind, listen, …      the errno of a kernel's socket in the same state

`docs/sockets.md` compares them with the kernel's, call by call.

Not here: the calls that work (`connected`, `listening`, `datagrams`).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tsnet.edge.io.udp import family_of

if TYPE_CHECKING:
    from tsnet.protocols import Address

LEVELS = frozenset({socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_IP, socket.IPPROTO_IPV6})
_SO_DOMAIN = getattr(socket, "SO_DOMAIN", 39)
_SO_PROTOCOL = getattr(socket, "SO_PROTOCOL", 38)
_DEFAULTS = {
    (socket.IPPROTO_IP, getattr(socket, "IP_TTL", None)): 64,
    (socket.IPPROTO_IPV6, getattr(socket, "IPV6_UNICAST_HOPS", None)): 64,
    (socket.IPPROTO_TCP, getattr(socket, "TCP_MAXSEG", None)): 1240,
}
_PROTOCOLS = {socket.SOCK_STREAM: socket.IPPROTO_TCP, socket.SOCK_DGRAM: socket.IPPROTO_UDP}


def is_below_python() -> bool:
    """Whether a running uvloop asks. It uses the descriptor itself, so `family` and `type` must be those of the
    descriptor: it sets options of TCP on what it takes for TCP, and gives up."""
    uvloop = sys.modules.get("uvloop")
    if uvloop is None:
        return False
    running = sys.modules["asyncio"]._get_running_loop()
    return running is not None and isinstance(running, getattr(uvloop, "Loop", ()))


class Options:
    """The options of one connection or port, which all its copies share."""

    __slots__ = ("_set",)

    def __init__(self) -> None:
        self._set: dict[tuple[int, int], Any] = {}

    def set(self, level: int, option: int, value: Any) -> None:
        self._set[level, option] = value

    def get(self, level: int, option: int, buflen: int) -> Any:
        value = self._set.get((level, option), _DEFAULTS.get((level, option), 0))
        if buflen:
            return value if isinstance(value, bytes) else struct.pack("i", value)[:buflen]
        return int.from_bytes(value[:4], "little") if isinstance(value, bytes) else value


def identity(sock: socket.socket, option: int) -> int | None:
    """What SOL_SOCKET tells of the kind of the socket; None for any other option."""
    if option == socket.SO_TYPE:
        return int(sock.type)
    if option == _SO_DOMAIN:
        return int(sock.family)
    if option == _SO_PROTOCOL:
        return _PROTOCOLS[sock.type]
    return None


class TailnetAnswers(socket.socket):
    """What all our sockets have in common. _local: the tailnet address. _options: those of all copies."""

    _local: Address
    _options: Options

    @property
    def family(self) -> socket.AddressFamily:
        return super().family if is_below_python() else family_of(self._local[0])

    def getsockname(self) -> Any:
        super().getsockname()  # raises if the socket is closed
        return sockaddr(self._local)

    def setsockopt(self, level: int, optname: int, value: Any, *optlen: Any) -> None:
        """Options of TCP, UDP and IP are remembered, and otherwise without effect."""
        if level in LEVELS:
            super().getsockname()
            self._options.set(level, optname, value)
        else:
            super().setsockopt(level, optname, value, *optlen)

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> Any:
        if level in LEVELS:
            super().getsockname()
            return self._options.get(level, optname, buflen)
        if level == socket.SOL_SOCKET and not buflen:
            known = self._known(optname)
            if known is not None:
                return known
        return super().getsockopt(level, optname, buflen) if buflen else super().getsockopt(level, optname)

    def _known(self, option: int) -> int | None:
        """An option of SOL_SOCKET of which the descriptor knows nothing, or the wrong; None for any other one."""
        return identity(self, option)


def sockaddr(address: Address) -> tuple[str, int] | tuple[str, int, int, int]:
    """The address in the form of the socket module for that family."""
    return (*address, 0, 0) if ":" in address[0] else address


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def refusal(number: int) -> Callable[..., Any]:
    """A method that raises this errno; EBADF if the socket is closed."""

    def refuse(self: socket.socket, *args: Any) -> Any:
        raise error(errno.EBADF if self.fileno() < 0 else number)

    return refuse


def refusal_ex(number: int) -> Callable[..., int]:
    """The same for `connect_ex`, which returns the errno."""

    def refuse(self: socket.socket, *args: Any) -> int:
        return errno.EBADF if self.fileno() < 0 else number

    return refuse
