"""Linux on the other side: a TUN device in a network namespace of its own, and a stack on its file descriptor.

    kernel sockets  <-> Linux's TCP/IP <-> tun0 (MTU 1280) <-> fd <-> TunHost.run_until <-> Stack

A namespace belongs to a thread: one thread unshares, makes the device and hands out sockets; both outlive it there.
Everything else happens in the test's own thread: `run_until` moves packets until a condition holds.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import select
import socket as sockets
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from queue import SimpleQueue
from typing import Any, TypeVar

from netstack import Stack

LINUX_V4, LINUX_V6 = ip_address("10.9.0.1"), ip_address("fd00:9::1")
OURS_V4, OURS_V6 = ip_address("10.9.0.2"), ip_address("fd00:9::2")

_CLONE_NEWNET = 0x4000_0000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x4004_54CA, 0x0001, 0x1000
T = TypeVar("T")


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


class TunHost:
    """A stack at OURS_V4 and OURS_V6; Linux at LINUX_V4 and LINUX_V6."""

    def __init__(self, mtu: int = 1280) -> None:
        self.namespace = Namespace()
        self.fd = self.namespace.call(lambda: _open_tun(mtu))
        self.stack = Stack(entropy=random.Random(9).randbytes, mtu=mtu, now=time.monotonic())
        self.stack.set_addresses([OURS_V4, OURS_V6], time.monotonic())
        self._sockets: list[sockets.socket] = []

    def now(self) -> float:
        return time.monotonic()

    def socket(self, family: int, kind: int, protocol: int = 0) -> sockets.socket:
        """A socket of Linux, not blocking."""
        sock = self.namespace.call(lambda: sockets.socket(family, kind, protocol))
        sock.setblocking(False)
        self._sockets.append(sock)
        return sock

    def accept(self, listener: sockets.socket) -> sockets.socket | None:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return None
        sock.setblocking(False)
        self._sockets.append(sock)
        return sock

    def run_until(self, done: Callable[[float], bool], timeout: float = 20.0) -> None:
        """Move packets; `done(now)` is asked every turn and may use endpoints and sockets."""
        begun = time.monotonic()
        while not done(now := time.monotonic()):
            assert now - begun < timeout, f"nothing happened: {self.stack.dropped} {self.stack.connections}"
            turns = 0
            while True:
                for _, packets in self.stack.transmit(now):
                    for packet in packets:
                        os.write(self.fd, packet)
                if self.stack.deadline() > now:
                    break
                turns += 1
                assert turns < 10_000, "the deadline stays due"
            wait = min(max(self.stack.deadline() - now, 0.0), 0.002)
            if select.select([self.fd], [], [], wait)[0]:
                self.stack.receive([("tun", self._read())], time.monotonic())

    def _read(self) -> list[bytes]:
        packets: list[bytes] = []
        try:
            while len(packets) < 64:
                packets.append(os.read(self.fd, 65_535))
        except BlockingIOError:
            pass
        return packets

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()
        os.close(self.fd)
        self.namespace.close()


def _open_tun(mtu: int) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", b"tun0", _IFF_TUN | _IFF_NO_PI))
    for command in (
        "link set lo up",
        f"link set tun0 mtu {mtu} txqueuelen 5000 up",
        f"addr add {LINUX_V4}/24 dev tun0",
        f"-6 addr add {LINUX_V6}/64 dev tun0 nodad",
    ):
        subprocess.run(["ip", *command.split()], check=True, capture_output=True)
    return fd
