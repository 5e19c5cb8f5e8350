"""The client's queue: order, limits, and a stream cut by any budget."""

from __future__ import annotations

from collections import Counter

import pytest

from tsnet.base.keys import NodeKey
from tsnet.derp import frames
from tsnet.derp.outbox import MAX_CONTROL, Outbox

KEY = NodeKey(b"\x01" * 32)
OTHER = NodeKey(b"\x02" * 32)
PING = frames.encode(frames.PING, bytes(8))


def new_outbox() -> tuple[Outbox, Counter[str]]:
    dropped: Counter[str] = Counter()
    return Outbox(dropped), dropped


def packets_of(stream: bytes) -> list[bytes]:
    return [payload[32:] for kind, payload in frames.Decoder().feed(stream) if kind == frames.SEND_PACKET]


def test_control_goes_first_and_packets_wait_until_ready() -> None:
    outbox, _ = new_outbox()
    outbox.send(KEY, [b"a", b"b"], 10)
    assert not outbox.has_output(False)
    assert outbox.take(1000, False) == b""
    outbox.control(PING)
    assert outbox.has_output(False)
    stream = outbox.take(1000, True)
    assert stream == PING + frames.encode_packets(frames.SEND_PACKET, KEY, [b"a", b"b"])
    assert not outbox.has_output(True)
    assert len(outbox) == 0


@pytest.mark.parametrize("budget", [1, 2, 5, 37, 38, 100, 10_000])
def test_any_budget_gives_the_same_stream(budget: int) -> None:
    outbox, _ = new_outbox()
    packets = [b"%d" % number for number in range(20)]
    for packet in packets:
        outbox.control(PING)
        outbox.send(KEY, [packet, packet], 100)
    pieces = []
    while outbox.has_output(True):
        pieces.append(outbox.take(budget, True))
        assert 0 < len(pieces[-1]) <= budget
    assert packets_of(b"".join(pieces)) == [packet for packet in packets for _ in range(2)]


def test_the_oldest_packets_give_way_even_within_a_run() -> None:
    outbox, dropped = new_outbox()
    outbox.send(KEY, [b"1", b"2", b"3"], 4)
    outbox.send(OTHER, [b"4", b"5"], 4)
    outbox.send(KEY, [b"6"], 4)
    assert len(outbox) == 4
    assert packets_of(outbox.take(1000, True)) == [b"3", b"4", b"5", b"6"]
    assert dropped == {"queue": 2}


def test_a_run_longer_than_the_limit_keeps_its_end() -> None:
    outbox, dropped = new_outbox()
    outbox.send(KEY, [b"1", b"2", b"3", b"4", b"5"], 2)
    assert packets_of(outbox.take(1000, True)) == [b"4", b"5"]
    assert dropped == {"queue": 3}


def test_control_frames_nobody_reads_are_bounded() -> None:
    outbox, dropped = new_outbox()
    for _ in range(MAX_CONTROL + 5):
        outbox.control(PING)
    assert outbox.take(1 << 20, True) == PING * MAX_CONTROL
    assert dropped == {"control": 5}


def test_a_full_link_takes_nothing() -> None:
    outbox, _ = new_outbox()
    outbox.control(PING)
    outbox.full = True
    assert outbox.take(1000, True) == b""
    assert not outbox.has_output(True)
    outbox.full = False
    assert outbox.take(1000, True) == PING


def test_a_new_connection_forgets_frames_and_half_frames_but_not_packets() -> None:
    outbox, _ = new_outbox()
    outbox.send(KEY, [b"half sent"], 10)
    outbox.take(20, True)
    outbox.send(KEY, [b"waits"], 10)
    outbox.control(PING)
    outbox.full = True
    outbox.new_connection()
    assert packets_of(outbox.take(1000, True)) == [b"waits"]
