"""What is measured of objects, and what counts as growth."""

from __future__ import annotations

import functools
import weakref
from collections import deque
from types import SimpleNamespace
from typing import Any

from tests.growth import CAPPED, growth, measure
from tsnet.edge.run.alarms import Alarms
from tsnet.engine.healthmessages import HealthMessages
from tsnet.engine.saves import Saves
from tsnet.netcheck.home import Home


class Thing:
    """Of this library, for a test."""


class Slotted:
    __slots__ = ("__hidden", "items", "missing")

    def __init__(self) -> None:
        self.__hidden = [1, 2]
        self.items = deque([3])


Thing.__module__ = Slotted.__module__ = "tsnet.test"


def thing(**attributes: Any) -> Thing:
    made = Thing()
    made.__dict__.update(attributes)
    return made


def test_containers_belong_to_the_attribute_that_holds_them() -> None:
    inner = thing(names={"a", "b"})
    sizes = measure(thing(table={1: inner, 2: thing(names=set())}, text="is none", rows=[[1], [2, 3]]))
    assert sizes == {"Thing ×": 3, "Thing.table": 2, "Thing.names": 2, "Thing.rows": 2, "Thing.rows[]": 3}


def test_slots_and_hidden_ones_are_looked_into() -> None:
    assert measure(Slotted()) == {"Slotted ×": 1, "Slotted._Slotted__hidden": 2, "Slotted.items": 1}


def test_what_functions_hold_is_found() -> None:
    held = thing(items=[1])
    assert measure(functools.partial(print, held)) == {"Thing ×": 1, "Thing.items": 1}
    assert measure(Alarms().due) == {"Alarms ×": 1, "Alarms._heap": 0}

    def closure() -> Thing:
        return held

    closure.__module__ = "tsnet.test"
    assert measure(closure) == {"Thing ×": 1, "Thing.items": 1}


def test_weak_references_and_other_libraries_are_not() -> None:
    held = thing()
    assert measure(thing(it=weakref.ref(held), other=SimpleNamespace(items=[1]))) == {"Thing ×": 1}


def test_an_object_counts_once_and_circles_end() -> None:
    one = thing()
    one.__dict__.update(other=one, twice=[one, one])
    assert measure(one, one) == {"Thing ×": 1, "Thing.twice": 2}


def test_real_machines_have_containers() -> None:
    sizes = measure(Home(bytes), HealthMessages([]), Saves())
    assert {"Home ×", "HealthMessages ×", "Saves ×"} <= sizes.keys()
    assert [name for name in sizes if name.startswith("Saves._")]


def test_what_is_larger_for_good_has_grown() -> None:
    def sizes(*numbers: int) -> list[dict[str, int]]:
        return [{"Thing.items": number} for number in numbers]

    assert growth(sizes(10, 12, 11, 30, 30, 31)) == {"Thing.items": [10, 12, 11, 30, 30, 31]}
    assert growth(sizes(10, 12, 11, 30, 30, 13)) == {}
    assert growth(sizes(10, 12, 11, 16, 17, 18)) == {}, "which may be chance"
    assert growth(sizes(1000, 1000, 1000, 1100, 1200, 1200)) == {}, "likewise"
    assert growth([{}, {}, *sizes(100)]) == {"Thing.items": [0, 0, 100]}
    assert growth(sizes(10)) == {}


def test_what_has_a_cap_may_grow_towards_it() -> None:
    for name in CAPPED:
        assert growth([{name: 1, f"{name}[]": 4}, {name: 2}, {name: 500, f"{name}[]": 2000}]) == {}
