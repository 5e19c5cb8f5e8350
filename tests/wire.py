"""A wire between test parties: delay, loss, duplication, reordering and corruption, all from one seed.

A wire carries anything; a party is whatever the test calls it. `counts` tells what happened, so that a test can
assert that its faults did happen. `tests.lab.shim` adds what a real link has: a rate, a queue, jitter, bursts.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")


class Wire(Generic[T]):
    """One direction. `loss`, `duplicate`, `reorder` and `corrupt` are chances of a packet, 0 to 1."""

    def __init__(
        self,
        seed: int = 0,
        *,
        delay: float = 0.01,
        loss: float = 0.0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        corrupt: float = 0.0,
        damage: Callable[[T, random.Random], T] | None = None,
    ) -> None:
        self._random = random.Random(seed)
        self.delay, self.loss, self.duplicate, self.reorder = delay, loss, duplicate, reorder
        self.corrupt, self._damage = corrupt, damage
        self.counts: Counter[str] = Counter()
        self.drop_next: Callable[[T], bool] | None = None
        """Asked about each packet: True loses it."""
        self._on_the_way: list[tuple[float, int, T]] = []
        self._serial = 0

    def send(self, packet: T, now: float) -> None:
        chance = self._random.random
        self.counts["sent"] += 1
        if (self.drop_next is not None and self.drop_next(packet)) or self._loses():
            self.counts["lost"] += 1
            return
        at = self._arrival(packet, now)
        if at == math.inf:
            self.counts["overflowed"] += 1
            return
        if chance() < self.reorder:
            self.counts["reordered"] += 1
            at += self._late()
        if self._damage is not None and chance() < self.corrupt:
            self.counts["corrupted"] += 1
            packet = self._damage(packet, self._random)
        self._put(packet, at)
        if chance() < self.duplicate:
            self.counts["duplicated"] += 1
            self._put(packet, at + self.delay * chance())

    def receive(self, now: float) -> list[T]:
        """What has arrived by now, in the order of arrival."""
        arrived = []
        while self._on_the_way and self._on_the_way[0][0] <= now:
            arrived.append(heappop(self._on_the_way)[2])
        self.counts["delivered"] += len(arrived)
        return arrived

    def deadline(self) -> float:
        """When the next one arrives."""
        return self._on_the_way[0][0] if self._on_the_way else math.inf

    def _loses(self) -> bool:
        return self._random.random() < self.loss

    def _arrival(self, packet: T, now: float) -> float:
        """When a packet sent now arrives in its turn; math.inf when there is no room for it."""
        return now + self.delay

    def _late(self) -> float:
        """By how much one arrives out of its turn."""
        return self.delay * (0.1 + self._random.random())

    def _put(self, packet: T, at: float) -> None:
        self._serial += 1
        heappush(self._on_the_way, (at, self._serial, packet))


def flip_a_bit(packet: bytes, chance: random.Random) -> bytes:
    """Damage for wires of bytes."""
    at = chance.randrange(len(packet) * 8)
    damaged = bytearray(packet)
    damaged[at >> 3] ^= 1 << (at & 7)
    return bytes(damaged)
