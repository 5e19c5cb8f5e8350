"""What a client wants to put on its link: control frames first, then packets, as one stream.

Packets wait here for the login (the oldest give way) and for room on the link (the node above stops pulling).
A new connection starts with the packets that still wait; frames and half a frame of the old one are forgotten.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from tsnet.base.keys import NodeKey
from tsnet.derp import frames

MAX_WAITING = 128
"""Packets that wait for a login. As many as WireGuard stages for a session."""

MAX_QUEUED = 4096
"""Packets that wait for room. A caller that looks at the room before it sends loses none."""

MAX_CONTROL = 64
"""Control frames that wait for room; further ones (pongs to a server that does not read) are dropped."""


class Outbox:
    """dropped: shared with the client; "queue" (packets), "control" (frames)."""

    __slots__ = ("_control", "_dropped", "_packets", "_queue", "_rest", "full")

    def __init__(self, dropped: Counter[str]) -> None:
        self.full: bool = False
        self._dropped = dropped
        self._control: list[bytes] = []
        self._queue: deque[tuple[NodeKey, Sequence[bytes]]] = deque()
        self._packets = 0
        self._rest = b""

    def __len__(self) -> int:
        """Packets queued."""
        return self._packets

    def control(self, chunk: bytes) -> None:
        if len(self._control) < MAX_CONTROL:
            self._control.append(chunk)
        else:
            self._dropped["control"] += 1

    def send(self, key: NodeKey, packets: Sequence[bytes], limit: int) -> None:
        """Queue a run; the oldest packets above `limit` are dropped."""
        self._queue.append((key, packets))
        self._packets += len(packets)
        self.shorten(limit)

    def shorten(self, limit: int) -> None:
        while (excess := self._packets - limit) > 0:
            key, packets = self._queue.popleft()
            kept = packets[excess:]
            if kept:
                self._queue.appendleft((key, kept))
            self._packets -= len(packets) - len(kept)
            self._dropped["queue"] += len(packets) - len(kept)

    def new_connection(self) -> None:
        self.full = False
        self._rest = b""
        self._control.clear()
        self.shorten(MAX_WAITING)

    def has_output(self, ready: bool) -> bool:
        """Whether `take` would give bytes. ready: packets may leave."""
        return not self.full and bool(self._rest or self._control or (ready and self._queue))

    def take(self, budget: int, ready: bool) -> bytes:
        """At most `budget` bytes of the stream: whole frames joined, the last one cut if need be."""
        if self.full:
            return b""
        chunks = [self._rest, *self._control]
        self._control.clear()
        size = sum(map(len, chunks))
        while ready and self._queue and size < budget:
            key, packets = self._queue.popleft()
            self._packets -= len(packets)
            chunks.append(frames.encode_packets(frames.SEND_PACKET, key, packets))
            size += len(chunks[-1])
        data = b"".join(chunks)
        self._rest = data[budget:]
        return data[:budget] if self._rest else data
