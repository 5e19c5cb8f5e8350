from __future__ import annotations

from typing import Any

import pytest

from tests.house import House
from tsnet.engine.debug.derpshape import derp_shape


def test_home_and_another_region_that_is_not_dialled() -> None:
    house = House(regions=2)
    a = house.up("a")
    house.run(5)
    shape = derp_shape(a.node, house.now)
    by_number: dict[int, Any] = {region["region"]: region for region in shape["regions"]}
    assert shape["home"] in by_number
    assert shape["is_reachable"]
    assert shape["wanted"] == [shape["home"]]
    home, other = by_number.pop(shape["home"]), by_number.popitem()[1]
    assert (home["is_home"], other["is_home"]) == (True, False)
    assert home["connection"]["stage"] == "connected"
    assert home["connection"]["dropped"] == {}
    assert (other["connection"], home["trouble"], other["trouble"]) == (None, "", "")
    assert home["latency"] == pytest.approx(other["latency"], abs=0.1)
    assert 0 <= home["measured_ago"] < 10


def test_a_relay_that_is_gone_is_told_with_its_trouble() -> None:
    house = House()
    a = house.up("a")
    house.run(5)
    house.tailnet.relays[0].kill()
    house.run(5)
    shape = derp_shape(a.node, house.now)
    (region,) = shape["regions"]
    assert not shape["is_reachable"]
    assert "cannot be reached" in region["trouble"]
    assert region["connection"] is None or region["connection"]["stage"] != "connected"


def test_nothing_is_known_before_the_netmap() -> None:
    from tests.engine.alone import NOW, bare

    shape = derp_shape(bare(), NOW)
    assert (shape["home"], shape["regions"], shape["wanted"], shape["is_reachable"]) == (0, [], [], False)
