from __future__ import annotations

import array
import os
import socket
from collections.abc import Callable

import pytest

from tests.interrupts import interrupted
from tests.sockets.node import is_nothing_left, open_descriptors
from tsnet.sockets import handover, pairs
from tsnet.sockets.handover import Parcel, adopt, copy_of, release_of

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


class Passing:
    """A pair over which a descriptor is on its way, and what was open before that."""

    def __init__(self) -> None:
        self.inner, self.outer = pairs.message_pair()
        self.before = open_descriptors()
        self.travelling, passed = pairs.stream_pair()
        with passed:
            socket.send_fds(self.inner, [b"text"], [passed.fileno()])
        self.adopted: list[socket.socket] = []

    def accept(self) -> None:
        with Parcel() as parcel:
            assert parcel.receive(self.outer, 100) == b"text"
            assert not parcel.is_empty
            self.adopted.append(Adopted(parcel.release))

    def close(self) -> None:
        for sock in (self.inner, self.outer, *self.adopted):
            sock.close()


def test_a_descriptor_that_comes_with_a_message() -> None:
    passing = Passing()
    passing.accept()
    assert not passing.adopted[0].get_inheritable()
    passing.adopted[0].send(b"hello")
    assert passing.travelling.recv(10) == b"hello"
    passing.travelling.close()
    passing.close()


def test_what_nobody_adopts_is_closed() -> None:
    passing = Passing()
    with Parcel() as parcel:
        parcel.receive(passing.outer, 100)
    assert passing.travelling.recv(10) == b""
    passing.travelling.close()
    passing.close()


def test_a_message_without_a_descriptor() -> None:
    passing = Passing()
    passing.accept()
    passing.inner.send(b"bare")
    with Parcel() as parcel:
        assert parcel.receive(passing.outer, 100) == b"bare"
        assert parcel.is_empty
    passing.travelling.close()
    passing.close()


def test_ancillary_data_that_is_cut_short_or_of_another_kind_holds_no_descriptor() -> None:
    number = array.array("i", [7]).tobytes()
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS)
    for data, found in ((number, [7]), (number + b"x", [7]), (number[:3], []), (b"", [])):
        assert list(handover._descriptors((b"", [(*rights, data)], 0, None))) == found
    assert list(handover._descriptors((b"", [(socket.SOL_SOCKET, socket.SCM_RIGHTS + 1, number)], 0, None))) == []


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_handover_leaves_no_descriptor_without_an_owner() -> None:
    for passing in interrupted(Passing, Passing.accept, handover):
        passing.adopted.clear()
        passing.travelling.close()
        if socket.socket.fileno(passing.outer) >= 0:
            passing.outer.close()  # the message is still there: it takes its descriptor with it
        assert is_nothing_left(passing.before - 1)
        passing.close()
