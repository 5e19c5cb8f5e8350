"""What arrived ahead of its turn: disjoint stretches of the sequence space with their bytes, and SACK blocks of them.

    rcv_nxt ....gap.... [stretch) ..gap.. [stretch) ....          each: start, end, chunks

Of bytes that arrive twice the first copy stays. At most 256 stretches; when there would be more, the highest goes
and its block is forgotten (a receiver may renege, RFC 2018 §8).

Source: RFC 9293 §3.10.7.4, RFC 2018 §4 (which blocks to report), RFC 2883 (duplicates).
Not here: the window's bounds (`netstack.tcp.arrive` trims first), putting blocks on the wire.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

MAX_STRETCHES = 256


class OutOfOrder:
    """The bytes beyond a gap. Created at the first gap of a connection and dropped with the last."""

    __slots__ = ("_chunks", "_ends", "_recent", "_starts", "size")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._chunks: list[list[bytes]] = []
        self._recent: list[int] = []
        self.size: int = 0

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def end(self) -> int:
        """Behind everything that is here."""
        return self._ends[-1]

    def insert(self, start: int, data: bytes) -> tuple[int, int] | None:
        """Take [start, start + len(data)); the part of it that was here already, if any (the first such)."""
        end = start + len(data)
        starts, ends, chunks = self._starts, self._ends, self._chunks
        low = bisect_left(ends, start)  # the first stretch that touches or follows
        high = bisect_right(starts, end)  # the first stretch beyond
        if low == high:
            starts.insert(low, start)
            ends.insert(low, end)
            chunks.insert(low, [data])
            self.size += len(data)
            self._report(start)
            self._bound()
            return None
        duplicate = None
        pieces: list[bytes] = []
        at = start
        for index in range(low, high):
            if at < starts[index]:
                pieces.append(data[at - start : starts[index] - start])
                self.size += starts[index] - at
            overlap = (max(at, starts[index]), min(end, ends[index]))
            if overlap[0] < overlap[1] and duplicate is None:
                duplicate = overlap
            pieces += chunks[index]
            at = max(at, ends[index])
        if at < end:
            pieces.append(data[at - start :])
            self.size += end - at
        left, right = min(start, starts[low]), max(end, ends[high - 1])
        for gone in starts[low:high]:
            if gone in self._recent:
                self._recent.remove(gone)
        starts[low:high], ends[low:high], chunks[low:high] = [left], [right], [pieces]
        self._report(left)
        return duplicate

    def duplicate(self, rcv_nxt: int) -> tuple[int, int] | None:
        """The first stretch below rcv_nxt: what has come again, in order."""
        return (self._starts[0], min(self._ends[0], rcv_nxt)) if self._starts[0] < rcv_nxt else None

    def take(self, rcv_nxt: int) -> tuple[int, list[bytes]]:
        """What has become contiguous with rcv_nxt: (the new rcv_nxt, its chunks in order)."""
        taken: list[bytes] = []
        starts, ends = self._starts, self._ends
        count = 0
        while count < len(starts) and starts[count] <= rcv_nxt:
            self.size -= ends[count] - starts[count]
            if ends[count] > rcv_nxt:
                data = self._chunks[count]
                surplus = rcv_nxt - starts[count]
                taken += [b"".join(data)[surplus:]] if surplus else data
                rcv_nxt = ends[count]
            if starts[count] in self._recent:
                self._recent.remove(starts[count])
            count += 1
        del starts[:count], ends[:count], self._chunks[:count]
        return rcv_nxt, taken

    def blocks(self, limit: int) -> list[tuple[int, int]]:
        """SACK blocks: the stretch that grew last first, then those reported before it."""
        starts, ends = self._starts, self._ends
        return [(start, ends[bisect_left(starts, start)]) for start in self._recent[:limit]]

    def covering(self, start: int) -> tuple[int, int] | None:
        """The stretch that `start` lies in."""
        at = bisect_right(self._starts, start) - 1
        if at >= 0 and start < self._ends[at]:
            return self._starts[at], self._ends[at]
        return None

    def _report(self, start: int) -> None:
        self._recent.insert(0, start)
        del self._recent[8:]

    def _bound(self) -> None:
        while len(self._starts) > MAX_STRETCHES:
            start = self._starts.pop()
            self.size -= self._ends.pop() - start
            self._chunks.pop()
            if start in self._recent:
                self._recent.remove(start)
