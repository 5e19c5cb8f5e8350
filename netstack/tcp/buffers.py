"""The two byte queues of a connection: chunks as they came, joined as late as possible.

    SendBuffer       [start ... snd_una ... snd_nxt ... end)   released when acknowledged; `peek` for each (re)send
    ReceiveBuffer    in order and not yet read

`bytes` are kept without a copy; anything that can still change is copied. Small neighbours are joined, so that
a stream of single bytes costs bytes, not objects.

Not here: limits (the connection compares `size` with its own), bytes out of order (`reassembly`).
"""

from __future__ import annotations

from bisect import bisect_right

_SMALL = 256
_JOINED = 4096


class SendBuffer:
    """Bytes by sequence number: `start` is the first that is kept, `end` the one after the last."""

    __slots__ = ("_chunks", "_starts", "end", "start")

    def __init__(self, start: int) -> None:
        self.start: int = start
        self.end: int = start
        self._starts: list[int] = []
        self._chunks: list[bytes] = []

    @property
    def size(self) -> int:
        return self.end - self.start

    def append(self, data: bytes, unsent_from: int) -> None:
        """Add to the end. What lies at or after `unsent_from` has not been sent and may still be joined."""
        chunks = self._chunks
        if chunks and len(data) < _SMALL and self._starts[-1] >= unsent_from and len(chunks[-1]) < _JOINED:
            chunks[-1] += data
        else:
            self._starts.append(self.end)
            chunks.append(data)
        self.end += len(data)

    def peek(self, seq: int, size: int) -> bytes:
        """`size` bytes from `seq` on, all of which are here."""
        chunks = self._chunks
        index = bisect_right(self._starts, seq) - 1
        skip = seq - self._starts[index]
        first = chunks[index]
        if len(first) - skip >= size:
            return first if size == len(first) else first[skip : skip + size]
        pieces = [first[skip:]]
        missing = size - len(pieces[0])
        while missing > 0:
            index += 1
            piece = chunks[index]
            pieces.append(piece if len(piece) <= missing else piece[:missing])
            missing -= len(piece)
        return b"".join(pieces)

    def release(self, seq: int) -> None:
        """Everything before `seq` is acknowledged."""
        self.start = seq = min(seq, self.end)
        if seq == self.end:
            self._chunks.clear()
            self._starts.clear()
            return
        gone = bisect_right(self._starts, seq) - 1
        if gone > 0:
            del self._chunks[:gone], self._starts[:gone]

    def clear(self) -> None:
        """Nothing of it will be sent again."""
        self.release(self.end)


class ReceiveBuffer:
    """Bytes in order, waiting for the application."""

    __slots__ = ("chunks", "size")

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.size: int = 0

    def append(self, data: bytes) -> None:
        chunks = self.chunks
        if chunks and len(data) < _SMALL and len(chunks[-1]) < _JOINED:
            chunks[-1] += data
        else:
            chunks.append(data)
        self.size += len(data)

    def extend(self, chunks: list[bytes], size: int) -> None:
        self.chunks += chunks
        self.size += size

    def take(self) -> list[bytes]:
        """Everything, as it came."""
        chunks, self.chunks, self.size = self.chunks, [], 0
        return chunks

    def read(self, limit: int) -> bytes:
        """At most `limit` bytes, as one."""
        chunks = self.chunks
        if limit >= self.size:
            self.size = 0
            self.chunks = []
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self.size -= limit
        count = 0
        while limit >= len(chunks[count]):
            limit -= len(chunks[count])
            count += 1
        pieces = chunks[:count]
        if limit:
            pieces.append(chunks[count][:limit])
            chunks[count] = chunks[count][limit:]
        del chunks[:count]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
