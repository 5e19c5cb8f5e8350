"""This machine's own addresses, and its default routes: what is so now.

On Linux they come from rtnetlink (300 us). Elsewhere the addresses are those that a connected UDP socket would send
from, and no gateway is known; connecting such a socket sends nothing.

Of several default routes, the one with the lowest metric counts whose link carries.

Source: Go net/netmon/interfaces_linux.go.
Not here: the bytes (`netlink`), when to look again (`netwatch`), which address is offered to peers (`base.network`).
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import ip_address, ip_network

import attrs

from tsnet.base.addresses import IPAddress
from tsnet.base.network import Gateway, InterfaceAddress, Network, choose
from tsnet.edge.io import netlink
from tsnet.edge.io.descriptors import is_out
from tsnet.edge.io.netlink import LinkAddress, LinkState, Route

DUMP_TRIES = 4


def local_addresses() -> list[IPAddress]:
    """The addresses under which another machine may reach this one, best first."""
    return choose(interface_addresses())


def interface_addresses() -> list[InterfaceAddress]:
    """Every address of an interface that is up, in the kernel's order; without rtnetlink, the default sources."""
    try:
        with netlink.open_netlink() as sock:
            addresses = [found for found in addresses_of(netlink.dump_addresses(sock)) if found.is_usable]
            links = read_links(sock, {address.link for address in addresses})
    except OSError:
        return [InterfaceAddress("", address) for address in (default_source(4), default_source(6)) if address]
    return [InterfaceAddress(links[found.link].name, found.address) for found in addresses if found.link in links]


def default_source(version: int) -> IPAddress | None:
    """The address that this machine would send from to the internet, or None. Nothing is sent."""
    family, target = (socket.AF_INET, "192.0.2.1") if version == 4 else (socket.AF_INET6, "2001:db8::1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((target, 9))
            return ip_address(sock.getsockname()[0])
    except OSError:
        return None


def read_network() -> Network:
    """What is so now. Takes some rtnetlink reads, however many interfaces there are without an address.

    Raises OSError if this process has no descriptor left for that (`is_out`).
    """
    try:
        with netlink.open_netlink() as sock:
            reads = dump_addresses(sock)
            addresses = addresses_of(reads)
            routes = {version: read_default_routes(sock, version) for version in (4, 6)}
            wanted = {
                found.link for found in addresses if found.address.version == 4 or not found.address.is_link_local
            }
            wanted |= {route.link for found in routes.values() for route in found}
            links = read_links(sock, wanted)
    except OSError as error:
        if is_out(error):
            raise
        sources = frozenset(address for address in (default_source(4), default_source(6)) if address)
        return Network(addresses=sources, is_complete=False)
    changes = sum(link.carrier_changes for link in links.values())
    network = network_of(addresses, routes, links)
    is_complete = netlink.has_ended(reads) and not netlink.is_interrupted(reads)
    return attrs.evolve(network, carrier_changes=changes, links=frozenset(wanted), is_complete=is_complete)


def is_everywhere(address: IPAddress) -> bool:
    """Whether it is one of fe80::/10, which every link has."""
    return address.version == 6 and address.is_link_local


def network_of(
    addresses: Iterable[LinkAddress], routes: dict[int, list[Route]], links: dict[int, LinkState]
) -> Network:
    """links: those that are up."""
    carrying: set[IPAddress] = set()
    silent: set[IPAddress] = set()
    for found in addresses:
        link = links.get(found.link)
        if link is not None and not found.address.is_link_local:
            (carrying if link.carries and found.is_usable else silent).add(found.address)
    usable = [found for found in addresses if found.is_usable]
    gateways = {version: gateway_of(version, found, usable, links) for version, found in routes.items()}
    named = tuple(
        InterfaceAddress(links[found.link].name, found.address)
        for found in usable
        if found.link in links and links[found.link].carries
    )
    return Network(frozenset(carrying), frozenset(silent), gateways.get(4), gateways.get(6), interfaces=named)


def gateway_of(
    version: int, routes: Iterable[Route], addresses: Iterable[LinkAddress], links: dict[int, LinkState]
) -> Gateway | None:
    """The default route in use: of those that lead somewhere, the first with the lowest metric."""
    usable = [route for route in routes if not route.is_dead and route.link in links and links[route.link].carries]
    if not usable:
        return None
    route = min(usable, key=lambda route: route.metric)
    return Gateway(route.via, links[route.link].name, route.source or own_address(version, route, addresses))


def own_address(version: int, route: Route, addresses: Iterable[LinkAddress]) -> IPAddress | None:
    """Ours on the route's link: one in the router's own subnet, else the first of this family."""
    ours = [found for found in addresses if found.link == route.link and found.address.version == version]
    for found in ours:
        if route.via is not None and route.via in ip_network((found.address, found.prefix_length), strict=False):
            return found.address
    return ours[0].address if ours else None


def dump_addresses(sock: socket.socket) -> list[bytes]:
    """Once more, if they changed meanwhile: where containers start, that happens."""
    reads: list[bytes] = []
    for _ in range(DUMP_TRIES):
        reads = list(netlink.dump_addresses(sock))
        if not netlink.has_ended(reads) or not netlink.is_interrupted(reads):
            break
    return reads


def addresses_of(reads: Iterable[bytes]) -> list[LinkAddress]:
    found = (
        netlink.parse_address(body)
        for data in reads
        for kind, body in netlink.messages(data)
        if kind == netlink.NEWADDR
    )
    return [address for address in found if address is not None]


def read_links(sock: socket.socket, indexes: Iterable[int]) -> dict[int, LinkState]:
    """Those of these links that are up."""
    links: dict[int, LinkState] = {}
    for index in indexes:
        for data in netlink.ask_link(sock, index):
            for kind, body in netlink.messages(data):
                link = netlink.parse_link(body) if kind == netlink.NEWLINK else None
                if link is not None and link.is_up:
                    links[index] = link
    return links


def read_default_routes(sock: socket.socket, version: int) -> list[Route]:
    found = (
        netlink.parse_route(body)
        for data in netlink.dump_routes(sock, socket.AF_INET if version == 4 else socket.AF_INET6)
        for kind, body in netlink.messages(data)
        if kind == netlink.NEWROUTE
    )
    return [route for route in found if route is not None and route.destination_length == 0]
