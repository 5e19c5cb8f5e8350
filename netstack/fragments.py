"""Fragments: putting them together, and cutting what is too long.

    fragment -> Reassembler.add -> None, until the datagram is whole -> its payload
    payload  -> cut             -> [(offset, more, piece)]

A datagram's fragments share (source, destination, identification, protocol). Overlapping fragments lose the whole
datagram, an exact repetition does not. Bounded four ways: 4 MiB in all, two thirds of that of one peer, 64 datagrams of
one source, 30 s (60 s in IPv6). A peer that has its share, or a source that has its number, loses its own oldest
datagram; when all is full, the oldest of the peer that has most goes.

Source: RFC 791 §3.2, RFC 815, RFC 8200 §4.5, RFC 5722 (overlaps), RFC 6946 (atomic fragments).
Not here: the headers' bytes (`wire`), what the sender is told when time runs out (`icmp`).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

from netstack.limits import SHARE, Shares, peer_of

MAX_BYTES = 4 * 1024 * 1024
MAX_PER_SOURCE = 64
MAX_PIECES = 256
TIMEOUT, V6_TIMEOUT = 30.0, 60.0
MAX_PAYLOAD, V6_MAX_PAYLOAD = 65_515, 65_535
"""What a datagram can carry behind its header."""

_PIECE_COST = 200
"""What a stored fragment costs beside its bytes."""

Key = tuple[bytes, bytes, int, int]


class Expired(NamedTuple):
    """A datagram that was given up, and its first fragment's payload: who sent that is to be told."""

    key: Key
    first: bytes


class _Datagram:
    __slots__ = ("began_time", "cost", "end", "peer", "pieces", "starts")

    def __init__(self, peer: Hashable, now: float) -> None:
        self.peer = peer
        self.starts: list[int] = []
        self.pieces: list[bytes] = []
        self.end: int | None = None  # known once the last fragment is here
        self.cost = 0
        self.began_time = now


class _Family:
    """The datagrams of IPv4 or of IPv6, the oldest first."""

    __slots__ = ("datagrams", "max_payload", "timeout")

    def __init__(self, timeout: float, max_payload: int) -> None:
        self.datagrams: OrderedDict[Key, _Datagram] = OrderedDict()
        self.timeout, self.max_payload = timeout, max_payload

    def oldest_time(self) -> float:
        for datagram in self.datagrams.values():
            return datagram.began_time
        return math.inf


class Reassembler:
    """All datagrams of which only a part is here. `dropped` counts why one was lost."""

    __slots__ = ("_dropped", "_families", "_of_peer", "_of_source", "_room")

    def __init__(self, dropped: Counter[str]) -> None:
        self._families = {4: _Family(TIMEOUT, MAX_PAYLOAD), 16: _Family(V6_TIMEOUT, V6_MAX_PAYLOAD)}
        self._of_peer: dict[Hashable, dict[Key, None]] = {}
        self._of_source: dict[Hashable, dict[Key, None]] = {}
        """The oldest first."""
        self._room = Shares(MAX_BYTES)
        self._dropped = dropped

    def __len__(self) -> int:
        return sum(len(family.datagrams) for family in self._families.values())

    @property
    def bytes_held(self) -> int:
        return self._room.taken

    def add(self, key: Key, offset: int, more: bool, piece: bytes, now: float, link: Hashable = None) -> bytes | None:
        """Take one fragment; the datagram's payload when it completes it."""
        if not more and not offset:
            return piece  # an atomic fragment is a whole datagram, whatever else has its key (RFC 6946)
        family = self._families[len(key[0])]
        if (more and len(piece) % 8) or not piece or offset + len(piece) > family.max_payload:
            self._dropped["fragment: bad size"] += 1
            self._forget(key)
            return None
        datagram = family.datagrams.get(key) or self._begin(family, key, link, now)
        if not self._insert(key, datagram, offset, more, piece):
            self._dropped["fragment: overlap"] += 1
            self._forget(key)
            return None
        if datagram.end is None or sum(map(len, datagram.pieces)) != datagram.end:
            return None
        self._forget(key)
        return b"".join(datagram.pieces)

    def deadline(self) -> float:
        """When the next datagram is given up."""
        if not self._of_source:
            return math.inf
        return min(family.oldest_time() + family.timeout for family in self._families.values())

    def expire(self, now: float) -> list[Expired]:
        """Give up what is too old. Of what has lost its first fragment, nobody is told (RFC 792, RFC 8200 §4.5)."""
        expired: list[Expired] = []
        if not self._of_source:
            return expired
        for family in self._families.values():
            while family.oldest_time() + family.timeout <= now:
                key, datagram = next(iter(family.datagrams.items()))
                self._dropped["fragment: timeout"] += 1
                if datagram.starts[:1] == [0]:
                    expired.append(Expired(key, datagram.pieces[0]))
                self._forget(key)
        return expired

    def _begin(self, family: _Family, key: Key, link: Hashable, now: float) -> _Datagram:
        source = key[0]
        if len(self._of_source.get(source, ())) >= MAX_PER_SOURCE:
            self._dropped["fragment: too many of one source"] += 1
            self._forget(next(iter(self._of_source[source])))
        datagram = family.datagrams[key] = _Datagram(peer_of(link, source), now)
        self._of_source.setdefault(source, {})[key] = None
        self._of_peer.setdefault(datagram.peer, {})[key] = None
        return datagram

    def _insert(self, key: Key, datagram: _Datagram, offset: int, more: bool, piece: bytes) -> bool:
        """False if it contradicts what is here."""
        starts, pieces, end = datagram.starts, datagram.pieces, offset + len(piece)
        if not more:
            if datagram.end not in (None, end) or (starts and starts[-1] + len(pieces[-1]) > end):
                return False
            datagram.end = end
        elif datagram.end is not None and end > datagram.end:
            return False
        at = bisect_left(starts, offset)
        if at < len(starts) and starts[at] == offset and pieces[at] == piece:
            return True
        if (at < len(starts) and starts[at] < end) or (at and starts[at - 1] + len(pieces[at - 1]) > offset):
            return False
        if len(starts) >= MAX_PIECES:
            return False
        starts.insert(at, offset)
        pieces.insert(at, piece)
        cost = len(piece) + _PIECE_COST
        while (reason := self._room.refusal(datagram.peer, cost)) is not None:
            self._dropped["fragment: memory"] += 1
            oldest = next(iter(self._of_peer[datagram.peer if reason == SHARE else self._greediest()]))
            self._forget(oldest)
            if oldest == key:
                return True
        self._room.take(datagram.peer, cost)
        datagram.cost += cost
        return True

    def _greediest(self) -> Hashable:
        return max(self._of_peer, key=self._room.of)

    def _forget(self, key: Key) -> None:
        datagram = self._families[len(key[0])].datagrams.pop(key, None)
        if datagram is None:
            return
        self._room.give_back(datagram.peer, datagram.cost)
        for table, owner in ((self._of_peer, datagram.peer), (self._of_source, key[0])):
            del table[owner][key]
            if not table[owner]:
                del table[owner]


def cut(payload: bytes, room: int) -> list[tuple[int, bool, bytes]]:
    """(offset, whether more follow, piece) for fragments of at most `room` bytes of payload each."""
    room -= room % 8
    last = (len(payload) - 1) // room * room
    return [(at, at < last, payload[at : at + room]) for at in range(0, len(payload), room)]
