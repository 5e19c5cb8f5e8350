"""SYNs that wait, unanswered, for a place in a listener's backlog.

    add(syn)      at most MAX_PARKED, two thirds of them of one peer
    renew(syn)    the peer sends it again: it is the same one
    discard(syn)  it waits no longer
    next(fits)    the oldest SYN of the peer whose turn it is, among those for whom there is a place

Peers take turns, so that one with many SYNs is not before one with a single SYN. One that was not sent again for
PATIENCE seconds is forgotten: its peer has given up.

Not here: what is done with a SYN (`passive`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

from netstack.limits import Shares, peer_of
from netstack.wire.tcp import Header

MAX_PARKED = 1024
PATIENCE = 75.0


class Syn(NamedTuple):
    """What is kept of a SYN until it is answered: never what it carries, which comes again."""

    link: Hashable
    source: bytes
    destination: bytes
    header: Header
    head: bytes
    """The TCP header with its options."""
    after: int | None
    """Where the last connection between these ends stopped, if that is not long ago."""
    arrived_time: float

    @property
    def key(self) -> bytes:
        return self.source + self.destination + self.head[:4]

    @property
    def peer(self) -> Hashable:
        return peer_of(self.link, self.source)


class Parked:
    """Of one listener."""

    __slots__ = ("_by_peer", "places")

    def __init__(self) -> None:
        self.places: Shares = Shares(MAX_PARKED)
        self._by_peer: OrderedDict[Hashable, OrderedDict[bytes, Syn]] = OrderedDict()

    def __len__(self) -> int:
        return self.places.taken

    def add(self, syn: Syn, now: float) -> bool:
        """False if it cannot be kept."""
        if self.places.refusal(syn.peer) is not None:
            self._forget_old(now)
        if not self.places.take(syn.peer):
            return False
        self._by_peer.setdefault(syn.peer, OrderedDict())[syn.key] = syn
        return True

    def renew(self, syn: Syn) -> bool:
        """Note that the SYN has come again; False if it does not wait here."""
        waiting = self._by_peer.get(syn.peer)
        if waiting is None or syn.key not in waiting:
            return False
        waiting[syn.key] = syn
        return True

    def discard(self, syn: Syn) -> None:
        self._drop(syn.peer, syn.key)

    def next(self, fits: Callable[[Hashable], bool], now: float) -> Syn | None:
        """Take out the next one whose peer fits; None if there is none."""
        for peer in list(self._by_peer):
            while fits(peer) and peer in self._by_peer:
                syn = self._take(peer)
                if now - syn.arrived_time < PATIENCE:
                    if peer in self._by_peer:
                        self._by_peer.move_to_end(peer)
                    return syn
        return None

    def clear(self) -> list[Syn]:
        """Take all of them out."""
        return [self._take(peer) for peer in list(self._by_peer) for _ in range(len(self._by_peer[peer]))]

    def _take(self, peer: Hashable) -> Syn:
        """Take out the peer's oldest."""
        return self._drop(peer, next(iter(self._by_peer[peer])))

    def _drop(self, peer: Hashable, key: bytes) -> Syn:
        waiting = self._by_peer[peer]
        syn = waiting.pop(key)
        if not waiting:
            del self._by_peer[peer]
        self.places.give_back(peer)
        return syn

    def _forget_old(self, now: float) -> None:
        for peer in list(self._by_peer):
            while peer in self._by_peer and now - next(iter(self._by_peer[peer].values())).arrived_time >= PATIENCE:
                self._take(peer)
