from __future__ import annotations

import contextlib
import os
import struct

import pytest
from backports import zstd

from tsnet.base.malformed import MalformedError
from tsnet.base.steps import finish
from tsnet.control.mapframes import MAX_MESSAGE, MapFrames, content_size, encode_frame, expand

KEEP_ALIVE = b'{"KeepAlive":true}'
MESSAGES = [KEEP_ALIVE, b"{}", b'{"Domain":"' + b"x" * 5000 + b'"}', bytes(70_000)]


# A message of Headscale 0.29.2 as it came over the wire (klauspost/compress, EncodeAll).
GOLDEN = bytes.fromhex(
    "28b52ffd24308101007b22436f6e74726f6c54696d65223a22323032362d31312d32345432313a30393a32382e3636343337343930325a227d11ee41fb"
)
GOLDEN_DOCUMENT = b'{"ControlTime":"2026-11-24T21:09:28.664374902Z"}'


def expanded(message: bytes) -> bytes:
    return finish(expand(message))


def test_a_frame_that_go_made() -> None:
    assert content_size(GOLDEN) == len(GOLDEN_DOCUMENT)
    assert expanded(GOLDEN) == GOLDEN_DOCUMENT


def without_size(document: bytes) -> bytes:
    return zstd.compress(document, options={int(zstd.CompressionParameter.content_size_flag): 0})


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("cut", [1, 3, 7, 1 << 20])
def test_messages_are_cut_out_of_any_stream_of_pieces(compress: bool, cut: int) -> None:
    wire = b"".join(encode_frame(message, compress=compress) for message in MESSAGES[:3])
    frames = MapFrames()
    found = [message for start in range(0, len(wire), cut) for message in frames.receive(wire[start : start + cut])]
    assert [expanded(message) for message in found] == MESSAGES[:3]


def test_the_length_is_little_endian() -> None:
    assert encode_frame(KEEP_ALIVE, compress=False) == b"\x12\0\0\0" + KEEP_ALIVE


def test_a_length_beyond_the_limit_is_refused_at_once() -> None:
    with pytest.raises(MalformedError, match=f"map message of {MAX_MESSAGE + 1} bytes"):
        MapFrames().receive(struct.pack("<I", MAX_MESSAGE + 1))


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_535, 65_536, 65_791, 65_792, 300_000])
def test_the_header_says_the_size(size: int) -> None:
    frame = zstd.compress(bytes(size))
    assert content_size(frame) == size
    assert expanded(frame) == bytes(size)


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("28b52ffd 00 58", None),  # no content size
        ("28b52ffd 20 12", 18),  # single segment, one byte
        ("28b52ffd 40 58 0001", 512),  # two bytes, plus 256
        ("28b52ffd 60 0001", 512),  # the same, single segment
        ("28b52ffd 83 58 aabbccdd 01000000", 1),  # four bytes behind a dictionary id of four
        ("28b52ffd c1 58 aa 0000000001000000", 1 << 32),  # eight bytes behind a dictionary id of one
        ("28b52ffd c0 58 000000", None),  # cut short
        ("28b52ffd", None),
    ],
)
def test_headers_by_the_letter_of_rfc_8878(header: str, size: int | None) -> None:
    assert content_size(bytes.fromhex(header)) == size


@pytest.mark.parametrize("message", [KEEP_ALIVE, b'{"Pong":1}', b'{"Node":{"ID":1}}'])
def test_json_has_no_zstd_header(message: bytes) -> None:
    assert content_size(message) is None


def test_a_bomb_is_refused_before_it_is_opened() -> None:
    bomb = zstd.compress(bytes(MAX_MESSAGE + 1), level=1)
    assert len(bomb) < 10_000
    with pytest.raises(MalformedError, match=f"zstd frame of {MAX_MESSAGE + 1} bytes"):
        expanded(bomb)


def test_a_frame_without_size_is_refused() -> None:
    with pytest.raises(MalformedError, match="without content size"):
        expanded(without_size(bytes(1000)))


def test_a_frame_that_lies_about_its_size_is_refused() -> None:
    frame = bytearray(zstd.compress(os.urandom(100) + bytes(200)))
    for lie in (1, 5, 255):
        frame[5] = lie
        with pytest.raises(MalformedError):
            expanded(bytes(frame))


def test_one_message_is_one_frame() -> None:
    with pytest.raises(MalformedError):
        expanded(zstd.compress(b"{}") + zstd.compress(b"{}"))
    with pytest.raises(MalformedError):
        expanded(zstd.compress(b"{}") + b"behind")


@pytest.mark.parametrize("length", range(4, 28))
def test_a_truncated_frame_is_malformed(length: int) -> None:
    frame = zstd.compress(KEEP_ALIVE)
    with pytest.raises(MalformedError):
        expanded(frame[: min(length, len(frame) - 1)])


@pytest.mark.parametrize("index", range(27))
def test_a_flipped_bit_raises_nothing_but_malformed(index: int) -> None:
    frame = bytearray(zstd.compress(KEEP_ALIVE))
    frame[index % len(frame)] ^= 0x10
    with contextlib.suppress(MalformedError):
        expanded(bytes(frame))


def test_plain_json_passes() -> None:
    assert expanded(KEEP_ALIVE) == KEEP_ALIVE
    assert expanded(b"") == b""
