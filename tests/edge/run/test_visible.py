from __future__ import annotations

import pytest

from tests.house import House
from tsnet.errors import ConfigError, NotUp


def test_nothing_is_seen_before_and_all_of_it_while_the_node_runs() -> None:
    house = House()
    a = house.handle("a")
    assert (a.state, a.login_url, a.view) == ("stopped", "", None)
    with pytest.raises(NotUp):
        _ = a.pump
    house.finish(a.up(10))
    house.finish(a.reachable(10))
    view = a.view
    assert view is not None
    assert (a.state, view.home_region, view.netmap) == ("running", 900, a.node.netmap)
    assert a.node is a.pump.node
    assert a.world is house.world.machine("a")
    house.finish(a.close(2))
    assert (a.state, a.view) == ("closed", None)
    assert view.names.resolve("a") == view.netmap.self_node.ips, "who has taken a view keeps it"


def test_a_simulated_world_has_no_descriptors() -> None:
    with pytest.raises(ConfigError, match="use streams"):
        _ = House().up("a").reactor
