from __future__ import annotations

from typing import Any

import pytest

from tests.house import House
from tsnet.control.server.snapshot import KeptRelay
from tsnet.edge.io.link_limits import LinkLimits
from tsnet.errors import ConfigError
from tsnet.testing.relayservers import RelayServers


def make(house: House, **options: Any) -> RelayServers:
    settings: dict[str, Any] = {
        "code": "lab",
        "hosts": [house.world.v4],
        "limits": LinkLimits(),
        "admit": lambda key: True,
        **options,
    }
    return RelayServers(house.host, 7, **settings)


def test_it_opens_again_with_its_key_at_its_ports() -> None:
    servers = make(House())
    assert servers.machine is None
    servers.open()
    before = servers.kept()
    assert before.derp_port
    assert before.stun_port
    assert servers.machine is not None
    for end in (servers.close, servers.kill, servers.silence):
        end()
        end()
        if servers.is_silent:
            servers.kill()
        assert servers.machine is None
        assert servers.stuns == []
        servers.open()
        assert servers.kept().key == before.key
        assert (servers.derp.number, servers.stun.number) == (before.derp_port, before.stun_port)
    servers.close()


def test_it_takes_on_what_was_kept_and_begins_anew() -> None:
    servers, others = make(House(1)), make(House(2))
    servers.take_on(others.kept())
    assert servers.kept().key == others.kept().key
    servers.begin_anew()
    assert servers.kept().key != others.kept().key


def test_a_port_that_was_asked_for_is_no_matter_of_last_time() -> None:
    servers = make(House(), derp_port=4000)
    kept = servers.kept()
    servers.take_on(KeptRelay(7, "lab", "Lab", kept.key, "", 5000, 5001))
    assert (servers.derp.number, servers.stun.number) == (4000, 5001)


def test_the_region_says_what_it_is() -> None:
    house = House()
    region = make(house, name="The Lab", may_be_home=False).definition
    assert (region.region_id, region.code, region.name, region.no_measure_no_home) == (7, "lab", "The Lab", True)
    (node,) = region.nodes
    assert (node.ipv4, node.ipv6, node.stun_test_ip) == (house.world.v4, "none", house.world.v4)
    (node,) = make(house, hosts=(house.world.v4, house.world.v6)).definition.nodes
    assert (node.ipv4, node.ipv6, node.stun_test_ip) == (house.world.v4, house.world.v6, "")
    assert make(house).definition.name == "Lab"


@pytest.mark.parametrize("hosts", [(), ("10.0.0.1", "10.0.0.2"), ("::1", "::2")])
def test_more_than_one_address_of_a_version_is_refused(hosts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        make(House(), hosts=hosts)


def test_it_forgets_its_servers_with_their_thread() -> None:
    servers = make(House())
    servers.open()
    pump = servers.pump
    servers.lost()
    assert servers.machine is None
    assert pump is not None
    pump.drop()
