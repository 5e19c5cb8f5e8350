from __future__ import annotations

import math

from tests.engine.alone import NOW, bare
from tests.house import House
from tsnet.engine.debug import timershape
from tsnet.engine.debug.timershape import timers_shape


def test_every_room_that_has_a_timer_is_there_and_the_next_one_is_first() -> None:
    house = House()
    a, b = house.up("a"), house.up("b")
    house.run(5)
    house.connect(b, a)
    shape = timers_shape(a.node, house.now)
    due = [timer["in"] for timer in shape["timers"]]
    assert due == sorted(due)
    assert shape["armed"] == len(due)
    rooms = {timer["room"] for timer in shape["timers"]}
    assert rooms >= {"control", "wireguard", "disco", "derp", "surroundings"}
    assert {timer["peer"] for timer in shape["timers"] if timer["room"] == "wireguard"} == {"b"}
    assert {"lapse_at", "heartbeat_at"} <= {timer["what"] for timer in shape["timers"] if timer["room"] == "disco"}


def test_the_node_is_due_when_its_first_timer_is() -> None:
    """No room is left out: as soon as nothing waits to be said, both are the same instant."""
    house = House()
    a, b = house.up("a"), house.up("b")
    house.connect(b, a)
    for _ in range(40):
        house.run(1.7)
        shape = timers_shape(a.node, house.now)
        if shape["next_in"]:
            assert math.isclose(shape["next_in"], shape["timers"][0]["in"], abs_tol=0.001)


def test_a_node_that_has_heard_nothing_can_be_asked() -> None:
    assert timers_shape(bare(), NOW)["armed"] >= 1


def test_only_the_next_of_very_many_are_told(monkeypatch: object) -> None:
    house = House()
    a, b = house.up("a"), house.up("b")
    house.connect(b, a)
    before, timershape.MAX_LINES = timershape.MAX_LINES, 2
    try:
        shape = timers_shape(a.node, house.now)
    finally:
        timershape.MAX_LINES = before
    assert len(shape["timers"]) == 2
    assert shape["armed"] > 2


def test_no_timer_of_the_paths_is_left_out() -> None:
    house = House()
    a, b = house.up("a"), house.up("b")
    house.connect(b, a)
    for _ in range(20):
        house.run(1.3)
        paths = a.node.engine.paths
        if not paths._outgoing:
            assert paths.deadline() == min(at for _peer, _what, at in paths.timers())
