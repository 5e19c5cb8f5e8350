"""Faults that a test plans at control, seen by our own nodes: each login scene without a network."""

from __future__ import annotations

from typing import Any

import pytest

from tests.house import House
from tsnet.errors import ConfigError
from tsnet.testing.planned import ControlFault


def begun(house: House, name: str) -> Any:
    """A node that has begun to join."""
    handle = house.handle(name)
    handle.when_running(None, lambda made, timeout: None)
    return handle


PASSING: list[tuple[str, Any, Any]] = [
    ("drop", (), {}),
    ("delay", (20.0,), {}),
    ("refuse", (429,), {"retry_after": 5}),
    ("refuse", (), {}),
]
GARBLED: tuple[str, Any, Any] = ("garble", (), {})
SCENES = [(kind, *how) for kind in ("register", "map", "key", "ts2021") for how in PASSING]
SCENES += [(kind, *GARBLED) for kind in ("register", "map")]


@pytest.mark.parametrize(("kind", "verb", "arguments", "options"), SCENES)
def test_a_node_joins_in_spite_of_two_faults(kind: str, verb: str, arguments: Any, options: Any) -> None:
    house = House()
    fault = getattr(house.tailnet, verb)(kind, *arguments, times=2, **options)
    assert isinstance(fault, ControlFault)
    handle = begun(house, "a")
    house.until(lambda: handle.state == "running", 600)
    assert fault.met >= 1


@pytest.mark.parametrize("kind", ["key", "ts2021"])
def test_whoever_answers_garbage_before_the_handshake_is_no_control_server(kind: str) -> None:
    house = House()
    house.tailnet.garble(kind)
    handle = begun(house, "a")
    house.until(lambda: handle.state == "failed")


def test_a_registration_is_held_and_let_go() -> None:
    house = House()
    with house.tailnet.hold("register", node="a") as fault:
        a, b = begun(house, "a"), begun(house, "b")
        house.until(lambda: b.state == "running")
        house.until(lambda: fault.met == 1)
        assert a.state == "starting"
        assert repr(fault) == "<ControlFault: hold register of a, met 1 times>"
    house.until(lambda: a.state == "running", 10)
    fault.remove()


def test_a_map_without_a_field_and_then_with_it() -> None:
    house = House()
    fault = house.tailnet.omit("map", "Node")
    a = begun(house, "a")
    house.until(lambda: fault.met == 3)
    assert a.state == "starting"
    fault.remove()
    house.until(lambda: a.state == "running")


def test_faults_outlast_a_restart_until_all_are_removed() -> None:
    house = House()
    faults = [house.tailnet.refuse("register"), house.tailnet.hold("map")]
    house.tailnet.restart_control()
    a = begun(house, "a")
    house.until(lambda: faults[0].met)
    house.tailnet.remove_faults()
    house.until(lambda: a.state == "running", 300)


@pytest.mark.parametrize(
    ("verb", "arguments", "options"),
    [
        ("hold", ("nonsense",), {}),
        ("hold", ("map",), {"node": 5}),
        ("hold", ("map",), {"times": -1}),
        ("hold", ("map",), {"times": 1.5}),
        ("delay", ("map", -1.0), {}),
        ("delay", ("map", True), {}),
        ("refuse", ("map", 200), {}),
        ("refuse", ("map", True), {}),
        ("refuse", ("map", 503), {"retry_after": float("inf")}),
        ("omit", ("map",), {}),
        ("omit", ("c2n", "Node"), {}),
        ("omit", ("map", ""), {}),
    ],
)
def test_faults_that_mean_nothing(verb: str, arguments: Any, options: Any) -> None:
    with pytest.raises(ConfigError):
        getattr(House().tailnet, verb)(*arguments, **options)
