from __future__ import annotations

import pytest

from tests.attacks import http2
from tsnet.base.allowance import Allowance, Flood
from tsnet.base.work import UNLIMITED, Work
from tsnet.control.incomingframes import MAX_FRAME_SIZE, REQUEST_COST, RESET_TOKENS, TINY, UPDATE_FOR, IncomingFrames

DATA = http2.frame(http2.DATA, stream=1, payload=bytes(TINY))
PING = http2.frame(http2.PING, payload=bytes(8))


def intake(*, server: bool = False, burst: float = 10) -> IncomingFrames:
    return IncomingFrames(Allowance(0.0, burst=burst), server=server)


def taken(one: IncomingFrames, data: bytes, units: float = UNLIMITED) -> list[bytes]:
    one.feed(data)
    work, found = Work(units), []
    while (frame := one.take(0.0, work)) is not None:
        found.append(frame)
    return found


def test_bytes_become_frames_however_they_are_cut() -> None:
    frames = [http2.settings((1, 2)), PING, DATA, http2.request(1)]
    stream = b"".join(frames)
    for size in (1, 7, len(stream)):
        one = intake()
        assert [f for start in range(0, len(stream), size) for f in taken(one, stream[start : start + size])] == frames
        assert not one.has_more


def test_a_server_expects_the_preface_first() -> None:
    one = intake(server=True)
    assert taken(one, http2.PREFACE[:20]) == []
    assert not one.has_more
    assert taken(one, http2.PREFACE[20:] + http2.settings()) == [http2.PREFACE, http2.settings()]


def test_of_a_frame_that_is_too_long_only_the_header_comes() -> None:
    long = http2.frame(http2.DATA, payload=bytes(MAX_FRAME_SIZE + 1))
    one = intake()
    one.feed(long)
    assert one.take(0.0, Work(UNLIMITED)) == long[:9]


def test_it_stops_when_no_work_is_left_and_goes_on_with_more() -> None:
    one = intake(server=True)
    assert taken(one, http2.PREFACE + http2.request(1) * 3, units=1 + REQUEST_COST) == [
        http2.PREFACE,
        http2.request(1),
    ]
    assert one.has_more
    assert len(taken(one, b"")) == 2
    assert not one.has_more


def test_large_frames_cost_more_than_small_ones() -> None:
    large = http2.frame(http2.DATA, payload=bytes(MAX_FRAME_SIZE))
    assert len(taken(intake(), large * 10, units=12)) == 4
    assert len(taken(intake(), DATA * 10, units=12)) == 10


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (PING, "pings"),
        (http2.settings(), "settings"),
        (http2.window_update(1), "window updates"),
        (http2.frame(http2.PRIORITY, stream=1, payload=bytes(5)), "priorities"),
        (http2.frame(http2.CONTINUATION, stream=1), "continuations"),
        (http2.frame(http2.UNKNOWN), "unknown frames"),
        (http2.frame(http2.DATA, stream=1), "tiny frames"),
        (http2.frame(http2.DATA, stream=1, payload=bytes(TINY - 1)), "tiny frames"),
        (http2.frame(http2.DATA, 0x8, 1, b"\xff" + bytes(256)), "tiny frames"),
        (http2.frame(http2.HEADERS, stream=1), "headers"),
    ],
)
def test_frames_that_move_nothing_are_counted_and_end_it(frame: bytes, kind: str) -> None:
    one = intake()
    assert len(taken(one, frame * 10)) == 10
    with pytest.raises(Flood, match=f"flood of {kind}"):
        taken(one, frame)


def test_resets_cost_more() -> None:
    one = intake(burst=10 * RESET_TOKENS)
    assert len(taken(one, http2.reset(1) * 10)) == 10
    with pytest.raises(Flood, match="flood of resets"):
        taken(one, http2.reset(1))


@pytest.mark.parametrize(
    "frame", [DATA, http2.frame(http2.DATA, http2.END_STREAM, 1), http2.frame(http2.DATA, 0x8, 1, b"\x01" + bytes(65))]
)
def test_frames_that_move_something_are_not(frame: bytes) -> None:
    assert len(taken(intake(), frame * 1000)) == 1000


def test_requests_are_none_of_these() -> None:
    assert len(taken(intake(server=True), http2.PREFACE + http2.request(1) * 1000)) == 1001


def test_each_setting_of_a_frame_counts() -> None:
    one = intake()
    with pytest.raises(Flood):
        taken(one, http2.settings(*((number, 1) for number in range(11))))


def test_window_updates_are_earned_by_what_we_send() -> None:
    one = intake()
    for _ in range(100):
        one.sent(4096)
        assert len(taken(one, http2.window_update(1) * (4096 // UPDATE_FOR))) == 4


def test_a_whole_window_of_data_earns_all_its_updates() -> None:
    """Go's client takes 4 MiB at once, and gives them back with two updates for each 4 KiB."""
    one = IncomingFrames(Allowance(0.0), server=False)
    one.sent(4 << 20)
    assert len(taken(one, http2.window_update(1) * 2048)) == 2048


def test_frames_of_no_stream_count() -> None:
    one = intake(burst=1)
    one.ignored(0.0)
    with pytest.raises(Flood, match="closed streams"):
        one.ignored(0.0)
