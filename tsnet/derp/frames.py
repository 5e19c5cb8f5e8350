"""DERP frames: a byte stream cut into typed, length-prefixed pieces.

    type u8 | length u32 BE, of the payload | payload

| type | name          | direction | payload                                                             |
|------|---------------|-----------|---------------------------------------------------------------------|
| 0x01 | ServerKey     | S→C       | magic 8, server public key 32                                       |
| 0x02 | ClientInfo    | C→S       | client node key 32, nonce 24, box(JSON)                             |
| 0x03 | ServerInfo    | S→C       | nonce 24, box(JSON)                                                 |
| 0x04 | SendPacket    | C→S       | destination node key 32, packet                                     |
| 0x05 | RecvPacket    | S→C       | source node key 32, packet                                          |
| 0x06 | KeepAlive     | S→C       | empty                                                               |
| 0x07 | NotePreferred | C→S       | 1 byte: 1 home, 0 not                                               |
| 0x08 | PeerGone      | S→C       | node key 32, reason u8 (old servers leave it out: disconnected)     |
| 0x09 | PeerPresent   | S→mesh    | node key 32 and where it connects from                              |
| 0x0a | ForwardPacket | mesh→S    | source 32, destination 32, packet                                   |
| 0x10 | WatchConns    | mesh→S    | empty                                                               |
| 0x11 | ClosePeer     | mesh→S    | node key 32                                                         |
| 0x12 | Ping          | either    | 8 bytes                                                             |
| 0x13 | Pong          | either    | the same 8 bytes                                                    |
| 0x14 | Health        | S→C       | UTF-8 text; empty: well again                                       |
| 0x15 | Restarting    | S→C       | reconnect in, then try for: two u32 BE of milliseconds              |

Source: Go derp/derp.go.
Not here: the boxes of the login (`login`), what a frame makes a side do (`client`, `server`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import repeat
from struct import Struct

SERVER_KEY = 0x01
CLIENT_INFO = 0x02
SERVER_INFO = 0x03
SEND_PACKET = 0x04
RECV_PACKET = 0x05
KEEP_ALIVE = 0x06
NOTE_PREFERRED = 0x07
PEER_GONE = 0x08
PEER_PRESENT = 0x09
FORWARD_PACKET = 0x0A
WATCH_CONNS = 0x10
CLOSE_PEER = 0x11
PING = 0x12
PONG = 0x13
HEALTH = 0x14
RESTARTING = 0x15

MESH_FRAMES = frozenset({FORWARD_PACKET, WATCH_CONNS, CLOSE_PEER})

PEER_GONE_DISCONNECTED = 0x00
PEER_GONE_NOT_HERE = 0x01

PROTOCOL_VERSION = 2
KEY_SIZE = 32
HEADER_SIZE = 5
MAX_PACKET_SIZE = 65_536
MAX_FRAME_SIZE = 1 << 20

_HEADER = Struct(">BI")
_RESTARTING = Struct(">II")


def encode(frame_type: int, payload: bytes = b"") -> bytes:
    return _HEADER.pack(frame_type, len(payload)) + payload


def encode_packets(frame_type: int, key: bytes, packets: Sequence[bytes]) -> bytes:
    """SendPacket or RecvPacket frames, one per packet. `key`: the destination's or the source's.

    Packets of one length share one header, joined in C: 0.1 us a packet.
    """
    chunks: list[bytes] = []
    start, count = 0, len(packets)
    while start < count:
        size = len(packets[start])
        end = start + 1
        while end < count and len(packets[end]) == size:
            end += 1
        head = _HEADER.pack(frame_type, KEY_SIZE + size) + key
        chunks += head, head.join(packets[start:end])
        start = end
    return b"".join(chunks)


def encode_peer_gone(key: bytes, reason: int) -> bytes:
    return encode(PEER_GONE, key + bytes([reason]))


def encode_restarting(reconnect_in: float, try_for: float) -> bytes:
    return encode(RESTARTING, _RESTARTING.pack(int(reconnect_in * 1000), int(try_for * 1000)))


def decode_restarting(payload: bytes) -> tuple[float, float] | None:
    """Seconds until to reconnect, and for how long to try; None when the payload is short."""
    if len(payload) < _RESTARTING.size:
        return None
    reconnect_ms, try_ms = _RESTARTING.unpack_from(payload)
    return reconnect_ms / 1000, try_ms / 1000


class Decoder:
    """Cuts a stream into `(type, payload)`. Holds what it was asked not to cut yet, and at most one unfinished frame.

    has_more: whether a whole frame, or one that is refused, is left over.
    refused: set, for good, by a frame longer than `limit`: what follows cannot be read. The frames before it
        still come out.
    """

    __slots__ = ("_have", "_pieces", "_want", "has_more", "limit", "refused")

    def __init__(self, limit: int = MAX_FRAME_SIZE) -> None:
        self.limit: int = limit
        self.refused: bool = False
        self.has_more: bool = False
        self._pieces: list[bytes] = []
        self._have = 0
        self._want = HEADER_SIZE

    def hold(self, data: bytes) -> None:
        """Take the next bytes of the stream, for `feed` to cut."""
        if data and not self.refused:
            self._pieces.append(data)
            self._have += len(data)
            self.has_more = self.has_more or self._have >= self._want

    def feed(self, data: bytes, most: int = sys.maxsize) -> list[tuple[int, bytes]]:
        """The frames that are whole with `data`, in order; at most so many, and the others by the next call."""
        if self.refused:
            return []
        if self._pieces:
            self.hold(data)
            if self._have < self._want:
                return []
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        frames: list[tuple[int, bytes]] = []
        start = self._cut(data, frames, most)
        rest = data[start:]
        self._pieces = [rest] if rest else []
        self._have = len(rest)
        self.has_more = self._have >= self._want
        return frames

    def _cut(self, data: bytes, frames: list[tuple[int, bytes]], most: int) -> int:
        """Append whole frames of `data`; return where the next one begins, and note what it wants."""
        unpack, append, limit = _HEADER.unpack_from, frames.append, self.limit
        start, total = 0, len(data)
        for _ in repeat(None, most):  # the fastest way to count
            if start + HEADER_SIZE > total:
                break
            frame_type, length = unpack(data, start)
            if length > limit:
                self.refused = True
                return total
            payload = start + HEADER_SIZE
            end = payload + length
            if end > total:
                self._want = end - start
                return start
            append((frame_type, data[payload:end]))
            start = end
        self._want = HEADER_SIZE
        return start
