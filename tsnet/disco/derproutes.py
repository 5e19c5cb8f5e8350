"""The relays' side of the paths: which region leads to a peer, and which regions are wanted.

A peer is behind the first of these that fits:

    1. its home region, if we are connected there, and the relay there answers
    2. the region it last spoke to us through, while that connection lasts and that relay answers
    3. its home region, to be dialled

The second rule is how an answer goes back through our own home without dialling the peer's.

Source: Go wgengine/magicsock/derp.go (derpWriteChanForRegion, derpRoute).
Not here: whether a home is well chosen (`netcheck.home`), who dials (`derp.client`).
"""

from __future__ import annotations

import math

from tsnet.base.addresses import DerpAddress
from tsnet.base.keys import NodeKey
from tsnet.base.timetable import Earliest

DERP_IDLE_CLOSE = 60.0


class DerpRoutes:
    """home: our own. learnt: the region that each peer spoke to us through last."""

    def __init__(self, earliest: Earliest | None = None) -> None:
        self.home: int = 0
        self._earliest = earliest or Earliest()
        self.learnt: dict[bytes, int] = {}
        self._connected: set[int] = set()
        self._doubted: set[int] = set()
        self._wrote_at: dict[int, float] = {}

    def address(self, key: bytes, home_region: int) -> DerpAddress | None:
        """Where a peer with that home is; None if no relay leads there."""
        region = home_region
        if region not in self._connected or region in self._doubted:
            learnt = self.learnt.get(key, home_region)
            region = home_region if learnt in self._doubted else learnt
        return DerpAddress(region, NodeKey(key)) if region else None

    def learn(self, key: bytes, region: int) -> bool:
        """The peer spoke to us through that region. Whether that is news."""
        if self.learnt.get(key) == region:
            return False
        self.learnt[key] = region
        return True

    def forget(self, key: bytes, region: int | None = None) -> bool:
        """The peer is not there any more; at None it is no peer any more. Whether the region had been learnt."""
        if key not in self.learnt or region not in (None, self.learnt[key]):
            return False
        del self.learnt[key]
        return True

    def connected(self, region: int) -> None:
        self._connected.add(region)
        self._doubted.discard(region)

    def doubted(self, region: int, doubted: bool) -> None:
        """Whether the relay that we are connected to there has stopped answering, which may not be for ever."""
        (self._doubted.add if doubted else self._doubted.discard)(region)

    def disconnected(self, region: int) -> None:
        """That connection has ended; what was learnt through it is void."""
        self._connected.discard(region)
        self._doubted.discard(region)
        for key in [key for key, learnt in self.learnt.items() if learnt == region]:
            del self.learnt[key]

    def is_connected(self, region: int) -> bool:
        return region in self._connected

    # --- which are wanted -------------------------------------------------------------------------------------------

    def set_home(self, region: int, now: float) -> None:
        """Our own home: held open for good. The old one stays for a minute, peers have yet to learn of the new."""
        if self.home and self.home != region:
            self.wrote(self.home, now)
        self.home = region

    def wrote(self, region: int, now: float) -> None:
        """Something is sent through that region: it is wanted for a minute from now."""
        self._wrote_at[region] = now
        self._earliest.by(now + DERP_IDLE_CLOSE)

    def wanted(self, now: float) -> set[int]:
        """The home, and those written to within the last minute."""
        wanted = {region for region, at in self._wrote_at.items() if now < at + DERP_IDLE_CLOSE}
        if self.home:
            wanted.add(self.home)
        return wanted

    def expire(self, now: float) -> None:
        """Let idle regions go."""
        for region, at in list(self._wrote_at.items()):
            if now >= at + DERP_IDLE_CLOSE:
                del self._wrote_at[region]

    def deadline(self) -> float:
        return min(self._wrote_at.values(), default=math.inf) + DERP_IDLE_CLOSE
