"""The relay's queues for one client: free, full, and full again."""

from __future__ import annotations

from collections import Counter

import pytest

from tsnet.derp import frames
from tsnet.derp.queues import (
    DISCO_MAGIC,
    DISCO_MIN_SIZE,
    MAX_CONTROL,
    QUEUE_PACKETS,
    STREAM_LIMIT,
    Queues,
    looks_like_disco,
)

SOURCE = b"\x01" * 32


def new_queues() -> tuple[Queues, Counter[str]]:
    dropped: Counter[str] = Counter()
    return Queues(dropped), dropped


def packets_of(stream: bytes) -> list[bytes]:
    return [payload[32:] for kind, payload in frames.Decoder().feed(stream) if kind == frames.RECV_PACKET]


def disco(number: int) -> bytes:
    return DISCO_MAGIC + bytes(100) + bytes([number])


def test_what_looks_like_disco() -> None:
    assert looks_like_disco(DISCO_MAGIC + bytes(DISCO_MIN_SIZE - len(DISCO_MAGIC)))
    assert not looks_like_disco(DISCO_MAGIC + bytes(DISCO_MIN_SIZE - len(DISCO_MAGIC) - 1))
    assert not looks_like_disco(bytes(100))


def test_with_room_nothing_is_lost_and_order_is_kept() -> None:
    queues, dropped = new_queues()
    assert queues.is_empty
    packets = [b"%d" % number for number in range(1000)]
    for packet in packets:
        queues.packets(SOURCE, [packet])
    queues.control(frames.encode(frames.KEEP_ALIVE))
    assert not queues.is_empty
    stream = queues.take(1 << 20)
    assert stream.startswith(frames.encode(frames.KEEP_ALIVE))
    assert packets_of(stream) == packets
    assert queues.is_empty
    assert not dropped


def test_each_class_keeps_its_newest_thirty_two_and_both_get_through() -> None:
    queues, dropped = new_queues()
    queues.full = True
    queues.packets(SOURCE, [b"%d" % number for number in range(100)])
    queues.packets(SOURCE, [disco(number) for number in range(40)])
    assert queues.take(1 << 20) == b""
    assert not queues.is_empty
    queues.full = False
    found = packets_of(queues.take(1 << 20))
    assert [packet for packet in found if not looks_like_disco(packet)] == [b"%d" % n for n in range(68, 100)]
    assert [packet for packet in found if looks_like_disco(packet)] == [disco(n) for n in range(8, 40)]
    assert [looks_like_disco(packet) for packet in found[:4]] == [True, False, True, False]
    assert dropped == {"queue": 100 + 40 - 2 * QUEUE_PACKETS}


def test_a_stream_that_nobody_takes_counts_as_a_full_link() -> None:
    queues, dropped = new_queues()
    run = [bytes(1000)] * 49
    while not dropped:
        queues.packets(SOURCE, run)
    size = len(queues.take(1 << 30))
    assert STREAM_LIMIT < size < STREAM_LIMIT + 100_000


def test_control_frames_nobody_reads_are_bounded() -> None:
    queues, dropped = new_queues()
    for _ in range(MAX_CONTROL + 3):
        queues.control(b"x")
    assert queues.take(1 << 20) == b"x" * MAX_CONTROL
    assert dropped == {"control": 3}


@pytest.mark.parametrize("budget", [1, 7, 38, 1000])
def test_any_budget_gives_the_same_stream(budget: int) -> None:
    queues, _ = new_queues()
    packets = [b"%d" % number for number in range(30)]
    queues.packets(SOURCE, packets)
    stream = b""
    while not queues.is_empty:
        piece = queues.take(budget)
        assert 0 < len(piece) <= budget
        stream += piece
    assert packets_of(stream) == packets


def test_a_flood_loses_its_own_packets() -> None:
    """What others have queued for the same client stays, and what they send afterwards gets in."""
    other, third = b"\x02" * 32, b"\x03" * 32
    queues, dropped = new_queues()
    queues.full = True
    queues.packets(other, [b"before %d" % number for number in range(3)])
    queues.packets(SOURCE, [b"flood %d" % number for number in range(1000)])
    queues.packets(third, [b"after %d" % number for number in range(3)])
    queues.packets(SOURCE, [b"more"])
    queues.full = False
    packets = packets_of(queues.take(1 << 20))
    assert len(packets) == QUEUE_PACKETS
    assert [packet for packet in packets if not packet.startswith((b"flood", b"more"))] == [
        *(b"before %d" % number for number in range(3)),
        *(b"after %d" % number for number in range(3)),
    ]
    assert packets[-1] == b"more"
    assert dropped == {"queue": 1007 - QUEUE_PACKETS}
