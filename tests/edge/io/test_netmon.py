from __future__ import annotations

import errno
import socket
import subprocess
import sys
from ipaddress import ip_address

import pytest

from tsnet.base.network import Gateway
from tsnet.edge.io import netlink, netmon
from tsnet.edge.io.netlink import LinkAddress, LinkState, Route
from tsnet.edge.io.netmon import (
    default_source,
    interface_addresses,
    local_addresses,
    network_of,
    read_network,
)

UP, CARRIES = netlink.LINK_UP, netlink.LINK_UP | netlink.LINK_RUNNING


def test_this_machine_has_an_address() -> None:
    addresses = local_addresses()
    assert addresses
    for address in addresses:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((str(address), 0))


@pytest.mark.skipif(sys.platform != "linux", reason="rtnetlink is Linux's")
def test_the_dump_agrees_with_ip() -> None:
    try:
        text = subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, check=True).stdout
    except OSError:
        pytest.skip("no ip command")
    usable = [line.split() for line in text.splitlines() if "tentative" not in line and "deprecated" not in line]
    shown = {(fields[1].partition("@")[0], fields[3].partition("/")[0]) for fields in usable}
    flags = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    up = {line.split()[1].partition("@")[0].rstrip(":") for line in flags.splitlines() if ",UP" in line.split()[2]}
    assert {(name, str(address)) for name, address in interface_addresses()} == {
        pair for pair in shown if pair[0] in up
    }


def test_default_source_is_an_address_of_this_machine_or_none() -> None:
    for version in (4, 6):
        address = default_source(version)
        assert address is None or address.version == version


def test_without_netlink_the_default_source_is_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(groups: int = 0) -> None:
        raise OSError("not permitted")

    monkeypatch.setattr(netlink, "open_netlink", fail)
    monkeypatch.setattr(netmon, "default_source", lambda version: ip_address("10.0.0.1") if version == 4 else None)
    assert local_addresses() == [ip_address("10.0.0.1")]
    network = read_network()
    assert network.addresses == {ip_address("10.0.0.1")}
    assert network.gateway() is None
    assert not network.is_complete


# --- the default routes -----------------------------------------------------------------------------------------

ETH, WIFI, TUN = LinkState(2, "eth0", CARRIES), LinkState(3, "wlan0", CARRIES), LinkState(4, "tun0", CARRIES)
OWN, OWN_WIFI, OWN_V6 = map(ip_address, ("192.0.2.7", "198.51.100.7", "2001:db8::7"))
ROUTER, ROUTER_WIFI, ROUTER_V6 = map(ip_address, ("192.0.2.1", "198.51.100.1", "fe80::1"))
ADDRESSES = [
    LinkAddress(2, ip_address("172.30.0.1"), 24, True),
    LinkAddress(2, OWN, 24, True),
    LinkAddress(3, OWN_WIFI, 24, True),
    LinkAddress(2, ip_address("fe80::7"), 64, True),
    LinkAddress(2, OWN_V6, 64, True),
]


def gateway(*routes: Route, version: int = 4, links: tuple[LinkState, ...] = (ETH, WIFI, TUN)) -> Gateway | None:
    network = network_of(ADDRESSES, {version: list(routes)}, {link.number: link for link in links})
    return network.gateway(version)


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ([], None),
        ([Route(2, 0, ROUTER, 100, None, False)], Gateway(ROUTER, "eth0", OWN)),
        (
            [Route(2, 0, ROUTER, 600, None, False), Route(3, 0, ROUTER_WIFI, 100, None, False)],
            Gateway(ROUTER_WIFI, "wlan0", OWN_WIFI),
        ),
        (
            [Route(2, 0, ROUTER, 100, None, True), Route(3, 0, ROUTER_WIFI, 600, None, False)],  # the cable is out
            Gateway(ROUTER_WIFI, "wlan0", OWN_WIFI),
        ),
        ([Route(2, 0, ROUTER, 0, OWN_WIFI, False)], Gateway(ROUTER, "eth0", OWN_WIFI)),  # the route says its source
        ([Route(4, 0, None, 0, None, False)], Gateway(None, "tun0", None)),
        ([Route(2, 0, None, 0, None, False)], Gateway(None, "eth0", ip_address("172.30.0.1"))),
        ([Route(9, 0, ROUTER, 0, None, False)], None),
    ],
)
def test_the_default_route_in_use(routes: list[Route], expected: Gateway | None) -> None:
    assert gateway(*routes) == expected


def test_the_default_route_of_v6_goes_through_link_local_addresses() -> None:
    assert gateway(Route(2, 0, ROUTER_V6, 1024, None, False), version=6) == Gateway(
        ROUTER_V6, "eth0", ip_address("fe80::7")
    )


def test_addresses_of_links_without_a_carrier_are_silent_and_those_of_links_that_are_down_are_none() -> None:
    network = network_of(ADDRESSES, {}, {2: LinkState(2, "eth0", UP), 3: WIFI})
    assert network.addresses == {OWN_WIFI}
    assert network.silent == {ip_address("172.30.0.1"), OWN, OWN_V6}
    assert network_of(ADDRESSES, {}, {}).silent == set()


def test_an_address_that_is_given_up_keeps_what_has_begun_there_and_begins_nothing() -> None:
    """As every IPv6 address that is changed for the sake of privacy, day by day."""
    old, new = LinkAddress(2, ip_address("2001:db8::d"), 64, False), LinkAddress(2, ip_address("2001:db8::e"), 64, True)
    route = Route(2, 0, ip_address("2001:db8::1"), 0, None, False)
    network = network_of([old, new], {6: [route]}, {2: ETH})
    assert not network.lacks(old.address)
    assert network.addresses == {new.address}
    assert network.silent == {old.address}
    assert network.gateway(6) == Gateway(ip_address("2001:db8::1"), "eth0", new.address)


def test_a_link_without_a_carrier_is_no_way() -> None:
    assert gateway(Route(2, 0, ROUTER, 0, None, False), links=(LinkState(2, "eth0", UP),)) is None


def test_without_a_descriptor_the_network_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(groups: int = 0) -> None:
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(netlink, "open_netlink", fail)
    with pytest.raises(OSError, match="too many"):
        read_network()


@pytest.mark.skipif(sys.platform != "linux", reason="rtnetlink is Linux's")
def test_of_a_dump_that_is_cut_off_no_address_is_missing_for_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_network().is_complete
    monkeypatch.setattr(netlink, "MAX_READS", 0)
    assert not read_network().is_complete


@pytest.mark.skipif(sys.platform != "linux", reason="rtnetlink is Linux's")
@pytest.mark.parametrize(("times", "is_complete"), [(netmon.DUMP_TRIES - 1, True), (netmon.DUMP_TRIES, False)])
def test_a_dump_that_is_interrupted_is_read_again(
    monkeypatch: pytest.MonkeyPatch, times: int, is_complete: bool
) -> None:
    answers = iter([True] * times)
    asked = netlink.is_interrupted
    last: list[bool] = []

    def is_interrupted(reads: list[bytes]) -> bool:
        if len(last) == netmon.DUMP_TRIES:
            return last[-1]
        last.append(next(answers, asked(reads)))
        return last[-1]

    monkeypatch.setattr(netlink, "is_interrupted", is_interrupted)
    assert read_network().is_complete == is_complete


def test_this_machines_network_agrees_with_its_addresses() -> None:
    network = read_network()
    assert not any(network.lacks(address) for address in local_addresses())
    for version in (4, 6):
        found = network.gateway(version)
        assert found is None or found.interface
