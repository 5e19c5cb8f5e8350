"""A stateful firewall without translation: who inside has sent to somebody outside is answered, and nobody else.

Not here: NAT, which filters by itself (`nat`); where the firewall stands (`router`).
"""

from __future__ import annotations

from tsnet.base.addresses import UdpAddress

MAX_FLOWS = 4096
"""How many a firewall keeps; the one that was used the longest ago is forgotten first."""


class StatefulFirewall:
    """lifetime: for how many seconds the outside may answer. Only what leaves renews it. The clock is passed in."""

    def __init__(self, lifetime: float = 120.0) -> None:
        self.lifetime = lifetime
        self._flows: dict[tuple[UdpAddress, UdpAddress], float] = {}

    def __len__(self) -> int:
        return len(self._flows)

    def outbound(self, inside: UdpAddress, remote: UdpAddress, now: float) -> None:
        self._flows.pop((inside, remote), None)
        self._flows[inside, remote] = now + self.lifetime
        if len(self._flows) > MAX_FLOWS:
            del self._flows[next(iter(self._flows))]

    def admits(self, remote: UdpAddress, inside: UdpAddress, now: float) -> bool:
        return self._flows.get((inside, remote), 0.0) > now

    def forget(self) -> None:
        self._flows.clear()
