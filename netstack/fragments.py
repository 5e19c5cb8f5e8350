"""Fragments: putting them together, and cutting what is too long.

    fragment -> Reassembler.add -> None, until the datagram is whole -> its payload
    payload  -> cut             -> [(offset, more, piece)]

A datagram's fragments share (source, destination, identification, protocol). Overlapping fragments lose the whole
datagram, an exact repetition does not. Bounded three ways: 4 MiB in all, 64 datagrams of one source, 30 s; when
full, the oldest datagram goes.

Source: RFC 791 §3.2, RFC 815, RFC 8200 §4.5, RFC 5722 (overlaps), RFC 7112 (all headers in the first fragment).
Not here: the headers' bytes (`wire`); the packet filter sees reassembled packets only.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, OrderedDict

MAX_BYTES = 4 * 1024 * 1024
MAX_PER_SOURCE = 64
MAX_PIECES = 256
TIMEOUT = 30.0
MAX_DATAGRAM = 65_535
_PIECE_COST = 200
"""What a stored fragment costs beside its bytes."""

Key = tuple[bytes, bytes, int, int]


class _Datagram:
    __slots__ = ("cost", "end", "expires_at", "pieces", "starts")

    def __init__(self, expires_at: float) -> None:
        self.starts: list[int] = []
        self.pieces: list[bytes] = []
        self.end: int | None = None  # known once the last fragment is here
        self.cost = 0
        self.expires_at = expires_at


class Reassembler:
    """All datagrams of which only a part is here. `dropped` counts why one was lost."""

    __slots__ = ("_bytes", "_datagrams", "_dropped", "_per_source")

    def __init__(self, dropped: Counter[str]) -> None:
        self._datagrams: OrderedDict[Key, _Datagram] = OrderedDict()
        self._per_source: Counter[bytes] = Counter()
        self._bytes = 0
        self._dropped = dropped

    def __len__(self) -> int:
        return len(self._datagrams)

    @property
    def bytes_held(self) -> int:
        return self._bytes

    def add(self, key: Key, offset: int, more: bool, piece: bytes, now: float) -> bytes | None:
        """Take one fragment; the datagram's payload when it completes it."""
        if not more and not offset:
            return piece  # an atomic fragment is a whole datagram, whatever else has its key (RFC 6946)
        if (more and len(piece) % 8) or not piece or offset + len(piece) > MAX_DATAGRAM:
            self._dropped["fragment: bad size"] += 1
            self._forget(key)
            return None
        datagram = self._datagrams.get(key) or self._begin(key, now)
        if datagram is None:
            return None
        if not self._insert(datagram, offset, more, piece):
            self._dropped["fragment: overlap"] += 1
            self._forget(key)
            return None
        if datagram.end is None or sum(map(len, datagram.pieces)) != datagram.end:
            return None
        self._forget(key)
        return b"".join(datagram.pieces)

    def deadline(self) -> float:
        """When the oldest datagram is given up."""
        for datagram in self._datagrams.values():
            return datagram.expires_at
        return math.inf

    def expire(self, now: float) -> None:
        while self._datagrams:
            key, datagram = next(iter(self._datagrams.items()))
            if datagram.expires_at > now:
                return
            self._dropped["fragment: timeout"] += 1
            self._forget(key)

    def _begin(self, key: Key, now: float) -> _Datagram | None:
        source = key[0]
        if self._per_source[source] >= MAX_PER_SOURCE:
            self._dropped["fragment: too many of one source"] += 1
            oldest = next(other for other in self._datagrams if other[0] == source)
            self._forget(oldest)
        self._per_source[source] += 1
        datagram = _Datagram(now + TIMEOUT)
        self._datagrams[key] = datagram
        return datagram

    def _insert(self, datagram: _Datagram, offset: int, more: bool, piece: bytes) -> bool:
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
        datagram.cost += cost
        self._bytes += cost
        while self._bytes > MAX_BYTES:
            self._dropped["fragment: memory"] += 1
            self._forget(next(iter(self._datagrams)))
        return True

    def _forget(self, key: Key) -> None:
        datagram = self._datagrams.pop(key, None)
        if datagram is None:
            return
        self._bytes -= datagram.cost
        self._per_source[key[0]] -= 1
        if not self._per_source[key[0]]:
            del self._per_source[key[0]]


def cut(payload: bytes, room: int) -> list[tuple[int, bool, bytes]]:
    """(offset, whether more follow, piece) for fragments of at most `room` bytes of payload each."""
    room -= room % 8
    last = (len(payload) - 1) // room * room
    return [(at, at < last, payload[at : at + room]) for at in range(0, len(payload), room)]
