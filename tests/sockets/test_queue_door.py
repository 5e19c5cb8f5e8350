"""The door alone; with its listener: `test_listening`."""

from __future__ import annotations

import errno

import pytest

from tests.sockets.node import Idle, MemoryPipe
from tsnet.sockets import pairs
from tsnet.sockets.inner_end import FAREWELLS
from tsnet.sockets.queue_door import QueueDoor

pytestmark = pytest.mark.usefixtures("kind")


def test_what_is_offered_is_taken_in_order_until_it_is_full() -> None:
    idle, door = Idle(), QueueDoor()
    listening = door.make(2)
    offered = [door.offer(MemoryPipe(remote=("100.64.0.9", port)), idle.reactor) for port in range(3)]
    assert offered == [True, True, False]
    for port in range(2):
        connection = door.take(listening)
        assert connection is not None
        assert connection.getpeername() == ("100.64.0.9", port)
        idle.made.append(connection)
    idle.made.append(listening)
    door.close()
    idle.close()


def test_it_ends_with_farewells() -> None:
    idle, door = Idle(), QueueDoor()
    listening = door.make(2)
    door.end()
    assert [door.take(listening) for _ in range(FAREWELLS)] == [None] * FAREWELLS
    assert not pairs.is_readable(listening)
    door.close()
    with pytest.raises(OSError, match="closed") as failure:
        door.take(listening)
    assert failure.value.errno == errno.EINVAL
    idle.made.append(listening)
    idle.close()


def test_connections_that_nobody_took_are_reset_with_the_last_close() -> None:
    idle, door = Idle(), QueueDoor()
    listening = door.make(2)
    assert door.offer(idle.pipe, idle.reactor)
    door.before_last_close(listening, False)
    listening.close()
    idle.turn()
    assert idle.pipe.log == ["abort", "close"]
    assert not door.is_open()
    door.close()
    idle.close()


def test_a_connection_that_is_offered_while_the_last_close_is_under_way_is_reset() -> None:
    idle, door = Idle(), QueueDoor()
    listening = door.make(2)
    door.before_last_close(listening, False)
    assert door.offer(idle.pipe, idle.reactor)
    listening.close()
    assert not door.is_open()
    door.close()
    idle.turn()
    assert idle.pipe.log == ["abort", "close"]
    idle.close()
