from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults import no_collector
from tests.house import House
from tsnet.base.wording import worded
from tsnet.cli.words import WORDS
from tsnet.edge.pipes.operations import Operation
from tsnet.edge.run.handle import Handle
from tsnet.errors import ConfigError, DeniedByPolicy, DialRefused, DialTimeout, HostUnreachable, NotOnTailnet, NotUp


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def two(house: House) -> tuple[Handle, Handle]:
    return house.up("a"), house.up("b")


def unplug(house: House, handle: Handle) -> None:
    """The peer's machine loses power: its datagrams and its relay's go nowhere, and nobody is told."""
    house.host.remove(handle.pump)


def test_a_dial_gives_a_pipe_with_both_addresses(house: House, two: tuple[Handle, Handle]) -> None:
    a, b = two
    house.finish(a.listen(80, None, 5))
    pipe = house.finish(b.dial("a", 80, 5))
    assert pipe.remote == (str(a.node.addresses[0]), 80)
    assert pipe.local[0] == str(b.node.addresses[0])
    assert not b.attempts


def test_nobody_listens_there(house: House, two: tuple[Handle, Handle]) -> None:
    error = house.failure(two[1].dial("a", 81, 5))
    assert isinstance(error, DialRefused)
    assert isinstance(error, ConnectionRefusedError)
    assert "a:81" in str(error)


def test_the_policy_says_no_and_that_is_refused_at_once() -> None:
    house = House(policy=[{"src": ["*"], "dst": ["*:80"]}])
    a, b = house.up("a"), house.up("b")
    house.finish(a.listen(81, None, 5))
    begun = house.now
    error = house.failure(b.dial("a", 81, 30))
    assert isinstance(error, DeniedByPolicy)
    assert isinstance(error, DialRefused)
    assert str(error).endswith(
        "a:81 denied the connection: the tailnet's policy does not let this node reach that port"
    )
    assert house.now - begun < 3


def test_shields_that_are_up_are_told_from_the_policy() -> None:
    house = House()
    a, b = house.up("a", shields_up=True), house.up("b")
    house.finish(a.listen(80, None, 5))
    error = house.failure(b.dial("a", 80, 30))
    assert isinstance(error, DeniedByPolicy)
    assert "its shields are up" in str(error)


def test_a_silent_peer_is_a_timeout_after_the_time_given(house: House, two: tuple[Handle, Handle]) -> None:
    a, b = two
    unplug(house, a)
    begun = house.now
    error = house.failure(b.dial("a", 80, 3))
    assert isinstance(error, DialTimeout)
    assert "within 3 s" in str(error)
    assert str(error).endswith("; explain() tells more of a:80")
    assert worded(error.args[0], WORDS).endswith("; tsnet explain tells more of a:80")
    assert house.now - begun == pytest.approx(3, abs=0.1)
    assert not b.node.engine.stack.connections
    assert not b.pump.owners


def test_a_peer_that_leaves_meanwhile_is_unreachable(house: House, two: tuple[Handle, Handle]) -> None:
    a, b = two
    unplug(house, a)
    operation = b.dial("a", 80, 60)
    house.run(0.5)
    house.tailnet.remove("a")
    assert isinstance(house.failure(operation), HostUnreachable)


def test_who_is_not_there_is_known_at_once(house: House, two: tuple[Handle, Handle]) -> None:
    begun = house.now
    assert isinstance(house.failure(two[1].dial("nobody", 80, 30)), NotOnTailnet)
    assert isinstance(house.failure(two[1].dial("8.8.8.8", 80, 30)), NotOnTailnet)
    assert house.now - begun < 0.1


def test_a_cancelled_dial_leaves_nothing(house: House, two: tuple[Handle, Handle]) -> None:
    a, b = two
    house.finish(a.listen(80, None, 5))
    for pause in (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.5):  # before, during and after the handshake
        operation = b.dial("a", 80, 5)
        house.run(pause)
        operation.cancel()
        house.run(200)
        assert not b.pump.owners
        assert not b.attempts
        assert not b.node.engine.stack.connections


def test_the_alarm_of_a_dial_does_not_keep_its_pipe(house: House, two: tuple[Handle, Handle]) -> None:
    """Without the garbage collector, which does nothing as long as another thread collects."""
    with no_collector():
        pipe, accepted, listener = house.connect(two[1], two[0])
        gone = weakref.ref(pipe)
        for end in (pipe, accepted, listener):
            end.close()
        del pipe, accepted, listener, end
        house.run(1)
        assert gone() is None


CALLS: dict[str, Callable[[Handle], Operation[Any]]] = {
    "dial": lambda node: node.dial("a", 80, 5),
    "icmp": lambda node: node.ping("a", "icmp", 5),
    "tsmp": lambda node: node.ping("a", "tsmp", 5),
    "disco": lambda node: node.ping("a", "disco", 5),
    "netcheck": lambda node: node.netcheck(10, lambda done: done),
    "explain": lambda node: node.explain("a:80", 5),
    "request": lambda node: node.issue_id_token("https://third.example", 5),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("end", ["finished", "cancelled"])
def test_what_is_over_is_in_no_circle(house: House, two: tuple[Handle, Handle], call: str, end: str) -> None:
    """What it holds would otherwise stay until the garbage collector comes."""
    a, b = two
    listener = house.finish(a.listen(80, None, 5))
    with no_collector():
        operation = CALLS[call](b)
        house.until(lambda: len(b.attempts) > 0)
        (left,) = map(weakref.ref, b.attempts._under_way)
        if end == "finished":
            house.finish(operation)
        else:
            operation.cancel()
        del operation
        house.run(1)
        assert left() is None
    assert not b.attempts
    listener.close()


def test_the_node_closes_under_a_dial_and_a_ping(house: House, two: tuple[Handle, Handle]) -> None:
    a, b = two
    unplug(house, a)
    waiting: list[Any] = [b.dial("a", 80, 60), b.ping("a", "icmp", 60), b.ping("a", "tsmp", 60)]
    house.run(0.1)
    house.finish(b.close(2))
    for operation in waiting:
        assert isinstance(house.failure(operation), NotUp)


# --- ping -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["icmp", "tsmp"])
@pytest.mark.parametrize("family", [0, 1])
def test_ping(house: House, two: tuple[Handle, Handle], kind: str, family: int) -> None:
    a, b = two
    address = a.node.addresses[family]
    result = house.finish(b.ping(str(address), kind, 5))
    assert (result.address, result.kind) == (address, kind)
    assert 0 < result.seconds < 1
    assert not b.attempts
    assert not b.pump.owners


@pytest.mark.parametrize("kind", ["icmp", "tsmp"])
def test_a_ping_is_sent_again_each_second_until_its_time_is_up(
    house: House, two: tuple[Handle, Handle], kind: str
) -> None:
    a, b = two
    unplug(house, a)
    error = house.failure(b.ping("a", kind, 4))
    assert isinstance(error, DialTimeout)
    assert kind in str(error)
    assert not b.attempts


@pytest.mark.parametrize("kind", ["icmp", "tsmp"])
def test_a_ping_that_was_lost_is_answered_by_the_next(house: House, two: tuple[Handle, Handle], kind: str) -> None:
    a, b = two
    pump = a.pump
    unplug(house, a)
    operation = b.ping("a", kind, 20)
    house.run(2.5)
    house.host.add(pump)
    assert house.finish(operation).seconds < 10  # WireGuard's next handshake is the one that counts


def test_a_ping_of_oneself(house: House, two: tuple[Handle, Handle]) -> None:
    assert house.finish(two[0].ping("a", "icmp", 5)).seconds < 0.1


@pytest.mark.parametrize("kind", ["tsmp", "disco"])
def test_a_ping_of_oneself_that_cannot_be_answered_is_refused_at_once(
    house: House, two: tuple[Handle, Handle], kind: str
) -> None:
    before = house.now
    error = house.failure(two[0].ping("a", kind, 5))
    assert isinstance(error, ConfigError)
    assert "itself" in str(error)
    assert house.now - before < 0.1


def test_a_cancelled_ping_leaves_nothing(house: House, two: tuple[Handle, Handle]) -> None:
    b = two[1]
    operation = b.ping("a", "icmp", 5)
    house.run(0.001)
    operation.cancel()
    house.run(1)
    assert not b.attempts
    assert not b.pump.owners
