"""The pings of one peer that came lately, and from where: none is answered twice to one place.

Anybody may send a ping again that he has overheard, from any source he likes. Each place gets one pong at most, which
is smaller than the ping, and four places for one ping; and a copy teaches no new address.

Source: Go wgengine/magicsock/endpoint.go addCandidateEndpoint, for the answer of each source.
"""

from __future__ import annotations

from tsnet.base.addresses import Destination
from tsnet.disco.constants import MAX_SEEN, MAX_SOURCES


class SeenPings:
    __slots__ = ("_sources",)

    def __init__(self) -> None:
        self._sources: dict[bytes, tuple[Destination, ...]] = {}

    def __len__(self) -> int:
        return len(self._sources)

    def is_fresh(self, tx_id: bytes) -> bool:
        """Whether this one has not come before."""
        return tx_id not in self._sources

    def add(self, tx_id: bytes, source: Destination) -> bool:
        """It came from there. Whether that is news, and is to be answered."""
        sources = self._sources.get(tx_id, ())
        if source in sources or len(sources) >= MAX_SOURCES:
            return False
        if not sources and len(self._sources) >= MAX_SEEN:
            del self._sources[next(iter(self._sources))]
        self._sources[tx_id] = (*sources, source)
        return True
