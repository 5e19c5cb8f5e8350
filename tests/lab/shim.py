"""A link that is bad on purpose, without IO: rate, queue, delay, jitter, loss, reordering, duplicates, damage.

    shim = Shim(seed, delay=0.02, rate=20e6, buffer=100_000, loss=0.01, burst=3, reorder=0.02, late=0.005)
    shim.send(packet, now); shim.deadline(); shim.receive(now)

                    lost? -> queue (rate, buffer) -> delay, jitter -> late? damaged? twice?
                    Shimmed(stack, there=…, back=…)            a Stack whose every packet passes one of two shims

The same shim stands between two stacks on a hand clock, in front of a TUN device or a UDP socket (`tests.lab.dumbbell`)
and between our engine and its stack (`Shimmed`). One seed decides everything.

Not here: when time passes. Bursts are Gilbert's: in the bad state every packet is lost, and it lasts `burst` packets on
average, three times as many at most: longer ones would outlast every retry. Jitter does not reorder; `reorder` does.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from netstack import Stack
from tests.wire import Wire, flip_a_bit

MAX_RUN_PACKETS, MAX_RUN_BYTES = 49, 65_000


class Shim(Wire[bytes]):
    """One direction.

    rate: bits a second; buffer: bytes that wait for it, what comes on top is lost ("overflowed" in `counts`).
    every: each nth packet is lost. late: seconds by which a reordered packet is late at most; default about the delay.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        delay: float = 0.0,
        jitter: float = 0.0,
        rate: float = math.inf,
        buffer: float = math.inf,
        loss: float = 0.0,
        burst: float = 1.0,
        every: int = 0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        late: float | None = None,
        corrupt: float = 0.0,
    ) -> None:
        faults = {"loss": loss, "duplicate": duplicate, "reorder": reorder, "corrupt": corrupt}
        super().__init__(seed, delay=delay, damage=flip_a_bit, **faults)
        self.jitter, self.rate, self.buffer, self.burst, self.every, self.late = (
            jitter,
            rate,
            buffer,
            burst,
            every,
            late,
        )
        self._free_at = self._last_at = -math.inf
        self._offered = 0
        self._in_a_row = 0

    @property
    def queued(self) -> float:
        """When the last bit that waits for the rate will have left."""
        return self._free_at

    def _loses(self) -> bool:
        self._offered += 1
        if self.every and self._offered % self.every == 0:
            return True
        if self.burst <= 1:
            return super()._loses()
        chance = self._random.random()
        if self._in_a_row:
            lost = chance >= 1 / self.burst and self._in_a_row < 3 * self.burst
        else:
            lost = chance < self.loss / (self.burst * (1 - self.loss))
        self._in_a_row = self._in_a_row + 1 if lost else 0
        return lost

    def _arrival(self, packet: bytes, now: float) -> float:
        begin = max(now, self._free_at)
        if (begin - now) * self.rate / 8 + len(packet) > self.buffer:
            return math.inf
        if self.rate < math.inf:
            begin = self._free_at = begin + len(packet) * 8 / self.rate
        at = begin + self.delay + (self.jitter * self._random.random() if self.jitter else 0.0)
        self._last_at = max(self._last_at, at)
        return self._last_at

    def _late(self) -> float:
        return super()._late() if self.late is None else self.late * self._random.random()


class Shimmed:
    """A Stack to whoever carries its packets, each delayed or lost on its way; everything else is the stack's own."""

    def __init__(self, stack: Stack, *, there: Shim, back: Shim) -> None:
        self.stack, self.there, self.back = stack, there, back
        self._link_of: dict[bytes, Hashable] = {}
        self._verified = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stack, name)

    def receive(self, runs: Iterable[tuple[Hashable, Sequence[bytes]]], now: float, *, verified: bool = False) -> None:
        self._verified = verified and not self.back.corrupt
        for link, packets in runs:
            for packet in packets:
                self._link_of[source_of(packet)] = link
                self.back.send(packet, now)
        self._take(now)

    def transmit(self, now: float, budget: int = 256 * 1024) -> list[tuple[bytes, list[bytes]]]:
        self._take(now)
        for _, packets in self.stack.transmit(now, budget):
            for packet in packets:
                self.there.send(packet, now)
        return in_runs(self.there.receive(now))

    def deadline(self) -> float:
        return min(self.stack.deadline(), self.there.deadline(), self.back.deadline())

    def _take(self, now: float) -> None:
        arrived = [(self._link_of.get(source_of(packet)), [packet]) for packet in self.back.receive(now)]
        if arrived:
            self.stack.receive(arrived, now, verified=self._verified)


def source_of(packet: bytes) -> bytes:
    return packet[12:16] if packet[0] >> 4 == 4 else packet[8:24]


def destination_of(packet: bytes) -> bytes:
    return packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]


def in_runs(packets: Iterable[bytes]) -> list[tuple[bytes, list[bytes]]]:
    """Packets for one destination together, equal in length but for the last, as a stack's `transmit` gives them."""
    runs: list[tuple[bytes, list[bytes]]] = []
    for packet in packets:
        destination = destination_of(packet)
        if runs and runs[-1][0] == destination:
            run = runs[-1][1]
            size = len(run[0])
            if (
                len(run[-1]) == size >= len(packet)
                and len(run) < MAX_RUN_PACKETS
                and (len(run) + 1) * size <= MAX_RUN_BYTES
            ):
                run.append(packet)
                continue
        runs.append((destination, [packet]))
    return runs
