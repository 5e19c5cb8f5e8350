from __future__ import annotations

from typing import Any

import pytest

from tests.house import House
from tsnet.errors import ConfigError


def capabilities_of(handle: Any) -> dict[str, Any]:
    return dict(handle.node.netmap.self_node.capabilities)


def test_attributes_reach_the_node_and_replace_those_before() -> None:
    house = House()
    a = house.up("a")
    house.tailnet.set_node_attributes("a", ["only-tcp-443", "silent-disco"])
    house.until(lambda: set(capabilities_of(a)) == {"only-tcp-443", "silent-disco"})
    house.tailnet.set_node_attributes("a", {"https://example.com/cap/x": [{"n": 1}]})
    house.until(lambda: capabilities_of(a) == {"https://example.com/cap/x": ({"n": 1},)})
    house.tailnet.set_node_attributes("a", [])
    house.until(lambda: not capabilities_of(a))


def test_attributes_of_several_hold_for_who_joins_later_and_add_up() -> None:
    house = House()
    house.tailnet.set_node_attributes("*", ["silent-disco"])
    house.tailnet.set_node_attributes("b", ["only-tcp-443"])
    a, b = house.up("a"), house.up("b")
    assert set(capabilities_of(a)) == {"silent-disco"}
    assert set(capabilities_of(b)) == {"silent-disco", "only-tcp-443"}
    house.tailnet.set_node_attributes("*", ["randomize-client-port"])
    house.until(lambda: set(capabilities_of(a)) == {"randomize-client-port"})
    house.until(lambda: set(capabilities_of(b)) == {"randomize-client-port", "only-tcp-443"})


@pytest.mark.parametrize("target", ["", "tag:", "a b", 5, None])
def test_a_target_that_is_nobody(target: Any) -> None:
    with pytest.raises(ConfigError):
        House().tailnet.set_node_attributes(target, ["silent-disco"])


WITHOUT_END: list[Any] = []
WITHOUT_END.append(WITHOUT_END)


@pytest.mark.parametrize(
    "attributes",
    [
        *("only-tcp-443", 5, [7], [""], {"": []}),
        *({"a": values} for values in (None, "text", {"b": 1}, [object()], [float("nan")], [b""], WITHOUT_END)),
    ],
)
def test_attributes_that_mean_nothing(attributes: Any) -> None:
    house = House()
    house.up("a")
    with pytest.raises(ConfigError, match="attributes"):
        house.tailnet.set_node_attributes("a", attributes)


def test_values_of_attributes_are_copied() -> None:
    house, value = House(), {"n": 1}
    handle = house.up("a")
    house.tailnet.set_node_attributes("a", {"x": [value]})
    value["n"] = 2
    house.run(1)
    assert capabilities_of(handle)["x"] == ({"n": 1},)


def test_a_node_that_is_not_there() -> None:
    house = House()
    for call in (house.tailnet.remove, house.tailnet.expire):
        with pytest.raises(ConfigError, match="nobody"):
            call("nobody")
