"""How map messages follow each other in the body of a streaming response.

    u32le length | JSON, or one complete zstd frame of it          repeated, each message on its own

A zstd frame says in its header how large its content is, and is refused before one byte is decompressed when it
does not say, or says more than MAX_MESSAGE: a frame of 4.8 kB can hold 24 MB, and control is not the only one who can
put bytes here once a key leaks. What the content becomes is bounded where it is read (`base.jsonpieces`).

    zstd header   u32le magic 0xFD2FB528 | descriptor | window (unless single segment) | dictionary id | content size

Source: Go control/controlclient/direct.go sendMapRequest, decodeMsg; RFC 8878 §3.1.1.1 for the header.
Not here: what the JSON says (`messages`).
"""

from __future__ import annotations

import functools
from struct import Struct
from typing import Any

from tsnet.base.malformed import MalformedError
from tsnet.base.steps import Steps

MAX_MESSAGE = 32 << 20
"""Bytes of one message, as it comes and as it is decompressed. A map of 10,000 peers has 12 MB."""

PIECE = 256 << 10
"""Bytes that are decompressed in one step."""

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

_LENGTH = Struct("<I")
_DICTIONARY_ID_SIZES = (0, 1, 2, 4)
_CONTENT_SIZES = (1, 2, 4, 8)


class MapFrames:
    """Cuts a response body into messages. Raises MalformedError at a length nobody could mean."""

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def receive(self, data: bytes) -> list[bytes]:
        buffer = self._buffer
        buffer += data
        messages = []
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if length > self._limit:
                raise MalformedError(f"map message of {length} bytes")
            end = start + _LENGTH.size + length
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                messages.append(bytes(view[start + _LENGTH.size : end]))
            start = end
        del buffer[:start]
        return messages


def encode_frame(document: bytes, *, compress: bool) -> bytes:
    """One message as a server sends it; compress when the request said zstd."""
    message: bytes = load_zstd().compress(document) if compress else document
    return _LENGTH.pack(len(message)) + message


def expand(message: bytes, limit: int = MAX_MESSAGE) -> Steps[bytes]:
    """The JSON document of a message. Raises MalformedError for a zstd frame refused, or broken."""
    if not message.startswith(ZSTD_MAGIC):
        return message
    size = content_size(message)
    if size is None:
        raise MalformedError("zstd frame without content size")
    if size > limit:
        raise MalformedError(f"zstd frame of {size} bytes")
    zstd = load_zstd()
    try:
        document: bytes | None = yield from _decompressed(zstd.ZstdDecompressor(), message, size)
    except (zstd.ZstdError, ValueError, EOFError):
        raise MalformedError("zstd frame does not decompress") from None
    if document is None:
        raise MalformedError("zstd frame does not hold what its header says")
    return document


def _decompressed(decompressor: Any, message: bytes, size: int) -> Steps[bytes | None]:
    """None if the frame does not hold exactly `size` bytes, or something stands behind it."""
    pieces, left = [decompressor.decompress(message, PIECE)], size
    while pieces[-1] and not decompressor.eof and left >= 0:
        yield
        left -= len(pieces[-1])
        pieces.append(decompressor.decompress(b"", PIECE))
    document = b"".join(pieces)
    is_whole = decompressor.eof and not decompressor.unused_data and len(document) == size
    return document if is_whole else None


def content_size(message: bytes) -> int | None:
    """What a zstd frame header says about its content; None if it does not, is cut short, or is none."""
    if len(message) < 6 or not message.startswith(ZSTD_MAGIC):
        return None
    descriptor = message[4]
    size_flag, single_segment = descriptor >> 6, descriptor >> 5 & 1
    if not size_flag and not single_segment:
        return None
    start = 5 + (not single_segment) + _DICTIONARY_ID_SIZES[descriptor & 3]
    field = message[start : start + _CONTENT_SIZES[size_flag]]
    if len(field) < _CONTENT_SIZES[size_flag]:
        return None
    return int.from_bytes(field, "little") + (256 if size_flag == 1 else 0)


@functools.cache
def load_zstd() -> Any:
    """The standard library's from 3.14 on, else its backport; at first use."""
    try:
        from compression import zstd
    except ImportError:
        from backports import zstd
    return zstd
