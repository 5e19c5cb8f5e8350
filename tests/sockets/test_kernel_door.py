"""The door alone; with its listener: `test_listening`."""

from __future__ import annotations

import socket

import pytest

from tests.sockets.node import Idle, MemoryPipe, is_nothing_left, open_descriptors
from tsnet.sockets import pairs
from tsnet.sockets.inner_end import FAREWELLS
from tsnet.sockets.kernel_door import KernelDoor, _waiting

pytestmark = pytest.mark.skipif(not pairs.HAVE_UNIX, reason="needs AF_UNIX")


def test_what_is_offered_is_taken_in_order() -> None:
    idle, door = Idle(), KernelDoor()
    listening = door.make(4)
    taken = 0

    def count() -> None:
        nonlocal taken
        taken += 1

    door.on_taken = count
    for port in (1, 2):
        assert door.offer(MemoryPipe(remote=("100.64.0.9", port)), idle.reactor)
    for port in (1, 2):
        connection = door.take(listening)
        assert connection is not None
        assert connection.getpeername() == ("100.64.0.9", port)
        idle.made.append(connection)
    assert taken == 2
    idle.made.append(listening)
    door.close()
    idle.close()


def test_the_end_of_a_connection_is_not_remembered() -> None:
    idle, door, before = Idle(), KernelDoor(), set(_waiting)
    listening = door.make(4)
    pipe = MemoryPipe()
    assert door.offer(pipe, idle.reactor)
    pipe.peer_ended = True
    pipe.changed()
    listening.close()
    assert not door.is_open()
    idle.turn()
    assert pipe.log == ["abort", "close"]  # nobody has accepted it
    assert set(_waiting) == before
    door.close()
    idle.close()


def test_the_end_is_told_though_the_queue_is_full() -> None:
    idle, door = Idle(), KernelDoor()
    listening = door.make(1)
    offered = 0
    while door.offer(MemoryPipe(), idle.reactor):
        offered += 1
    assert offered == 2
    door.end()
    for _ in range(offered):
        idle.made.append(door.take(listening) or listening)
    assert [door.take(listening) for _ in range(FAREWELLS)] == [None] * FAREWELLS
    assert not pairs.is_readable(listening)
    idle.made.append(listening)
    idle.close()


def test_it_knows_who_else_has_the_descriptor() -> None:
    before, door = open_descriptors(), KernelDoor()
    listening = door.make(1)
    copy = socket.socket(fileno=listening.detach())
    assert door.is_open()
    copy.close()
    assert not door.is_open()
    door.close()
    assert is_nothing_left(before)
