"""Linux on the other side: a TUN device in a network namespace of its own, and a stack on its file descriptor.

    kernel sockets  <-> Linux's TCP/IP <-> tun0 (MTU 1280) <-> fd <-> Dumbbell (a shim each way) <-> Stack

A namespace belongs to a thread: one thread unshares, makes the device and hands out sockets; both outlive it there.
Everything else happens in the test's own thread: `run_until` moves packets until a condition holds.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import socket as sockets
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from queue import SimpleQueue
from typing import Any, TypeVar

from netstack import Stack
from tests.lab.dumbbell import Dumbbell, FdEnd, StackEnd
from tests.lab.shim import Shim

LINUX_V4, LINUX_V6 = ip_address("10.9.0.1"), ip_address("fd00:9::1")
OURS_V4, OURS_V6 = ip_address("10.9.0.2"), ip_address("fd00:9::2")

_CLONE_NEWNET = 0x4000_0000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x4004_54CA, 0x0001, 0x1000
T = TypeVar("T")
Address = IPv4Address | IPv6Address


def why_not() -> str | None:
    """Why there can be no TUN device here, or None."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "needs root"
    if not os.path.exists("/dev/net/tun"):
        return "needs /dev/net/tun"
    return None


class Namespace:
    """A thread in a network namespace that nobody else has."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], SimpleQueue[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T]) -> T:
        """Run a function in the namespace: sockets and processes that it makes belong there."""
        answer: SimpleQueue[Any] = SimpleQueue()
        self._calls.put((function, answer))
        result = answer.get()
        if isinstance(result, BaseException):
            raise result
        return result  # type: ignore[no-any-return]

    def close(self) -> None:
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        failed = libc.unshare(_CLONE_NEWNET)
        while (job := self._calls.get()) is not None:
            function, answer = job
            try:
                answer.put(OSError("unshare failed") if failed else function())
            except BaseException as error:
                answer.put(error)


class Linux:
    """Linux's TCP/IP in a namespace of its own, behind a TUN device. Its TCP is CUBIC, whatever the machine's is."""

    def __init__(self, mtu: int = 1280, v4: Address = LINUX_V4, v6: Address = LINUX_V6) -> None:
        self.v4, self.v6 = v4, v6
        self.namespace = Namespace()
        self.fd = self.namespace.call(lambda: _open_tun(mtu, v4, v6))
        self._sockets: list[sockets.socket] = []

    def socket(self, family: int, kind: int, protocol: int = 0) -> sockets.socket:
        """A socket of Linux, not blocking."""
        return self._keep(self.namespace.call(lambda: sockets.socket(family, kind, protocol)))

    def accept(self, listener: sockets.socket) -> sockets.socket | None:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return None
        return self._keep(sock)

    def _keep(self, sock: sockets.socket) -> sockets.socket:
        sock.setblocking(False)
        if sock.type == sockets.SOCK_STREAM:
            sock.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_CONGESTION, b"cubic")
        self._sockets.append(sock)
        return sock

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()
        os.close(self.fd)
        self.namespace.close()


class TunHost:
    """A stack at OURS_V4 and OURS_V6, and Linux; between them a shim each way, which by default does nothing."""

    def __init__(self, mtu: int = 1280, *, there: Shim | None = None, back: Shim | None = None) -> None:
        self.linux = Linux(mtu)
        self.stack = Stack(entropy=random.Random(9).randbytes, mtu=mtu, now=time.monotonic())
        self.stack.set_addresses([OURS_V4, OURS_V6], time.monotonic())
        ours = StackEnd(self.stack, "tun")
        self.wire = Dumbbell([(ours, ())], FdEnd(self.linux.fd), there=there, back=back)
        self.wire.describe = lambda: (self.stack.dropped, self.stack.connections)
        self.socket, self.accept, self.run_until = self.linux.socket, self.linux.accept, self.wire.run_until
        self.close = self.linux.close

    def now(self) -> float:
        return time.monotonic()


def _open_tun(mtu: int, v4: Address, v6: Address) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", b"tun0", _IFF_TUN | _IFF_NO_PI))
    for command in (
        "link set lo up",
        f"link set tun0 mtu {mtu} txqueuelen 5000 up",
        f"addr add {v4}/24 dev tun0",
        f"-6 addr add {v6}/64 dev tun0 nodad",
    ):
        subprocess.run(["ip", *command.split()], check=True, capture_output=True)
    return fd
