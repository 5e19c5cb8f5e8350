"""Both byte queues against a plain bytearray."""

from __future__ import annotations

import random

import pytest

from netstack.tcp.buffers import ReceiveBuffer, SendBuffer


@pytest.mark.parametrize("seed", range(30))
def test_send_buffer_is_a_bytearray_with_an_offset(seed: int) -> None:
    chance = random.Random(seed)
    start = chance.randrange(2**33)
    buffer, twin, sent = SendBuffer(start), bytearray(), start
    for _ in range(300):
        action = chance.random()
        if action < 0.5:
            data = chance.randbytes(chance.choice([1, 10, 300, 5000]))
            buffer.append(data, sent)
            twin += data
        elif action < 0.8 and buffer.size:
            at = chance.randrange(buffer.size)
            size = chance.randrange(1, buffer.size - at + 1)
            assert buffer.peek(buffer.start + at, size) == twin[at : at + size]
            sent = max(sent, buffer.start + at + size)
        else:
            count = chance.randrange(max(sent - buffer.start, 0) + 1)
            buffer.release(buffer.start + count)
            del twin[:count]
        assert (buffer.size, buffer.end - buffer.start) == (len(twin), len(twin))


def test_send_buffer_keeps_bytes_without_a_copy() -> None:
    data = bytes(100_000)
    buffer = SendBuffer(5)
    buffer.append(data, 5)
    assert buffer.peek(5, 100_000) is data


def test_single_bytes_are_joined_while_unsent() -> None:
    buffer = SendBuffer(0)
    for _ in range(10_000):
        buffer.append(b"x", 0)
    assert len(buffer._chunks) < 5
    sent = buffer.end
    buffer.append(b"y", sent)
    assert len(buffer._chunks[-1]) == 1


def test_release_beyond_the_end_is_the_fin() -> None:
    buffer = SendBuffer(0)
    buffer.append(b"abc", 0)
    buffer.release(4)
    assert (buffer.start, buffer.end) == (3, 3)


@pytest.mark.parametrize("seed", range(30))
def test_receive_buffer_is_a_bytearray(seed: int) -> None:
    chance = random.Random(seed)
    buffer, twin = ReceiveBuffer(), bytearray()
    for _ in range(300):
        if chance.random() < 0.6:
            data = chance.randbytes(chance.choice([1, 100, 1200]))
            if chance.random() < 0.5:
                buffer.append(data)
            else:
                buffer.extend([data], len(data))
            twin += data
        else:
            limit = chance.choice([0, 1, 700, 100_000])
            assert buffer.read(limit) == twin[:limit]
            del twin[:limit]
        assert buffer.size == len(twin)
    assert b"".join(buffer.take()) == twin
    assert buffer.read(10) == b""


def test_one_chunk_is_read_without_a_copy() -> None:
    buffer, data = ReceiveBuffer(), bytes(1200)
    buffer.append(data)
    assert buffer.read(1 << 20) is data


def test_received_single_bytes_are_joined() -> None:
    buffer = ReceiveBuffer()
    for _ in range(10_000):
        buffer.append(b"x")
    assert len(buffer.chunks) < 5


@pytest.mark.parametrize(("size", "pieces"), [(255, 1), (256, 2), (257, 2)])
def test_less_than_256_bytes_join_what_is_before(size: int, pieces: int) -> None:
    sending, receiving = SendBuffer(0), ReceiveBuffer()
    for data in (bytes(300), bytes(size)):
        sending.append(data, 0)
        receiving.append(data)
    assert len(sending._chunks) == len(receiving.chunks) == pieces


def test_pieces_of_4_kib_are_long_enough() -> None:
    sending, receiving = SendBuffer(0), ReceiveBuffer()
    for data in (bytes(4095), b"a", b"b", b"c"):
        sending.append(data, 0)
        receiving.append(data)
    assert [len(chunk) for chunk in sending._chunks] == [len(chunk) for chunk in receiving.chunks] == [4096, 2]


def test_what_is_sent_is_not_touched_what_follows_it_is_joined() -> None:
    buffer = SendBuffer(10)
    buffer.append(b"sent", 10)
    for byte in b"abc":
        buffer.append(bytes((byte,)), 14)
    assert buffer._chunks == [b"sent", b"abc"]
    assert buffer.peek(12, 4) == b"ntab"


def test_acknowledged_pieces_leave_as_wholes() -> None:
    buffer = SendBuffer(0)
    for start in (0, 1000, 2000):
        buffer.append(bytes(1000), start)
    kept = []
    for seq in (999, 1000, 1999, 2000, 3000):
        buffer.release(seq)
        kept.append((buffer.start, len(buffer._chunks)))
    assert kept == [(999, 3), (1000, 2), (1999, 2), (2000, 1), (3000, 0)]
