from __future__ import annotations

import pytest

from tests.house import House
from tsnet.errors import ConfigError, NotUp


def test_nothing_is_seen_before_and_all_of_it_while_the_node_runs() -> None:
    house = House()
    a = house.handle("a")
    assert (a.state, a.login_url, a.home_region, a.health) == ("stopped", "", 0, ())
    assert (a.netmap, a.names, a.whois) == (None, None, None)
    with pytest.raises(NotUp):
        _ = a.pump
    house.finish(a.up(10))
    house.finish(a.reachable(10))
    assert (a.state, a.home_region) == ("running", 900)
    assert None not in (a.netmap, a.names, a.whois)
    assert a.node is a.pump.node
    assert a.world is house.world.machine("a")
    house.finish(a.close(2))
    assert (a.state, a.netmap, a.names, a.whois) == ("closed", None, None, None)


def test_a_simulated_world_has_no_descriptors() -> None:
    with pytest.raises(ConfigError, match="use streams"):
        _ = House().up("a").reactor
