"""HTTP/2 frames on their way in: cut, weighed and counted, before h2 takes them apart.

    bytes ──feed──► whole frames ──take──► one frame, while the turn has work left and the connection its allowance

| frame                                  | units of work           | counted as                        |
|----------------------------------------|-------------------------|-----------------------------------|
| DATA, not tiny or the end of a stream  | 1, and 1 for each 8 KiB | nothing: it moves something on    |
| DATA below TINY bytes                  | 1                       | "tiny frames"                     |
| HEADERS, to a server                   | REQUEST_COST, and more  | nothing: it is a request          |
| HEADERS, to a client                   | 4, and more by its size | "headers"                         |
| SETTINGS                               | 1, and more by its size | "settings", each setting in it    |
| RST_STREAM                             | 1                       | "resets", RESET_TOKENS each       |
| PING, PRIORITY, unknown, …             | 1, and more by its size | by its name                       |

WINDOW_UPDATEs are earned by the DATA that we send. A real peer sends some of all these, but never a thousand more than
33 a second. `Flood` closes the connection of one that does.

Source: RFC 9113 §4.1, §6, §10.5.
Not here: what frames mean (`http`), the rule by which one is closed (`base.allowance`).
"""

from __future__ import annotations

from struct import Struct

from tsnet.base.allowance import Allowance
from tsnet.base.work import Work

PREFACE_SIZE = 24
HEADER_SIZE = 9
MAX_FRAME_SIZE = 16_384

TINY = 64
"""Bytes of a DATA frame that does not end its stream. A keep-alive of a map stream is below this, once in 50 s."""

REQUEST_COST = 20
"""Units for a request: to decode its headers and its JSON, to decide it and to answer."""

RESET_TOKENS = 4
"""Tokens for a reset: with the request that it takes back, it costs ten times as much as a ping."""

DATA, HEADERS, RST_STREAM, SETTINGS = 0x0, 0x1, 0x3, 0x4
END_STREAM, PADDED = 0x1, 0x8
NAMES = {
    2: "priorities",
    3: "resets",
    4: "settings",
    5: "pushes",
    6: "pings",
    7: "goodbyes",
    8: "window updates",
    9: "continuations",
}
UNKNOWN = "unknown frames"

UPDATE_FOR = 1024
"""For each so many bytes of DATA that we send, the other end may send a window update: Go sends two for each 4 KiB."""

_HEADER = Struct(">HBBBI")  # length without its lowest byte, that byte, type, flags, stream
_SETTING_SIZE = 6


class IncomingFrames:
    """server: whether requests come in, behind the preface; else answers. now: when the connection began."""

    __slots__ = ("_allowance", "_buffer", "_preface", "_server", "_start", "kind")

    def __init__(self, allowance: Allowance, *, server: bool) -> None:
        self.kind: int = DATA
        """The type of the frame that `take` gave last."""
        self._allowance = allowance
        self._server = server
        self._preface = PREFACE_SIZE if server else 0
        self._buffer = bytearray()
        self._start = 0

    def feed(self, data: bytes) -> None:
        if self._start:
            del self._buffer[: self._start]
            self._start = 0
        self._buffer += data

    @property
    def has_more(self) -> bool:
        """Whether `take` would give something."""
        return self._next_size() is not None

    def take(self, now: float, work: Work) -> bytes | None:
        """The next frame; None if none is whole, or no work is left. Raises Flood.

        A frame that is too long comes as its header, at which h2 ends the connection.
        """
        if work.left <= 0:
            return None
        size = self._next_size()
        if size is None:
            return None
        start = self._start
        end = self._start = start + size
        if self._preface:
            self._preface = 0
            work.spend(1)
        else:
            self._weigh(start, size - HEADER_SIZE, now, work)
        frame = bytes(self._buffer[start:end])
        if end == len(self._buffer):
            self._buffer.clear()
            self._start = 0
        return frame

    def sent(self, size: int) -> None:
        """So many bytes of DATA have left."""
        self._allowance.earn(size / UPDATE_FOR)

    def ignored(self, now: float) -> None:
        """The frame taken last belonged to no stream that is open."""
        self._allowance.spend("frames of closed streams", now)

    def _next_size(self) -> int | None:
        have = len(self._buffer) - self._start
        if self._preface:
            return self._preface if have >= self._preface else None
        if have < HEADER_SIZE:
            return None
        high, low, *_rest = _HEADER.unpack_from(self._buffer, self._start)
        length = high << 8 | low
        if length > MAX_FRAME_SIZE:
            return HEADER_SIZE
        return HEADER_SIZE + length if have >= HEADER_SIZE + length else None

    def _weigh(self, start: int, length: int, now: float, work: Work) -> None:
        """Spend what the frame costs."""
        *_length, kind, flags, _stream = _HEADER.unpack_from(self._buffer, start)
        self.kind = kind
        if kind == DATA:
            work.spend(1 + (length >> 13))
            if not flags & END_STREAM and self._is_tiny(start, length, flags):
                self._allowance.spend("tiny frames", now)
        elif kind == HEADERS:
            work.spend((REQUEST_COST if self._server else 4) + (length >> 4))
            if not self._server:
                self._allowance.spend("headers", now)
        else:
            work.spend(1 + (length >> 6))
            tokens = RESET_TOKENS if kind == RST_STREAM else 1
            if kind == SETTINGS:
                tokens = max(1, length // _SETTING_SIZE)
            self._allowance.spend(NAMES.get(kind, UNKNOWN), now, tokens)

    def _is_tiny(self, start: int, length: int, flags: int) -> bool:
        if flags & PADDED and length:
            length -= 1 + self._buffer[start + HEADER_SIZE]
        return length < TINY
