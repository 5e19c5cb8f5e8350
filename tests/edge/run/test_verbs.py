"""What is handed over to an application, and what happens to what nobody takes. The verbs themselves: test_handle."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from tests.house import House
from tsnet.edge.pipes.listening import ListenPipe
from tsnet.edge.pipes.operations import Operation
from tsnet.edge.pipes.packets import PacketPipe
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.run.verbs import hand_over, itself, let_go
from tsnet.errors import DialRefused


@pytest.fixture
def house() -> House:
    return House()


def test_wrap_makes_what_the_application_holds(house: House) -> None:
    a, b = house.up("a"), house.up("b")
    listener = house.finish(a.listen(80, None, 5, lambda pipe: ("listening", pipe)))
    dialled = house.finish(b.dial("a", 80, 5, lambda pipe: ("dialled", pipe)))
    packets = house.finish(a.listen_packet(53, None, 5, lambda pipe: ("packets", pipe)))
    assert [kind for kind, _pipe in (listener, dialled, packets)] == ["listening", "dialled", "packets"]
    assert [type(pipe) for _kind, pipe in (listener, dialled, packets)] == [ListenPipe, Pipe, PacketPipe]
    assert type(house.finish(b.dial_packet("a", 53, 5))) is PacketPipe


def broken(pipe: object) -> object:
    raise OSError(24, "no descriptor is left")


def test_what_cannot_be_made_is_the_callers_error_and_nothing_stays_taken(house: House) -> None:
    a, b = house.up("a"), house.up("b")
    operations: list[Operation[Any]] = [
        a.listen(80, None, 5, broken),
        a.listen_packet(53, None, 5, broken),
        a.dial_packet("b", 53, 5, broken),
    ]
    house.until(lambda: all(operation.done for operation in operations))
    assert all(isinstance(operation._error, OSError) for operation in operations)
    house.run(0.1)
    house.finish(a.listen(80, None, 5))
    house.finish(a.listen_packet(53, None, 5))
    dial = b.dial("a", 80, 5, broken)
    house.until(lambda: dial.done)
    assert isinstance(dial._error, OSError)
    house.run(1)
    assert (a.state, b.state, len(b.attempts)) == ("running", "running", 0)
    assert not [owner for owner in b.pump.owners.values() if isinstance(owner, Pipe)]


def test_a_port_that_nobody_takes_is_free_again(house: House) -> None:
    a, b = house.up("a"), house.up("b")
    listening = a.listen(80, None, 5)
    house.until(lambda: listening.done)
    listening.cancel()  # its caller was interrupted before it could take the value
    house.run(0.1)
    assert isinstance(house.failure(b.dial("a", 80, 5)), DialRefused)
    house.finish(a.listen(80, None, 5))


class Held:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def close(self) -> None:
        self.calls.append("close")


class Connection(Held):
    def abort(self) -> None:
        self.calls.append("abort")


def test_a_connection_is_reset_and_everything_else_closed() -> None:
    for held, expected in ((Held(), "close"), (Connection(), "abort")):
        let_go(held)
        assert held.calls == [expected]
    let_go(object())


def test_what_is_made_too_late_is_let_go() -> None:
    operation: Operation[Any] = Operation()
    operation.cancel()
    made: Any = Connection()
    hand_over(operation, made, itself)
    assert made.calls == ["abort"]


def test_an_operation_that_is_over_is_in_no_circle(house: House) -> None:
    """Its value would otherwise be let go when the garbage collector comes, and not when nobody is left."""
    a = house.up("a")
    gc.collect()
    gc.disable()
    try:
        test_a_port_that_nobody_takes_is_free_again(house)
        left = weakref.ref(a.up(5))
        house.run(0.1)
        assert left() is None
    finally:
        gc.enable()
