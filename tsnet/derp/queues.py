"""What the relay has for one client, and which of it may be lost.

    link has room    frames join the stream and leave at the next transmit
    link is full     packets wait in two queues of 32, path discovery apart from the rest, so that neither starves
                     the other. In a full queue the oldest packet of the sender that has most gives way, so that a
                     flood loses its own packets. A sender never waits for a slow reader.

Go's relay keeps the same two queues before a writer that runs beside its reader; here all reads of a turn come
before its writes, so the queues begin where the link pushes back.

Source: Go derp/derpserver/derpserver.go (sclient.sendQueue, discoSendQueue, sendPkt).
"""

from __future__ import annotations

import operator
from collections import Counter, deque
from collections.abc import Sequence
from itertools import chain, zip_longest

from tsnet.derp import frames

QUEUE_PACKETS = 32
MAX_CONTROL = 256
STREAM_LIMIT = 1 << 20
"""Bytes ready to leave: more than this counts as a full link."""

DISCO_MAGIC = b"TS\xf0\x9f\x92\xac"
DISCO_MIN_SIZE = 62


def looks_like_disco(packet: bytes) -> bool:
    """As a relay sees it: magic, key and nonce are there (Go disco.LooksLikeDiscoWrapper asks for the box too)."""
    return packet.startswith(DISCO_MAGIC) and len(packet) >= DISCO_MIN_SIZE


class Queues:
    """dropped: shared with the relay; "queue" (packets), "control" (frames)."""

    __slots__ = ("_control", "_disco", "_dropped", "_other", "_rest", "_size", "_stream", "full")

    def __init__(self, dropped: Counter[str]) -> None:
        self.full: bool = False
        self._dropped = dropped
        self._control: list[bytes] = []
        self._disco: deque[tuple[bytes, bytes]] = deque()
        self._other: deque[tuple[bytes, bytes]] = deque()
        self._rest = b""
        self._size = 0
        self._stream: list[bytes] = []

    def control(self, chunk: bytes) -> None:
        """Anything but a packet: goes first, and only a client that never reads loses any."""
        if len(self._control) < MAX_CONTROL:
            self._control.append(chunk)
        else:
            self._dropped["control"] += 1

    def packets(self, source: bytes, packets: Sequence[bytes]) -> None:
        if not self.full and self._size < STREAM_LIMIT:
            chunk = frames.encode_packets(frames.RECV_PACKET, source, packets)
            self._stream.append(chunk)
            self._size += len(chunk)
            return
        for packet in packets:
            queue = self._disco if looks_like_disco(packet) else self._other
            if len(queue) >= QUEUE_PACKETS:
                _make_way(queue, source)
                self._dropped["queue"] += 1
            queue.append((source, frames.encode_packets(frames.RECV_PACKET, source, (packet,))))

    @property
    def is_empty(self) -> bool:
        return not (self._rest or self._control or self._stream or self._disco or self._other)

    def take(self, budget: int) -> bytes:
        """At most `budget` bytes of the stream to the client; nothing while the link is full."""
        if self.full:
            return b""
        frame_of = operator.itemgetter(1)
        queued = chain.from_iterable(zip_longest(map(frame_of, self._disco), map(frame_of, self._other), fillvalue=b""))
        data = b"".join((self._rest, *self._control, *self._stream, *queued))
        for queue in (self._control, self._stream, self._disco, self._other):
            queue.clear()
        self._rest = data[budget:]
        self._size = len(self._rest)
        return data[:budget] if self._rest else data


def _make_way(queue: deque[tuple[bytes, bytes]], source: bytes) -> None:
    """Drop the oldest packet of the sender that would have most with one more of this source."""
    counts = Counter(other for other, _ in queue)
    counts[source] += 1
    most = max(counts[other] for other, _ in queue)
    del queue[next(index for index, (other, _) in enumerate(queue) if counts[other] == most)]
