"""An inquiry that somebody waits for, in a simulated world. What it finds is tested by scenes (test_explain_scenes)."""

from __future__ import annotations

import pytest

from tests.house import House
from tsnet.edge.run.handle import Handle
from tsnet.errors import KeyExpired, NotUp


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def two(house: House) -> tuple[Handle, Handle]:
    return house.up("a"), house.up("b")


def test_it_ends_with_a_verdict_and_leaves_nothing(house: House, two: tuple[Handle, Handle]) -> None:
    a, b = two
    listener = house.finish(a.listen(80, None, 5))
    assert house.finish(b.explain("a:80", 30)).code == "OK-DIRECT"
    house.until(lambda: listener._queue)
    listener.accept_nowait().close()
    assert len(b.attempts) == 0
    assert not b.pump.owners
    house.until(lambda: not b.node.engine.stack.connections)


def test_who_waits_no_longer_is_forgotten_with_the_dial(house: House, two: tuple[Handle, Handle]) -> None:
    b = two[1]
    operation = b.explain("a:81", 30)
    house.run(0.0001)
    operation.cancel()
    house.run(1)
    assert len(b.attempts) == 0
    assert not b.pump.owners
    assert not b.node.engine.stack.connections


def test_many_at_once_get_their_own(house: House, two: tuple[Handle, Handle]) -> None:
    operations = [two[1].explain(target, 30) for target in ("a:80", "a", "b", "c", "a:80")]
    assert [house.finish(each).code for each in operations] == ["E-PORT", "OK-DIRECT", "OK-SELF", "E-NAME", "E-PORT"]


def test_a_key_that_expires_meanwhile_ends_it(house: House, two: tuple[Handle, Handle]) -> None:
    b = two[1]
    house.world.machine("a").unplug()
    operation = b.explain("a:80", 30)
    house.run(1)
    house.tailnet.expire("b")
    begun = house.now
    assert isinstance(house.failure(operation), KeyExpired)
    assert house.now - begun < 2
    assert len(b.attempts) == 0


def test_a_node_that_closes_tells_those_who_wait(house: House, two: tuple[Handle, Handle]) -> None:
    b = two[1]
    house.world.machine("a").unplug()
    operation = b.explain("a:80", 30)
    house.run(0.5)
    house.finish(b.close(1))
    assert isinstance(house.failure(operation), NotUp)
