from __future__ import annotations

import socket

import pytest

from tests.sockets.node import fill
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
