from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from tests.interrupts import interrupted
from tests.sockets.node import is_nothing_left, open_descriptors
from tsnet.sockets import handover, pairs
from tsnet.sockets.handover import Arrival, adopt, copy_of, release_of
from tsnet.sockets.rendezvous import Rendezvous

pytestmark = pytest.mark.skipif(not pairs.HAVE_UNIX, reason="no pairs of which the kernel tells the end")


class Adopted(socket.socket):
    """A socket that takes its descriptor over."""

    def __init__(self, release: Callable[[], int]) -> None:
        adopt(self, release)


@pytest.fixture
def pair() -> tuple[socket.socket, socket.socket]:
    return pairs.stream_pair()


def test_what_is_adopted_has_one_owner(pair: tuple[socket.socket, socket.socket]) -> None:
    inner, outer = pair
    number = outer.fileno()
    with inner, Adopted(release_of(outer)) as sock:
        assert (sock.fileno(), outer.fileno()) == (number, -1)
        assert sock.family == socket.AF_UNIX
        with sock.makefile("rb") as file:  # what `socket.__init__` would have set is set
            inner.send(b"hello")
            assert file.read(5) == b"hello"
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(number)


def test_a_copy_leaves_the_original(pair: tuple[socket.socket, socket.socket]) -> None:
    inner, outer = pair
    with inner, outer:
        with Adopted(copy_of(outer)) as copy:
            assert copy.fileno() != outer.fileno()
            copy.send(b"x")
        outer.send(b"y")
        assert inner.recv(2) == b"xy"


class Arriving:
    """A connection that waits to be accepted, and what was open before that."""

    def __init__(self) -> None:
        self.rendezvous = Rendezvous()
        self.listening = self.rendezvous.make(1)
        self.listening.setblocking(False)
        self.before = open_descriptors()
        self.caller = socket.socket(socket.AF_UNIX)
        self.caller.bind("")  # any name
        self.rendezvous.connect(self.caller)
        self.adopted: list[socket.socket] = []

    def accept(self) -> None:
        with Arrival() as arrival:
            assert arrival.accept(self.listening) == self.caller.getsockname()
            self.adopted.append(Adopted(arrival.release))

    def close(self) -> None:
        for sock in (self.caller, self.listening, *self.adopted):
            sock.close()
        self.rendezvous.close()


def test_a_connection_that_is_accepted() -> None:
    arriving = Arriving()
    arriving.accept()
    assert not arriving.adopted[0].get_inheritable()
    arriving.adopted[0].send(b"hello")
    assert arriving.caller.recv(10) == b"hello"
    arriving.close()


def test_what_nobody_adopts_is_closed() -> None:
    arriving = Arriving()
    with Arrival() as arrival:
        arrival.accept(arriving.listening)
    assert arriving.caller.recv(10) == b""
    arriving.close()


def test_nothing_to_accept() -> None:
    arriving = Arriving()
    arriving.accept()
    with Arrival() as arrival, pytest.raises(BlockingIOError):
        arrival.accept(arriving.listening)
    arriving.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_handover_leaves_no_descriptor_without_an_owner() -> None:
    for arriving in interrupted(Arriving, Arriving.accept, handover):
        arriving.adopted.clear()
        arriving.caller.close()
        assert is_nothing_left(arriving.before)
        arriving.close()
