from __future__ import annotations

import select
import socket

import pytest

from tests.sockets.node import fill
from tsnet.sockets import pairs
from tsnet.sockets.inner_end import FAREWELLS, InnerEnd

pytestmark = pytest.mark.usefixtures("kind")


def pair() -> tuple[InnerEnd, socket.socket]:
    inner, outer = pairs.datagram_pair()
    outer.setblocking(False)
    return InnerEnd(inner), outer


def is_readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def farewells(sock: socket.socket) -> int:
    """How many wait."""
    found = 0
    while pairs.is_readable(sock):
        assert sock.recv(100) == b"farewell"
        found += 1
    return found


def test_the_end_is_told_so_many_times_and_then_all_is_silent() -> None:
    end, outer = pair()
    assert not pairs.is_readable(outer)
    end.end(b"farewell")
    end.end(b"farewell")
    assert is_readable(outer)
    assert farewells(outer) == FAREWELLS
    assert not is_readable(outer)
    with pytest.raises(BlockingIOError):
        outer.recv(100)
    assert end.socket.fileno() >= 0
    end.release()
    assert end.socket.fileno() < 0
    outer.close()


def test_what_was_sent_before_comes_first() -> None:
    end, outer = pair()
    end.socket.send(b"data")
    end.end(b"farewell")
    assert outer.recv(100) == b"data"
    assert farewells(outer) == FAREWELLS
    end.release()
    outer.close()


def test_a_full_buffer_has_room_for_the_farewells() -> None:
    if not pairs.HAVE_UNIX:
        pytest.skip("loopback UDP drops what finds no room")
    end, outer = pair()
    sent = fill(end.socket, 1000) // 1000
    end.end(b"farewell")
    for _ in range(sent):
        assert outer.recv(2000) == bytes(1000)
    assert farewells(outer) > 0
    assert not is_readable(outer)
    end.release()
    outer.close()


@pytest.mark.parametrize("first", ["end", "release"])
def test_both_sides_over_the_descriptor_is_closed(first: str) -> None:
    end, outer = pair()
    for step in ("end", "release") if first == "end" else ("release", "end"):
        assert end.socket.fileno() >= 0
        end.end(b"farewell") if step == "end" else end.release()
    assert end.socket.fileno() < 0
    end.end(b"farewell")
    end.release()
    outer.close()


def test_an_application_that_has_gone_without_a_word_leaves_nothing_open() -> None:
    if not pairs.HAVE_UNIX:
        pytest.skip("a loopback pair does not tell its other end")
    end, outer = pair()
    outer.close()
    end.end(b"farewell")
    assert end.socket.fileno() < 0


def test_what_is_sent_to_an_end_that_is_over_is_an_error() -> None:
    if not pairs.HAVE_UNIX:
        pytest.skip("a loopback pair does not tell its other end")
    end, outer = pair()
    end.end(b"farewell")
    with pytest.raises(BrokenPipeError):
        outer.send(b"x")
    end.release()
    outer.close()


def test_a_full_stream_that_takes_no_farewell_ends() -> None:
    if not pairs.HAVE_UNIX:
        pytest.skip("the kernel's loopback buffers grow")
    inner, outer = pairs.stream_pair()
    fill(inner)
    inner.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
    fill(inner)
    end = InnerEnd(inner)
    end.end(b"farewell")
    assert end.socket.fileno() < 0
    while outer.recv(1 << 20):
        pass
    outer.close()
