from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.house import House
from tsnet.errors import ConfigError, NotUp
from tsnet.netcheck.stun import decode_response, encode_request
from tsnet.testing.tailnet import REGION, Tailnet

TX = b"a STUN query"


def home_of(handle: Any) -> int:
    region: int = handle.node.reachability._home.region
    return region


def regions_of(handle: Any) -> set[int]:
    return set(handle.node.netmap.derp_map.regions)


# --- which there are --------------------------------------------------------------------------------------------


def test_one_region_unless_more_are_asked_for() -> None:
    assert [relay.region for relay in Tailnet().relays] == [REGION]
    several = Tailnet(regions=3).relays
    assert [(relay.region, relay.code) for relay in several] == [
        (900, "embedded"),
        (901, "embedded-2"),
        (902, "embedded-3"),
    ]
    assert Tailnet(regions=0).relays == ()


@pytest.mark.parametrize("regions", [-1, 65, True, "2", 1.0])
def test_a_number_of_regions_that_means_nothing(regions: Any) -> None:
    with pytest.raises(ConfigError, match="regions"):
        Tailnet(regions=regions)


def test_a_region_has_a_relay_and_stun_at_ports_of_its_own() -> None:
    with Tailnet(regions=2) as tailnet:
        first, second = tailnet.relays
        assert len({first.derp_port, first.stun_port, second.derp_port, second.stun_port}) == 4
        for relay in tailnet.relays:
            assert str(relay.derp_port) in repr(relay)
            (told,) = tailnet.derp_map["Regions"][str(relay.region)]["Nodes"]
            assert (told["DERPPort"], told["STUNPort"]) == (relay.derp_port, relay.stun_port)
            assert asked(relay.stun_port) is not None


def asked(port: int, host: str = "127.0.0.1") -> Any:
    """What a STUN server says of us; None if it says nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as own:
        own.settimeout(0.2)
        own.connect((host, port))
        own.send(encode_request(TX))
        try:
            tx_id, where = decode_response(own.recv(1500))
        except (TimeoutError, ConnectionRefusedError):
            return None
        assert (tx_id, where.port) == (TX, own.getsockname()[1])
        return where


def test_a_relay_at_another_address_and_at_one_of_each_version() -> None:
    with Tailnet() as tailnet:
        other = tailnet.add_region(host="127.0.0.2")
        assert asked(other.stun_port, "127.0.0.2") is not None
        assert other.hosts == ("127.0.0.2",)
        if socket.has_ipv6:
            both = tailnet.add_region("both", host=("127.0.0.1", "::1"))
            assert asked(both.stun_port, "127.0.0.1") is not None
            assert asked(both.stun_port, "::1") is not None
            (told,) = tailnet.derp_map["Regions"][str(both.region)]["Nodes"]
            assert (told["IPv4"], told["IPv6"]) == ("127.0.0.1", "::1")
        with pytest.raises(ConfigError, match="one of each"):
            tailnet.add_region("two", host=("127.0.0.1", "127.0.0.2"))
        with pytest.raises(OSError):
            tailnet.add_region("nowhere", host="192.0.2.1")
        assert "nowhere" not in [relay.code for relay in tailnet.relays]


def test_names_are_unique_and_numbers_known() -> None:
    tailnet = Tailnet()
    added = tailnet.add_region("far", name="Far Away")
    assert tailnet.relay(added.region).code == "far"
    with pytest.raises(ConfigError, match="already"):
        tailnet.add_region("far")
    with pytest.raises(ConfigError, match="no relay region 7"):
        tailnet.relay(7)
    with pytest.raises(NotUp):
        added.stop()
    tailnet.remove_region(added.region)
    assert len(tailnet.relays) == 1


# --- what nodes make of them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"host": None}, {"host": 5}, {"code": 7}, {"name": None}])
def test_an_option_of_another_type(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(options))}= takes"):
        Tailnet().add_region(**options)


def test_a_relay_whose_region_was_removed_stays_closed() -> None:
    with Tailnet(regions=2) as tailnet:
        relay = tailnet.relay(901)
        tailnet.remove_region(901)
        for begin in (relay.start, relay.restart):
            with pytest.raises(ConfigError, match="901 was removed"):
                begin()
            assert not relay.is_running


def test_the_last_region_may_be_removed_between_two_starts() -> None:
    tailnet = Tailnet()
    with tailnet:
        assert list(tailnet.derp_map["Regions"]) == ["900"]
    tailnet.remove_region(900)
    with tailnet:
        assert tailnet.derp_map["Regions"] == {}


def test_regions_come_and_go_in_the_maps_of_nodes_that_run() -> None:
    house = House()
    a = house.up("a")
    assert regions_of(a) == {900}
    added = house.tailnet.add_region("far", world=house.world.machine("far"))
    house.until(lambda: regions_of(a) == {900, 901})
    assert added.hosts == (house.world.machine("far").v4, house.world.machine("far").v6)
    first = house.tailnet.relay(900)
    assert first.clients() == {"a"}
    house.tailnet.remove_region(900)
    house.until(lambda: regions_of(a) == {901} and home_of(a) == 901)
    house.until(lambda: added.clients() == {"a"})
    b = house.up("b")
    house.finish(b.ping("a", "icmp", 5))


def test_a_region_that_may_not_be_home() -> None:
    house = House()
    house.tailnet.relay(900).stop()
    house.tailnet.add_region(may_be_home=False)
    other = house.tailnet.add_region()
    assert home_of(house.up("a")) == other.region
