"""Lanes: when each was silent, and why one has ended."""

from __future__ import annotations

import math
import threading

import pytest

from tests.interop.harness.streams import Mode, StreamsProgram
from tests.lab.lanes import Lane, Lanes


class Echo(StreamsProgram):
    """A player without a program. After `good` answers it says what it was not asked."""

    def __init__(self, good: float = math.inf) -> None:
        self.good, self.closed = good, threading.Event()
        self.listens: list[str] = []
        self._last = b""

    def listen(self, address: str, mode: Mode, *, size: int = 0) -> None:
        self.listens.append(f"{mode} {address}")

    def open(self, address: str, *, timeout: float = 30) -> int:
        return 1

    def write(self, stream: int, data: bytes) -> None:
        self._last = data

    def read(self, stream: int, size: int, *, timeout: float = 10) -> bytes:
        self.good -= 1
        return self._last if self.good >= 0 else b"what?"

    def close_stream(self, stream: int) -> None:
        self.closed.set()


def test_lanes_go_on_until_the_end() -> None:
    a, b = Echo(), Echo()
    with Lanes({"a": a, "b": b}, [("a", "b")]) as lanes:
        lanes.await_all(5, count=1)
        assert lanes.lanes["a", "b"].is_alive
    assert a.closed.is_set()
    assert b.listens == ["echo :7"]
    assert lanes.lanes["a", "b"].error == ""


def test_a_wrong_answer_ends_a_lane_and_is_told() -> None:
    with (
        Lanes({"a": Echo(good=0), "b": Echo()}, [("a", "b")]) as lanes,
        pytest.raises(AssertionError, match=r"b'what\?' instead of b'       0'"),
    ):
        lanes.await_all(5)


def test_silence_is_a_pause_that_touches_the_time_or_begins_later() -> None:
    lane = Lane(Echo(good=0), "b:7")
    lane.end()
    lane.answers[:] = [10.0, 10.1, 14.0, 14.1, 20.0]
    assert lane.silence(11.0, 12.0) == pytest.approx(3.9)
    assert lane.silence(14.05, 15.0) == pytest.approx(5.9)
    assert lane.silence(10.02, 10.05) == pytest.approx(0.1)
