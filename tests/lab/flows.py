"""Bulk flows over one shim into one Linux: from our stack, from Linux (CUBIC), or from both at once.

    with Race(there=Shim(…), back=Shim(…)) as race:
        flows = [race.ours(), race.linux()]            # connected, one after the other
        rates = race.run(flows, seconds=10)            # bits a second that each receiver read

Both kinds of sender meet the same receiver, so that only the sender differs.
"""

from __future__ import annotations

import os
import socket
import time
from ipaddress import ip_address
from typing import Protocol, Self

from netstack import Stack
from tests.lab.dumbbell import Dumbbell, End, FdEnd, StackEnd
from tests.lab.shim import Shim
from tests.netstack.tun import LINUX_V4, Linux

OURS = ip_address("10.9.0.2")
SENDER, SENDER_V6 = ip_address("10.9.0.3"), ip_address("fd00:9::3")
PORT = 80
CHUNK = os.urandom(262_144)


class Flow(Protocol):
    name: str

    def push(self, now: float) -> None:
        """Write as much as fits."""


class OurFlow:
    name = "ours"

    def __init__(self, stack: Stack, now: float) -> None:
        self.connection = stack.connect(LINUX_V4, PORT, now)

    def push(self, now: float) -> None:
        assert self.connection.error is None, self.connection.error
        self.connection.write(CHUNK, now)


class LinuxFlow:
    name = "Linux"

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def push(self, now: float) -> None:
        try:
            self.sock.send(CHUNK)
        except BlockingIOError:
            return


class Race:
    """Entered: two namespaces and our stack, joined."""

    def __init__(self, *, there: Shim, back: Shim, mtu: int = 1280) -> None:
        now = time.monotonic()
        self.receiver, self.sender = Linux(mtu), Linux(mtu, SENDER, SENDER_V6)
        self.stack = Stack(entropy=os.urandom, mtu=mtu, now=now)
        self.stack.set_addresses([OURS], now)
        left: list[tuple[End, list[bytes]]] = [
            (StackEnd(self.stack), [OURS.packed]),
            (FdEnd(self.sender.fd), [SENDER.packed]),
        ]
        self.wire = Dumbbell(left, FdEnd(self.receiver.fd), there=there, back=back)
        self._listener = self.receiver.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.bind((str(LINUX_V4), PORT))
        self._listener.listen()
        self._received: dict[str, socket.socket] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.receiver.close()
        self.sender.close()

    def ours(self) -> OurFlow:
        flow = OurFlow(self.stack, time.monotonic())
        self._accept(flow)
        return flow

    def linux(self) -> LinuxFlow:
        sock = self.sender.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.connect_ex((str(LINUX_V4), PORT))
        flow = LinuxFlow(sock)
        self._accept(flow)
        return flow

    def _accept(self, flow: Flow) -> None:
        found: list[socket.socket] = []

        def accepted(now: float) -> bool:
            if sock := self.receiver.accept(self._listener):
                found.append(sock)
            return bool(found)

        self.wire.run_until(accepted, 30)
        self._received[flow.name] = found[0]

    def run(self, flows: list[Flow], seconds: float) -> dict[str, float]:
        """Bits a second by the flows' names."""
        counts = dict.fromkeys((flow.name for flow in flows), 0)
        begun = time.monotonic()

        def step(now: float) -> bool:
            for flow in flows:
                flow.push(now)
                counts[flow.name] += _read(self._received[flow.name])
            return now - begun >= seconds

        spent = self.wire.run_until(step, seconds + 30)
        return {name: count * 8 / spent for name, count in counts.items()}


def _read(sock: socket.socket) -> int:
    count = 0
    try:
        while data := sock.recv(1 << 20):
            count += len(data)
    except BlockingIOError:
        pass
    return count
