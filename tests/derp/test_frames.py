"""Frames: golden bytes both ways, every way to cut a stream, every limit."""

from __future__ import annotations

import random

import pytest

from tsnet.base.keys import NodeKey
from tsnet.derp import frames
from tsnet.derp.frames import Decoder, encode, encode_packets

KEY = NodeKey(bytes(range(32)))

GOLDEN = [  # every row of the table, as Go derp.WriteFrame writes it
    (frames.SERVER_KEY, b"DERP\xf0\x9f\x94\x91" + KEY, "0100000028" + "44455250f09f9491" + KEY.hex()),
    (frames.CLIENT_INFO, KEY + b"n", "0200000021" + KEY.hex() + "6e"),
    (frames.SERVER_INFO, b"box", "0300000003626f78"),
    (frames.SEND_PACKET, KEY + b"hello", "0400000025" + KEY.hex() + "68656c6c6f"),
    (frames.RECV_PACKET, KEY + b"hello", "0500000025" + KEY.hex() + "68656c6c6f"),
    (frames.KEEP_ALIVE, b"", "0600000000"),
    (frames.NOTE_PREFERRED, b"\1", "070000000101"),
    (frames.PEER_GONE, KEY + b"\1", "0800000021" + KEY.hex() + "01"),
    (frames.PEER_PRESENT, KEY, "0900000020" + KEY.hex()),
    (frames.FORWARD_PACKET, KEY + KEY, "0a00000040" + KEY.hex() * 2),
    (frames.WATCH_CONNS, b"", "1000000000"),
    (frames.CLOSE_PEER, KEY, "1100000020" + KEY.hex()),
    (frames.PING, b"12345678", "12000000083132333435363738"),
    (frames.PONG, b"12345678", "13000000083132333435363738"),
    (frames.HEALTH, b"dup", "1400000003647570"),
    (frames.RESTARTING, b"\0\0\x03\xe8\0\0\x75\x30", "1500000008000003e800007530"),
]
STREAM = b"".join(bytes.fromhex(text) for _type, _payload, text in GOLDEN)
FRAMES = [(frame_type, payload) for frame_type, payload, _text in GOLDEN]


@pytest.mark.parametrize(("frame_type", "payload", "text"), GOLDEN)
def test_golden_frame_both_ways(frame_type: int, payload: bytes, text: str) -> None:
    assert encode(frame_type, payload) == bytes.fromhex(text)
    assert Decoder().feed(bytes.fromhex(text)) == [(frame_type, payload)]


def test_the_table_of_the_docstring_is_the_table_of_the_constants() -> None:
    rows = [line.split("|") for line in (frames.__doc__ or "").splitlines() if line.startswith("| 0x")]
    for number, name in ((row[1].strip(), row[2].strip()) for row in rows):
        constant = "".join(f"_{c}" if c.isupper() else c.upper() for c in name).strip("_")
        assert getattr(frames, constant) == int(number, 16)
    assert len(rows) == len(GOLDEN)


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_a_stream_cut_anywhere_gives_the_same_frames(cut: int) -> None:
    decoder = Decoder()
    assert decoder.feed(STREAM[:cut]) + decoder.feed(STREAM[cut:]) == FRAMES


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 36, 37, 38])
def test_a_stream_in_small_pieces_gives_the_same_frames(size: int) -> None:
    decoder = Decoder()
    found = [frame for at in range(0, len(STREAM), size) for frame in decoder.feed(STREAM[at : at + size])]
    assert found == FRAMES


@pytest.mark.parametrize("length", range(len(STREAM)))
def test_a_truncated_stream_gives_only_whole_frames(length: int) -> None:
    decoder = Decoder()
    found = decoder.feed(STREAM[:length])
    assert found == FRAMES[: len(found)]
    assert sum(5 + len(payload) for _type, payload in found) <= length
    assert not decoder.refused


def test_nothing_gives_nothing() -> None:
    assert Decoder().feed(b"") == []


def test_a_frame_at_the_limit_passes_and_above_it_the_stream_is_refused_for_good() -> None:
    decoder = Decoder(limit=10)
    assert decoder.feed(encode(1, bytes(10)) + encode(2, bytes(11)) + encode(3)) == [(1, bytes(10))]
    assert decoder.refused
    assert decoder.feed(encode(3)) == []


def test_the_header_alone_of_an_oversize_frame_is_refused() -> None:
    decoder = Decoder()
    assert decoder.feed(encode(4, b"")[:1] + (frames.MAX_FRAME_SIZE + 1).to_bytes(4, "big")) == []
    assert decoder.refused


def test_flipped_bits_never_raise() -> None:
    for position in range(len(STREAM) * 8):
        flipped = bytearray(STREAM)
        flipped[position // 8] ^= 1 << position % 8
        Decoder().feed(bytes(flipped))


def test_an_unfinished_megabyte_in_small_pieces_costs_linear_time() -> None:
    decoder = Decoder()
    whole = encode(frames.RECV_PACKET, bytes(frames.MAX_FRAME_SIZE))
    found = [frame for at in range(0, len(whole), 100) for frame in decoder.feed(whole[at : at + 100])]
    assert [len(payload) for _type, payload in found] == [frames.MAX_FRAME_SIZE]


@pytest.mark.parametrize("seed", range(20))
def test_packets_of_any_lengths_come_out_as_they_went_in(seed: int) -> None:
    rng = random.Random(seed)
    packets = [rng.randbytes(rng.choice([0, 1, 100, 1312, 1312, 1312])) for _ in range(rng.randrange(60))]
    stream = encode_packets(frames.SEND_PACKET, KEY, packets)
    assert stream == b"".join(encode(frames.SEND_PACKET, KEY + packet) for packet in packets)
    assert Decoder().feed(stream) == [(frames.SEND_PACKET, KEY + packet) for packet in packets]


def test_restarting_is_milliseconds_and_short_ones_are_none() -> None:
    payload = encode_payload = frames.encode_restarting(1.0, 30.0)[5:]
    assert payload == b"\0\0\x03\xe8\0\0\x75\x30"
    assert frames.decode_restarting(encode_payload) == (1.0, 30.0)
    assert frames.decode_restarting(payload + b"later") == (1.0, 30.0)
    assert all(frames.decode_restarting(payload[:length]) is None for length in range(8))


def test_peer_gone() -> None:
    assert frames.encode_peer_gone(KEY, frames.PEER_GONE_NOT_HERE) == bytes.fromhex("0800000021" + KEY.hex() + "01")


def test_a_decoder_cuts_as_many_frames_as_it_is_asked_for() -> None:
    decoder = frames.Decoder()
    stream = b"".join(frames.encode(frames.PING, bytes([number]) * 8) for number in range(5))
    decoder.hold(stream[:-1])
    assert decoder.has_more
    assert len(decoder.feed(b"", 3)) == 3
    assert decoder.has_more
    assert len(decoder.feed(b"", 3)) == 1
    assert not decoder.has_more
    decoder.hold(b"")
    assert not decoder.has_more
    decoder.hold(stream[-1:])
    assert decoder.has_more
    assert decoder.feed(b"", 3) == [(frames.PING, b"\x04" * 8)]
    assert not decoder.has_more


def test_a_frame_that_is_too_long_is_refused_once_those_before_it_are_cut() -> None:
    decoder = frames.Decoder(8)
    decoder.hold(frames.encode(frames.PING, bytes(8)) * 2 + frames.encode(frames.PING, bytes(9)))
    assert len(decoder.feed(b"", 2)) == 2
    assert decoder.has_more
    assert not decoder.refused
    assert decoder.feed(b"", 2) == []
    assert decoder.refused
    decoder.hold(bytes(100))
    assert not decoder.has_more
