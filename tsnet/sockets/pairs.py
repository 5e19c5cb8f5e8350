"""Pairs of connected descriptors, made small so that a slow reader is felt by the sender.

    stream_pair()    two ends of a byte stream: AF_UNIX, or loopback TCP where there is none (Windows)
    message_pair()   two ends that keep message borders and carry descriptors; AF_UNIX only
    datagram_pair()  two ends that keep message borders, room for the largest datagram; AF_UNIX, or loopback UDP

Not here: who uses which end.
"""

from __future__ import annotations

import contextlib
import socket
import sys

BUFFER = 64 * 1024
"""Bytes each kernel buffer is asked to hold. The default (208 KiB) would hide that nobody reads."""

DATAGRAM_BUFFER = 512 * 1024

HAVE_UNIX = hasattr(socket, "AF_UNIX") and sys.platform != "win32"
"""A switch: False forces the loopback pairs, so that they are tested where AF_UNIX exists."""

Pair = tuple[socket.socket, socket.socket]


def stream_pair() -> Pair:
    """(inner, outer): the inner end does not block."""
    inner, outer = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM) if HAVE_UNIX else _loopback_pair()
    _shrink(inner, outer)
    inner.setblocking(False)
    return inner, outer


def message_pair() -> Pair:
    """(inner, outer): the inner end does not block. A closed end reads as an empty message at the other."""
    # macOS has no AF_UNIX SOCK_SEQPACKET; its datagram pairs report a closed end as well
    kind = socket.SOCK_DGRAM if sys.platform == "darwin" else socket.SOCK_SEQPACKET
    inner, outer = socket.socketpair(socket.AF_UNIX, kind)
    _shrink(inner, outer)
    inner.setblocking(False)
    return inner, outer


def datagram_pair() -> Pair:
    """(inner, outer): the inner end does not block."""
    inner, outer = message_pair() if HAVE_UNIX else _loopback_datagram_pair()
    for end in (inner, outer):
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, option, DATAGRAM_BUFFER)
    return inner, outer


def _loopback_datagram_pair() -> Pair:
    inner, outer = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for end in (inner, outer):
        end.bind(("127.0.0.1", 0))
    inner.connect(outer.getsockname())
    outer.connect(inner.getsockname())
    inner.setblocking(False)
    return inner, outer


def _shrink(*ends: socket.socket) -> None:
    for end in ends:
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, option, BUFFER)


def _loopback_pair() -> Pair:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as server:
        outer = socket.create_connection(server.getsockname())
        inner, address = server.accept()
        while address != outer.getsockname():  # a stranger on this machine was faster
            inner.close()
            inner, address = server.accept()
    for end in (inner, outer):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return inner, outer
