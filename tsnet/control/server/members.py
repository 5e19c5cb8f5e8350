"""A node of an embedded tailnet as control keeps it, and how it gets its name and its addresses.

    hostname   "Bob's Laptop.local" --> "bobs-laptop"; taken already --> "bobs-laptop-1", "bobs-laptop-2", …
    number 7   --> 100.64.0.7 and fd7a:115c:a1e0::7; numbers whose addresses no node may have are skipped

Source: Go net/tsaddr (ranges no node may have).
Not here: how a hostname becomes a label (`base.hostnames`), what happens to a member (`tailnet`).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network
from typing import Any

import attrs

from tsnet.base.addresses import CGNAT, SERVICE_ADDRESSES, ULA, IPPrefix, UdpAddress
from tsnet.base.hostnames import MAX_LABEL, sanitize_hostname
from tsnet.base.keys import DiscoKey, MachineKey, NodeKey

CHROME_OS_VM = IPv4Network("100.115.92.0/23")
MAX_HOST = CGNAT.num_addresses - 1
"""The last number that has an IPv4 address."""

BROADCAST = IPv4Address("255.255.255.255")
NAMELESS = "node"
MAX_ENDPOINTS = 128
"""Of one node: all its peers are told them."""


@attrs.define(eq=False)
class Member:
    """A node as control keeps it. `id`, `stable_id` and `addresses` stay when its key changes.

    user: the owner's id, or that of "tagged-devices". hostinfo: the last one received; if it lacks NetInfo, with that
    of the one before. routes: the subnet routes that it may carry. name: one label, unique in the tailnet.
    """

    id: int
    machine: MachineKey
    key: NodeKey
    user: int
    name: str
    addresses: tuple[IPPrefix, ...]
    created_at: float
    tags: tuple[str, ...] = ()
    is_ephemeral: bool = False
    hostinfo: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    capability_version: int = 0
    disco_key: DiscoKey | None = None
    endpoints: tuple[UdpAddress, ...] = ()
    home_region: int = 0
    routes: tuple[IPPrefix, ...] = ()
    capabilities: Mapping[str, tuple[Any, ...]] = attrs.field(factory=dict)
    key_expiry: float | None = None
    was_expired: bool = False  # somebody expired it, or it logged out: it is expired whatever the clock says
    is_online: bool = False
    last_seen: float | None = None
    is_wireguard_only: bool = False
    is_authorized: bool = True  # False: it waits until an administrator approves of it
    has_given_name: bool = False  # an administrator named it, so that its hostname no longer does

    @property
    def stable_id(self) -> str:
        return f"n{self.id:08x}"

    @property
    def hostname(self) -> str:
        """The name that it asked for."""
        wanted = self.hostinfo.get("Hostname")
        return wanted if isinstance(wanted, str) else ""

    def is_expired(self, unix_now: float) -> bool:
        return self.was_expired or (self.key_expiry is not None and self.key_expiry <= unix_now)


def label_of(hostname: str) -> str:
    """The DNS label for a hostname; "node" where none can be made of it."""
    return sanitize_hostname(hostname) or NAMELESS


def free_name(hostname: str, taken: Collection[str]) -> str:
    """The hostname's label, with the lowest number behind it that makes it unique."""
    label = name = label_of(hostname)
    number = 0
    while name in taken:
        number += 1
        suffix = f"-{number}"
        name = label[: MAX_LABEL - len(suffix)] + suffix
    return name


def addresses_of(number: int) -> tuple[IPPrefix, ...] | None:
    """Both addresses of the host with this number; None if no node may have one of them."""
    v4 = IPv4Address(int(CGNAT.network_address) + number)
    v6 = IPv6Address(int(ULA.network_address) + number)
    if v4 in SERVICE_ADDRESSES or v6 in SERVICE_ADDRESSES or v4 in CHROME_OS_VM or v4 not in CGNAT:
        return None
    return ip_network(v4), ip_network(v6)


def host_of(address: IPPrefix) -> int:
    """The number from which `addresses_of` makes this address; 0 for an address outside those ranges."""
    net = CGNAT if address.version == 4 else ULA
    number = int(address.network_address) - int(net.network_address)
    return number if 0 <= number <= MAX_HOST else 0


def usable_endpoints(endpoints: Collection[UdpAddress]) -> tuple[UdpAddress, ...]:
    """The first MAX_ENDPOINTS, each once, but for those at which nobody else can find the node: IPv6 link-local ones,
    any with a zone, and those that are no one machine's."""
    usable = (where for where in dict.fromkeys(endpoints) if "%" not in where.host and _is_one_machine(where.host))
    return tuple(itertools.islice(usable, MAX_ENDPOINTS))


def _is_one_machine(host: str) -> bool:
    address = ip_address(host)
    if address.is_unspecified or address.is_multicast or address == BROADCAST:
        return False
    return not (isinstance(address, IPv6Address) and address.is_link_local)
