from __future__ import annotations

import socket

import pytest

from tests.interrupts import interrupted
from tests.sockets.node import fill, is_nothing_left, open_descriptors
from tsnet.sockets import pairs


def test_stream_pair_carries_bytes_both_ways_and_its_inner_end_does_not_block(kind: str) -> None:
    inner, outer = pairs.stream_pair()
    with inner, outer:
        assert inner.gettimeout() == 0
        assert outer.gettimeout() is None
        with pytest.raises(BlockingIOError):
            inner.recv(1)
        inner.send(b"to the application")
        assert outer.recv(100) == b"to the application"
        outer.sendall(b"to the node")
        outer.shutdown(socket.SHUT_WR)
        inner.settimeout(5)
        assert inner.recv(100) == b"to the node"
        assert inner.recv(100) == b""


def test_family_is_the_kind_that_was_asked_for(kind: str) -> None:
    inner, outer = pairs.stream_pair()
    with inner, outer:
        assert (inner.family == socket.AF_UNIX) == (kind == "unix")


def test_buffers_are_small_so_that_a_writer_feels_a_reader_that_stops() -> None:
    inner, outer = pairs.stream_pair()
    with inner, outer:
        assert fill(inner) <= 4 * pairs.BUFFER


def test_message_pair_keeps_borders_and_ends_with_an_empty_message() -> None:
    inner, outer = pairs.message_pair()
    with outer:
        inner.send(b"one")
        inner.send(b"two")
        assert [outer.recv(100), outer.recv(100)] == [b"one", b"two"]
        inner.close()
        assert outer.recv(100) == b""


def test_readable_is_what_a_recv_would_find(kind: str) -> None:
    inner, outer = pairs.stream_pair()
    with inner, outer:
        outer.settimeout(10)
        assert not pairs.is_readable(outer)
        inner.send(b"x")
        assert pairs.is_readable(outer)
        assert outer.recv(1, pairs.DONT_WAIT) == b"x"


def test_what_ends_a_block_early_closes_its_sockets() -> None:
    inner, outer = pairs.stream_pair()
    with pytest.raises(KeyboardInterrupt), pairs.closed_on_error(inner, outer):
        raise KeyboardInterrupt
    assert (inner.fileno(), outer.fileno()) == (-1, -1)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("make", ["stream_pair", "datagram_pair"])
def test_an_interrupted_pair_leaves_no_descriptor(kind: str, make: str) -> None:
    def call(made: list[pairs.Pair]) -> None:
        made.append(getattr(pairs, make)())

    before = open_descriptors()
    for made in interrupted(list[pairs.Pair], call, pairs):
        for pair in made:
            for end in pair:
                end.close()
        assert is_nothing_left(before)
