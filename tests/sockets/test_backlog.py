"""When a full listener is tried again, under a clock that the test sets; the rest: `test_listening`."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator

import pytest

from tests.sockets.node import LOCAL, MemoryPipe
from tsnet.edge.io.reactor import Reactor
from tsnet.sockets import Backlog, ListeningSocket, listening

pytestmark = pytest.mark.usefixtures("kind")


class Clocked:
    """A listener with room for one or two, on a reactor whose time the test sets. rooms: how often there was room."""

    def __init__(self) -> None:
        self.now, self.rooms, self.closed = 0.0, 0, 0
        self.reactor = Reactor(lambda: self.now)
        self.application: ListeningSocket
        self.backlog: Backlog
        self.application, self.backlog = listening(LOCAL, self.reactor, self.close_was_said, backlog=1)
        self.application.setblocking(False)
        self.turn()

    def turn(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.reactor.wait(-math.inf)

    def fill(self) -> None:
        while self.offer():
            pass

    def offer(self) -> bool:
        return self.backlog.offer(MemoryPipe(), self.has_room)

    def has_room(self) -> None:
        self.rooms += 1

    def close_was_said(self) -> None:
        self.closed += 1


@pytest.fixture
def clocked() -> Iterator[Clocked]:
    clocked = Clocked()
    yield clocked
    clocked.application.close()
    clocked.turn()
    clocked.backlog.close()
    clocked.turn()
    clocked.reactor.close()


def test_an_accept_of_this_process_says_at_once_that_there_is_room(clocked: Clocked) -> None:
    clocked.fill()
    clocked.turn()
    assert clocked.rooms == 0
    clocked.application.accept()[0].close()
    clocked.turn()
    assert clocked.rooms == 1


def test_it_is_tried_again_less_and_less_often(clocked: Clocked) -> None:
    clocked.fill()
    delays = []
    for _ in range(8):
        began = clocked.now
        clocked.rooms = 0
        while not clocked.rooms:
            clocked.turn(0.001)
        delays.append(round(clocked.now - began, 3))
        assert not clocked.offer()
    assert delays == [0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.064, 0.064]
    clocked.application.accept()[0].close()
    assert clocked.offer()
    assert clocked.reactor.next_event() < math.inf  # the retry that is under way


def test_a_closed_one_takes_nothing_and_calls_nobody(clocked: Clocked) -> None:
    clocked.fill()
    clocked.backlog.close()
    assert not clocked.offer()
    clocked.turn(1)
    assert clocked.rooms == 0


def test_a_descriptor_out_of_sight_is_looked_at_from_time_to_time(clocked: Clocked) -> None:
    bare = socket.socket(fileno=clocked.application.detach())
    for _ in range(10):
        clocked.turn(0.3)
    assert (clocked.backlog.closed, clocked.closed) == (False, 0)
    bare.close()
    clocked.turn(0.3)
    clocked.turn(0.3)
    assert (clocked.backlog.closed, clocked.closed) == (True, 1)
