"""Pairs of connected descriptors, with small buffers so that the sender notices a slow reader.

    stream_pair()    two ends of a byte stream: AF_UNIX, or loopback TCP where there is none (Windows)
    message_pair()   two ends that keep message boundaries: AF_UNIX only
    datagram_pair()  two ends that keep message boundaries, with room for the largest datagram: AF_UNIX, or loopback UDP

Not here: who uses which end (`bridge`, `queue_door`, `datagrams`).
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
from collections.abc import Iterator
from typing import Protocol

BUFFER = 64 * 1024
"""Bytes that each kernel buffer is asked to hold. The default (208 KiB) would hide that nobody reads."""

DATAGRAM_BUFFER = 512 * 1024

_HEADROOM = 32 * 1024
"""Bytes that a datagram pair's inner end leaves free in its send buffer, for farewells (`inner_end`)."""

HAVE_UNIX = hasattr(socket, "AF_UNIX") and sys.platform != "win32"
"""A switch. Tests set it to False, so that the loopback pairs are tested where AF_UNIX exists."""

HAVE_ABSTRACT_NAMES = sys.platform == "linux"
"""A switch, too: whether an AF_UNIX socket can have a name that is no path."""

DONT_WAIT = getattr(socket, "MSG_DONTWAIT", 0)
"""A flag of `recv`; 0 where the flag is missing (Windows)."""


class _Closable(Protocol):
    def close(self) -> None: ...


Pair = tuple[socket.socket, socket.socket]


def stream_pair() -> Pair:
    """(inner, outer): the inner end does not block."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM) if HAVE_UNIX else _loopback_pair()
    with closed_on_error(*pair):
        _resize(pair, BUFFER)
    return pair


def message_pair() -> Pair:
    """(inner, outer): the inner end does not block. A closed end reads as an empty message at the other."""
    # macOS has no AF_UNIX SOCK_SEQPACKET; its datagram pairs report a closed end as well
    kind = socket.SOCK_DGRAM if sys.platform == "darwin" else socket.SOCK_SEQPACKET
    pair = socket.socketpair(socket.AF_UNIX, kind)
    with closed_on_error(*pair):
        _resize(pair, BUFFER)
    return pair


def datagram_pair() -> Pair:
    """(inner, outer): the inner end does not block."""
    pair = message_pair() if HAVE_UNIX else _loopback_datagram_pair()
    with closed_on_error(*pair):
        _resize(pair, DATAGRAM_BUFFER)
        if sys.platform == "linux":  # Linux doubles what it is asked for, up to a limit of its own
            room = pair[0].getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room // 2 - _HEADROOM)
    return pair


def is_readable(sock: socket.socket) -> bool:
    """Whether a `recv` with DONT_WAIT would find something, or raise because another thread has closed the socket.

    The flag alone is not enough: a timeout overrules it.
    """
    try:
        if not hasattr(select, "poll"):
            return bool(select.select([sock], [], [], 0)[0])
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    except ValueError:
        return True


def is_hung_up(inner: socket.socket) -> bool:
    """Whether no copy of a pair's other end is left, in any process. True where only Python objects tell that."""
    if inner.fileno() < 0 or inner.family != getattr(socket, "AF_UNIX", None):
        return True
    poll = select.poll()
    poll.register(inner, 0)
    return bool(poll.poll(0))


@contextlib.contextmanager
def closed_on_error(*things: _Closable) -> Iterator[None]:
    """Close sockets, or what owns some, if the block ends early, by an interrupt for instance."""
    try:
        yield
    except BaseException:
        for thing in things:
            thing.close()
        raise


def resize(sock: socket.socket, size: int = BUFFER) -> None:
    """Ask for kernel buffers of that many bytes. Linux counts what an AF_UNIX socket sends, not what it receives."""
    for option in (
        (socket.SO_SNDBUF,) if HAVE_UNIX and sys.platform == "linux" else (socket.SO_SNDBUF, socket.SO_RCVBUF)
    ):
        try:
            socket.socket.setsockopt(sock, socket.SOL_SOCKET, option, size)
        except OSError:  # the system knows better
            return


def _resize(pair: Pair, size: int) -> None:
    for end in pair:
        resize(end, size)
    pair[0].setblocking(False)


def _loopback_datagram_pair() -> Pair:
    inner, outer = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with closed_on_error(inner, outer):
        for end in (inner, outer):
            end.bind(("127.0.0.1", 0))
        inner.connect(outer.getsockname())
        outer.connect(inner.getsockname())
    return inner, outer


def _loopback_pair() -> Pair:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as server:
        outer = socket.create_connection(server.getsockname())
        inner, address = server.accept()
        while address != outer.getsockname():  # another program of this machine has connected first
            inner.close()
            inner, address = server.accept()
    for end in (inner, outer):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return inner, outer
