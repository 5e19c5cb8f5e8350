"""Real time: ends on the left, one end on the right, and a shim each way between them. One thread moves everything.

    left: our stack, Linux behind a TUN device, both   -> there (Shim) ->   right: Linux, or gVisor behind a UDP socket
                                                       <- back  (Shim) <-

`run_until(done)` moves packets until `done(now)` is true; it is asked every turn and may use endpoints and sockets.
Several senders on the left share the one shim, its rate and its queue.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from netstack import Stack
from tests.lab.shim import Shim, destination_of

BATCH = 256
"""Packets that an end gives at once."""
POLL = 0.002
"""Seconds between two looks at `done` when no packet moves."""
BUFFER_BYTES = 32 << 20
_SNDBUFFORCE, _RCVBUFFORCE = 32, 33
MAX_STEPS = 10_000


class End(Protocol):
    """fd: what to wait for; None if there is nothing to wait for but the deadline."""

    @property
    def fd(self) -> int | None: ...
    def take(self, now: float) -> list[bytes]: ...
    def give(self, packets: Sequence[bytes], now: float) -> None: ...
    def deadline(self) -> float: ...


class StackEnd:
    """One of our stacks. Takes everything that is due, with a limit on the steps."""

    fd = None

    def __init__(self, stack: Stack, link: str = "wire") -> None:
        self.stack, self.link = stack, link

    def take(self, now: float) -> list[bytes]:
        taken: list[bytes] = []
        for _ in range(MAX_STEPS):
            for _, packets in self.stack.transmit(now):
                taken += packets
            if self.stack.deadline() > now:
                return taken
        raise AssertionError(f"the deadline stays due: {self.stack.deadline()} at {now}")

    def give(self, packets: Sequence[bytes], now: float) -> None:
        self.stack.receive([(self.link, packets)], now)

    def deadline(self) -> float:
        return self.stack.deadline()


class FdEnd:
    """A descriptor that takes and gives a packet a call: a TUN device, or a connected UDP socket."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.refused: Counter[str] = Counter()

    def take(self, now: float) -> list[bytes]:
        taken: list[bytes] = []
        fd, read = self.fd, os.read
        with contextlib.suppress(BlockingIOError):
            while len(taken) < BATCH:
                taken.append(read(fd, 65_535))
        return taken

    def give(self, packets: Sequence[bytes], now: float) -> None:
        fd, write = self.fd, os.write
        for packet in packets:
            try:
                write(fd, packet)
            except OSError as error:  # a full queue, or a damaged packet that Linux does not take
                self.refused[type(error).__name__] += 1

    def deadline(self) -> float:
        return math.inf


class Dumbbell:
    """left: each end with the addresses that are behind it."""

    def __init__(
        self,
        left: Iterable[tuple[End, Iterable[bytes]]],
        right: End,
        *,
        there: Shim | None = None,
        back: Shim | None = None,
    ) -> None:
        self.left = [end for end, _ in left]
        self._behind = {address: end for end, addresses in left for address in addresses}
        self.right, self.there, self.back = right, there or Shim(), back or Shim()
        self._waiting = [end.fd for end in (*self.left, right) if end.fd is not None]
        self.describe: Callable[[], object] = lambda: (self.there.counts, self.back.counts)

    def run_until(self, done: Callable[[float], bool], timeout: float = 20.0, poll: float = POLL) -> float:
        """The seconds that it took."""
        begun = time.monotonic()
        while not done(now := time.monotonic()):
            assert now - begun < timeout, f"not done in {timeout} s: {self.describe()}"
            if not self.turn(now):
                wait = min(max(self.deadline() - time.monotonic(), 0.0), poll)
                select.select(self._waiting, [], [], wait)
        return time.monotonic() - begun

    def turn(self, now: float) -> bool:
        """Move what can be moved; whether anything was."""
        moved = False
        for end in self.left:
            for packet in end.take(now):
                self.there.send(packet, now)
        for packet in self.right.take(now):
            self.back.send(packet, now)
            moved = True
        if arrived := self.there.receive(now):
            self.right.give(arrived, now)
            moved = True
        for end, packets in self._sorted(self.back.receive(now)):
            end.give(packets, now)
            moved = True
        return moved

    def deadline(self) -> float:
        ends = min(end.deadline() for end in self.left)
        return min(ends, self.there.deadline(), self.back.deadline())

    def _sorted(self, packets: list[bytes]) -> list[tuple[End, list[bytes]]]:
        if not packets or len(self.left) == 1:
            return [(self.left[0], packets)] if packets else []
        found: dict[int, tuple[End, list[bytes]]] = {}
        for packet in packets:
            end = self._behind.get(destination_of(packet))
            if end is not None:
                found.setdefault(id(end), (end, []))[1].append(packet)
        return list(found.values())


def udp_socket() -> socket.socket:
    """On a free port of loopback, with room for bursts (as much as root may have)."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (_SNDBUFFORCE, _RCVBUFFORCE):
        with contextlib.suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock
