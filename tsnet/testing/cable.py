"""One link of the simulated internet: how long a datagram is under way, and whether it arrives at all.

    cable = router.cable          the one between a router or host and what it is plugged into
    cable.latency = 0.02          seconds one way; all settings may be changed at any time
    cable.loss = 0.05             the probability for each datagram, in either direction

| a datagram                             | what becomes of it                                            |
|----------------------------------------|---------------------------------------------------------------|
| while `is_up` is False                 | lost                                                          |
| larger than `mtu`, headers included    | lost; if `tells_too_big`, its sender learns the MTU           |
| faster than `rate`                     | waits for those before it; lost when that takes over `buffer` |
| any other                              | arrives after `latency` and up to `jitter` seconds more       |

Byte streams know latency, rate and `is_up`: their systems repair the rest. A black hole for large datagrams is a small
`mtu` with `tells_too_big` False.

Not here: who is joined by it (`router`), faults of the wire between all (`wire`).
"""

from __future__ import annotations

import random
from collections import Counter

UDP_OVER_V4, UDP_OVER_V6 = 28, 48
"""Bytes that the headers take: 8 of UDP, and 20 or 40 of IP."""


def on_the_wire(size: int, host: str) -> int:
    """The bytes of an IP packet whose UDP payload to that host has this size."""
    return size + (UDP_OVER_V6 if ":" in host else UDP_OVER_V4)


class Cable:
    """latency, jitter, buffer: seconds. rate: bytes per second each way, None without a limit. mtu: bytes.

    counts: "lost", "down", "too big", "buffer full".
    """

    def __init__(
        self,
        latency: float = 0.005,
        *,
        jitter: float = 0.0,
        loss: float = 0.0,
        rate: float | None = None,
        buffer: float = 0.1,
        mtu: int = 1500,
        tells_too_big: bool = True,
    ) -> None:
        self.latency = latency
        self.jitter = jitter
        self.loss = loss
        self.rate = rate
        self.buffer = buffer
        self.mtu = mtu
        self.tells_too_big = tells_too_big
        self.is_up: bool = True
        self.counts: Counter[str] = Counter()
        self._busy_until = [0.0, 0.0]

    def delay(self, size: int, now: float, draw: random.Random, *, upward: bool) -> float | None:
        """After how many seconds a datagram of `size` bytes arrives at the other end; None if it does not."""
        reason = self._why_lost(size, now, draw, upward)
        if reason:
            self.counts[reason] += 1
            return None
        extra = self.jitter * draw.random() if self.jitter else 0.0
        return self.queue(size, now, upward=upward) + extra

    def _why_lost(self, size: int, now: float, draw: random.Random, upward: bool) -> str:
        if not self.is_up:
            return "down"
        if size > self.mtu:
            return "too big"
        if self.loss and draw.random() < self.loss:
            return "lost"
        return "buffer full" if self._waits(now, upward) > self.buffer else ""

    def queue(self, size: int, now: float, *, upward: bool) -> float:
        """After how many seconds bytes arrive that wait however long they must."""
        if self.rate is None:
            return self.latency
        self._busy_until[upward] = max(self._busy_until[upward], now) + size / self.rate
        return self._waits(now, upward) + self.latency

    def _waits(self, now: float, upward: bool) -> float:
        return max(0.0, self._busy_until[upward] - now)
