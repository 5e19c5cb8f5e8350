from __future__ import annotations

from ipaddress import ip_address

import attrs
import pytest

from tsnet.base.addresses import IPAddress
from tsnet.base.network import Gateway, InterfaceAddress, Network, choose

OWN, OTHER, BRIDGE = map(ip_address, ("192.0.2.7", "192.0.2.8", "172.17.0.1"))
LOOPBACK, LINK_LOCAL = ip_address("127.0.0.1"), ip_address("fe80::1")
ROUTER = Gateway(ip_address("192.0.2.1"), "eth0", OWN)
HERE = Network(frozenset({OWN, LOOPBACK}), gateway_v4=ROUTER)


@pytest.mark.parametrize(
    ("network", "lacked"),
    [
        (HERE, {OTHER, BRIDGE}),
        (Network(silent=frozenset({OWN})), {OTHER, BRIDGE}),  # the cable is out: the address stays
        (Network(), {OWN, OTHER, BRIDGE}),
        (Network(is_complete=False), set()),
    ],
)
def test_an_address_is_lacked_only_if_that_is_certain(network: Network, lacked: set[IPAddress]) -> None:
    assert {address for address in (OWN, OTHER, BRIDGE, LOOPBACK, LINK_LOCAL) if network.lacks(address)} == lacked


def test_the_internet_is_reached_by_another_way() -> None:
    later = Gateway(ip_address("192.0.2.1"), "eth0", OTHER)
    v6 = Gateway(ip_address("fe80::1"), "eth0")
    for changed in (Network(HERE.addresses), Network(HERE.addresses, gateway_v4=later)):
        assert changed.leads_elsewhere(HERE)
        assert HERE.leads_elsewhere(changed)
    assert Network(HERE.addresses, gateway_v4=ROUTER, gateway_v6=v6).leads_elsewhere(HERE)


def test_a_bridge_for_containers_leads_nowhere_else_unless_there_is_no_default_route() -> None:
    assert not Network(HERE.addresses | {BRIDGE}, gateway_v4=ROUTER).leads_elsewhere(HERE)
    assert Network(HERE.addresses | {BRIDGE}).leads_elsewhere(Network(HERE.addresses))


def test_a_carrier_that_has_gone_and_come_is_a_change_that_leads_nowhere_else() -> None:
    later = attrs.evolve(HERE, carrier_changes=2)
    assert later != HERE
    assert not later.leads_elsewhere(HERE)
    assert attrs.evolve(HERE, links=frozenset({9})) == HERE


def test_gateway_by_version() -> None:
    assert HERE.gateway() == HERE.gateway(4) == ROUTER
    assert HERE.gateway(6) is None


def chosen(*found: str) -> list[str]:
    """Each found as "interface address"."""
    pairs = (text.split() for text in found)
    return [str(address) for address in choose(InterfaceAddress(name, ip_address(text)) for name, text in pairs)]


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        (["eth0 192.0.2.7", "lo 127.0.0.1"], ["192.0.2.7"]),
        (["eth0 192.0.2.7", "eth0 2001:db8::1", "eth0 fe80::1"], ["192.0.2.7", "2001:db8::1"]),
        (["tailscale0 100.64.0.1", "tailscale0 fd7a:115c:a1e0::1", "eth0 10.0.0.1"], ["10.0.0.1"]),
        (["zt7nnig26 10.1.1.1", "ztabc 2001:db8::9", "wt0 10.2.2.2", "eth0 10.0.0.1"], ["10.0.0.1"]),
        (["wt1 10.2.2.2"], ["10.2.2.2"]),
        (["tailscale0 10.2.2.2", "eth0 10.0.0.1"], ["10.0.0.1"]),
        (["eth0 169.254.1.1", "eth0 10.0.0.1"], ["10.0.0.1"]),
        (["eth0 169.254.1.1", "lo 127.0.0.1"], ["169.254.1.1"]),
        (["eth0 fd00::1", "eth0 10.0.0.1"], ["10.0.0.1"]),
        (["eth0 fd00::1"], ["fd00::1"]),
        (["lo 127.0.0.1", "lo ::1"], ["127.0.0.1", "::1"]),
        (["lo 127.0.0.1", "eth0 fe80::1", "ts 100.64.0.1"], ["127.0.0.1"]),
        (["eth0 2001:db8::1", "eth0 2001:db8::2", "eth0 2001:db8::3"], ["2001:db8::1", "2001:db8::2"]),
        (["eth0 10.0.0.1", "eth1 10.0.0.1"], ["10.0.0.1"]),
        (["eth0 0.0.0.0"], []),
        ([], []),
    ],
)
def test_choose(found: list[str], kept: list[str]) -> None:
    assert chosen(*found) == kept


def test_where_peers_may_reach_this_machine() -> None:
    named = Network(HERE.addresses, interfaces=(InterfaceAddress("eth0", OTHER), InterfaceAddress("tailscale0", OWN)))
    assert named.reachable_at == [OTHER]
    assert Network(frozenset({OTHER, OWN, LOOPBACK})).reachable_at == [OWN, OTHER]
    assert Network(frozenset({LOOPBACK})).reachable_at == [LOOPBACK]
    assert attrs.evolve(named, interfaces=()) == named
